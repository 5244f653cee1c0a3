"""What a trainer does at each turn, told by what it would write."""

from __future__ import annotations

import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from engine.errors import TrainingError, UserError
from engine.training import state
from engine.training import trainer as module
from engine.training.compile import Compiled
from engine.training.evaluate import Evaluation
from engine.training.step import RankPace, Result
from engine.training.trainer import Trainer

from .told import said, telling

NO_ROOM = torch.OutOfMemoryError("out of memory")
EARLY = {"reason": "early_stop"}
STOP = {"do": "stop", "checkpoint": True}
AT_ONCE = {"do": "stop", "checkpoint": False}


def failing(error: BaseException) -> Any:
    def fails(*_: object, **__: object) -> Any:
        raise error

    return fails


def test_a_trainer_begins_with_nothing_done(tmp_path: Path) -> None:
    one, told = telling(tmp_path)
    assert (one.step, one.rollbacks, one.lr_scale, one.train_seconds, one.eval_seconds) == (0, 0, 1.0, 0.0, 0.0)
    assert (one.owed, one.paused, one.stop, one.leaving, one.saved) == (False, False, None, False, False)
    assert (one.evaluation, one.checkpoint_step, one.stop, one.wanted, one.state) == (None, None, None, [], "running")
    assert told == [] and one.val_loss() is None and one.saves._retrying is False


# -- the end -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("stop", "step", "owed", "saved", "state", "saves"),
    [
        (None, 10, False, False, "finished", 1),
        (None, 10, False, True, "finished", 0),
        (None, 11, False, True, "finished", 0),
        (STOP, 10, True, True, "stopped", 0),
        (STOP, 10, False, True, "finished", 0),
        (STOP, 9, False, False, "stopped", 1),
        (STOP, 9, False, True, "stopped", 0),
        ({"do": "stop"}, 9, False, False, "stopped", 1),
        (AT_ONCE, 9, False, False, "stopped", 0),
        (EARLY, 5, False, False, "finished", 1),
        (EARLY, 5, False, True, "finished", 0),
        ({"do": "stop", "reason": "hang-up"}, 5, False, True, "stopped", 0),
    ],
)
def test_a_training_ends_saved_unless_it_was_not_to_be(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    stop: dict[str, Any] | None,
    step: int,
    owed: bool,
    saved: bool,
    state: str,
    saves: int,
) -> None:
    one, told = telling(tmp_path)
    one.stop, one.step, one.owed = stop, step, owed
    stands = [saved]

    def checkpoint() -> None:
        stands[0] = True
        told.append(("saved",))

    monkeypatch.setattr(one, "checkpoint", checkpoint)
    monkeypatch.setattr(Trainer, "saved", property(lambda self: stands[0]))
    for part, name in ((one.saves, "finish"), (one.samples, "wait"), (one.saves, "prune")):
        monkeypatch.setattr(part, name, lambda name=name: told.append((name,)))
    assert one._end() == one._ended == one.state == state
    kinds = [each[0] for each in told]
    waits = ["finish"]
    assert kinds == [*waits, *(["saved", *waits] if saves else []), "wait", state, "status", "prune"]
    assert said(told, state) == [(state, step, {})]
    (status,) = said(told, "status")
    assert (status[1]["state"], status[1]["phase"], status[1]["step"]) == (state, "", step)


@pytest.mark.parametrize("stop", [STOP, AT_ONCE])
def test_a_checkpoint_that_was_taken_away_at_the_end_is_written_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stop: dict[str, Any]
) -> None:
    one, told = telling(tmp_path)
    one.stop = stop
    stands = iter([True, False])
    monkeypatch.setattr(Trainer, "saved", property(lambda self: next(stands)))
    monkeypatch.setattr(one, "checkpoint", lambda: told.append(("saved",)))
    monkeypatch.setattr(one.saves, "finish", lambda: told.append(("waited",)))
    one._end()
    kinds = [each[0] for each in told]
    again = ["saved", "waited", "status"] if stop is STOP else []
    assert kinds == ["waited", "stopped", "status", *again]
    assert all(each[1]["state"] == "stopped" and each[1]["phase"] == "" for each in said(told, "status"))


def test_an_end_that_cannot_be_written_says_what_is_lost(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one, _ = telling(tmp_path)
    one.stop, one.writer.stuck = AT_ONCE, "no room"  # type: ignore[misc]
    asked: list[float] = []
    monkeypatch.setattr(module, "until", lambda self, retry, seconds: asked.append(seconds) or retry())
    with pytest.raises(UserError, match=r"^no room; stopped without saving the checkpoint of step 0; there is no"):
        one._end()
    assert asked == [state.RETRY_SECONDS]
    monkeypatch.setattr(module, "until", lambda self, retry, seconds: "")
    assert one._end() == "stopped"


# -- a step, and what is due after it ----------------------------------------------------------------------------------


def test_a_step_is_recorded_with_its_rate_and_its_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one, told = telling(tmp_path, "train.learning_rate=0.5", "train.schedule=constant")
    one.step, one.lr_scale, one.train_seconds = 3, 0.25, 10.0
    clock = iter([1.0, 3.0])
    monkeypatch.setattr(module, "time", SimpleNamespace(perf_counter=lambda: next(clock)))
    asked: list[Any] = []
    monkeypatch.setattr(one.crew, "step", lambda *how: asked.append(how) or Result(2.5, 1.5, False))
    one._one_step()
    (metric,) = said(told, "metric")
    assert asked == [(3, 0.25)] and one.step == 4 and one.train_seconds == 12.0
    tokens = 4 * one.config.tokens_per_step
    wanted = {"step": 4, "tokens": tokens, "time_s": 12.0, "loss": 2.5, "lr": 0.125, "grad_norm": 1.5}
    assert metric[1] | wanted == metric[1] and metric[1]["tokens_per_s"] == one.config.tokens_per_step / 2.0
    assert one.watch.running == 2.5 and one.watch.train_count == 1 and told[-1][0] == "status"


def test_a_step_that_went_back_leaves_no_record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one, told = telling(tmp_path)
    asked: list[Any] = []
    monkeypatch.setattr(one.crew, "step", lambda *how: Result(9.0, 1.0, False))
    monkeypatch.setattr(one, "_spike", lambda *what: asked.append(what) or True)
    one._one_step()
    assert asked == [(1, 9.0)] and told == [] and one.watch.running is None


@pytest.mark.parametrize(
    ("step", "better", "stop", "sampled"),
    [
        (3, False, None, 0),
        (4, False, None, 1),
        (5, True, None, 1),
        (5, False, None, 0),
        (8, False, None, 1),
        (10, False, None, 1),
        (11, False, None, 1),
        (4, False, STOP, 0),
        (5, True, STOP, 0),
        (10, True, STOP, 0),
    ],
)
def test_what_is_due_after_a_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: int, better: bool, stop: Any, sampled: int
) -> None:
    """A checkpoint at every fourth, at the best, at the last; evaluations at every fifth, and at the last."""
    one, told = telling(tmp_path)
    one.step = step

    def evaluates() -> bool:
        told.append(("evaluated",))
        one.stop = stop
        return better

    if step == 4:
        one.stop = stop
    monkeypatch.setattr(one, "evaluate", evaluates)
    monkeypatch.setattr(one, "checkpoint", lambda sample=False: told.append(("saved", sample)))
    one._keep_up()
    assert len(said(told, "evaluated")) == (step in (5, 10, 11))
    assert said(told, "saved") == [("saved", True)] * sampled


@pytest.mark.parametrize(("step", "stop", "ends"), [(5, None, True), (4, None, False), (5, STOP, False)])
def test_patience_ends_a_run_at_an_evaluation(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: int, stop: Any, ends: bool
) -> None:
    one, told = telling(tmp_path, "train.early_stop=3")
    one.step, one.stop = step, stop
    one.watch.since_best, one.watch.best_loss, one.watch.best_step = 3, 1.25, 2
    monkeypatch.setattr(one, "evaluate", lambda: False)
    monkeypatch.setattr(one, "checkpoint", lambda sample=False: None)
    one._keep_up()
    expected = [("early_stop", 5, {"best_val_loss": 1.25, "best_step": 2})] if ends else []
    assert said(told, "early_stop") == expected and one.stop == (EARLY if ends else stop)
    assert not one.leaving or stop is STOP


def test_a_written_part_is_told_as_soon_as_it_stands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one, told = telling(tmp_path)
    one.step = 3
    monkeypatch.setattr(one.saves, "finish", lambda: told.append(("waited",)))
    for done in (False, True):
        one.crew.writing = SimpleNamespace(done=done)  # type: ignore[assignment]
        one._keep_up()
        assert said(told, "waited") == [("waited",)] * done


def test_a_run_is_compiled_before_its_first_step_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([1.0, 3.26])
    monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: next(clock)))
    one, told = telling(tmp_path)
    one.step = 2
    monkeypatch.setattr(one.crew, "compile", lambda step: Compiled(True))
    one._compile()
    assert told == [("status", {"state": "running", "phase": "compiling"}), ("compiled", 2, {"seconds": 2.3})]
    clock = iter([1.0, 2.0])
    monkeypatch.setattr(one.crew, "compile", lambda step: Compiled(True, "it is faster"))
    one._compile()
    assert told[-1] == ("compiled", 2, {"seconds": 1.0, "why": "it is faster"})
    clock = iter([1.0])
    monkeypatch.setattr(
        one.crew, "compile", lambda step: Compiled(False, "no compiler") if step == 2 else Compiled(True)
    )
    one._compile()
    message = "training goes on without torch.compile: no compiler"
    assert told[-1] == ("alarm", 2, {"alarm": "compile", "message": message})


@pytest.mark.parametrize(
    ("sets", "step", "compiled"),
    [((), 9, False), (("train.compile=true",), 9, True), (("train.compile=true",), 10, False)],
)
def test_only_what_is_still_trained_is_compiled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sets: tuple[str, ...], step: int, compiled: bool
) -> None:
    one, told = telling(tmp_path, *sets)
    one.step, one.stop = step, AT_ONCE
    monkeypatch.setattr(one, "_compile", lambda: told.append(("compiled",)))
    monkeypatch.setattr(one, "_one_step", failing(AssertionError("it was to stop")))
    one.run()
    assert len(said(told, "compiled")) == compiled


@pytest.mark.parametrize("owed", [False, True])
def test_what_gave_way_to_a_stop_comes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, owed: bool) -> None:
    one, told = telling(tmp_path)
    one.step, one.owed = 9, owed
    monkeypatch.setattr(one, "_keep_up", lambda: told.append(("kept up", one.step)))
    monkeypatch.setattr(one, "_end", lambda: "over")

    def steps() -> None:
        one.step += 1

    monkeypatch.setattr(one, "_one_step", steps)
    monkeypatch.setattr(one.live, "serve", lambda step, weights: told.append(("served", step)))
    assert one.run() == "over"
    began = [("kept up", 9)] if owed else []
    assert said(told, "kept up", "served") == [*began, ("served", 10), ("kept up", 10)]
    first = said(told, "status")[1][1]
    assert (first["state"], first["phase"]) == ("running", "training")


# -- what is said ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("micros", "ranks", "found", "asked", "number", "words"),
    [
        (1, 1, None, 0, 0, "batch at training tokens"),
        (3, 1, (0, 2), 1, 2, "micro-batch 3 of 3 at"),
        (3, 1, None, 1, None, "3 micro-batches, the first at"),
        (2, 2, (1, 1), 1, 3, "micro-batch 4 of 4 (rank 1) at"),
        (1, 2, (1, 0), 1, 1, "micro-batch 2 of 2 (rank 1) at"),
        (1, 2, None, 1, None, "2 micro-batches, the first at"),
    ],
)
def test_a_step_that_is_not_finite_is_told_with_its_batch(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    micros: int,
    ranks: int,
    found: Any,
    asked: int,
    number: int | None,
    words: str,
) -> None:
    one, told = telling(tmp_path, "train.learning_rate=0.5")
    one.step = 7
    one.crew.ranks = SimpleNamespace(size=ranks, alone=ranks == 1)  # type: ignore[assignment]
    calls: list[int] = []
    monkeypatch.setattr(one.crew, "which", lambda step: calls.append(step) or found)
    one.batches.micros = micros
    wanted: list[Any] = []
    offsets = np.arange(100, 170)
    monkeypatch.setattr(one.batches, "offsets", lambda *where: wanted.append(where) or offsets[: len(offsets)])
    with pytest.raises(TrainingError) as error:
        one._stop_before(Result(math.nan, 2.0, True))
    assert calls == [7] * asked and wanted == [(7, *reversed(found or (0, 0)))]
    rest = "; lower train.learning_rate (0.5) or raise train.warmup_steps (0)"
    assert str(error.value).startswith("step 8: the loss is nan; stopped before the update, ")
    assert f", {words}" in str(error.value) and str(error.value).endswith(f"tokens 100, 101, 102, 103, …{rest}")
    record = {"what": "the loss is nan", "micro_batch": number, "batch_offsets": list(range(100, 164))}
    assert told == [("not_finite", 8, record)]
    offsets = offsets[:4]
    with pytest.raises(TrainingError, match=r": the gradient norm is inf; .* 100, 101, 102, 103; lower"):
        one._stop_before(Result(1.0, math.inf, True))


def test_the_status_tells_how_training_stands(tmp_path: Path) -> None:
    one, told = telling(tmp_path, "train.learning_rate=0.5", "train.schedule=constant")
    one.report()
    first = told[-1][1]
    assert first["eta_s"] is None and (first["step"], first["steps"], first["tokens"]) == (0, 10, 0)
    assert first["best_val_loss"] is None and "ranks" not in first and "last_val_loss" not in first
    assert first["peak_memory_bytes"] > 1 << 20
    one.step, one.lr_scale, one.train_seconds, one.eval_seconds = 4, 0.5, 2.12345, 0.98765
    one.tokens_per_s, one.watch.best_loss, one.watch.best_step = 123.456, 1.5, 3
    one.evaluation = (4, Evaluation(2.0, 3.0, 10, 0.1))
    one.take_step.pace = [RankPace(0.5, 7), RankPace(0.25, 8)]
    members = [SimpleNamespace(rank=n, host=f"h{n}", pid=n, device="cpu") for n in (0, 1)]
    one.crew.parallel, one.crew.ranks = "ddp", SimpleNamespace(members=members)  # type: ignore[assignment]
    one.report(phase="training")
    told_now = told[-1][1]
    del told_now["peak_memory_bytes"]
    assert told_now == {
        "phase": "training",
        "step": 4,
        "steps": 10,
        "tokens": 4 * one.config.tokens_per_step,
        "learning_rate": 0.25,
        "lr_scale": 0.5,
        "tokens_per_s": 123.5,
        "eta_s": 3.2,
        "train_seconds": 2.123,
        "eval_seconds": 0.988,
        "best_val_loss": 1.5,
        "best_val_step": 3,
        "last_val_loss": 2.0,
        "last_val_bpb": 3.0,
        "parallel": "ddp",
        "ranks": [
            {"rank": 0, "host": "h0", "pid": 0, "device": "cpu", "seconds": 0.5, "memory": 7},
            {"rank": 1, "host": "h1", "pid": 1, "device": "cpu", "seconds": 0.25, "memory": 8},
        ],
    }
    one.evaluation = (4, Evaluation(math.nan, math.nan, 10, 0.1))
    one.take_step.pace = []
    one.report()
    assert told[-1][1]["last_val_loss"] is told[-1][1]["last_val_bpb"] is None and "ranks" not in told[-1][1]


@pytest.mark.parametrize("how", ["measured", "sharded", "no room"])
def test_memory_is_told_by_what_it_is_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str) -> None:
    one, told = telling(tmp_path)
    params = sum(each.numel() for each in one.model.parameters())
    asked: list[Any] = []

    def by_part(model: Any, x: Any, y: Any, precision: str) -> dict[str, int]:
        asked.append((model, x, precision))
        if how == "no room":
            raise NO_ROOM
        return {"mlp": 100, "attention": 11}

    one.crew.sharded = how == "sharded"
    monkeypatch.setattr(module, "activations_by_part", by_part)
    one._say_memory()
    ((_, fields),) = told
    assert fields["params"] == params and fields["device"] == "cpu"
    assert fields["memory"]["weights"] == fields["memory"]["gradients"] == 4 * params
    assert fields["memory"]["activations"] == (111 if how == "measured" else 0)
    if how != "sharded":
        ((model, x, precision),) = asked
        assert (
            model is one.model and torch.equal(x, one.batches.get(0, 0)[0]) and precision == one.config.train.precision
        )
    else:
        assert asked == []


@pytest.mark.parametrize("alone", [False, True])
def test_what_the_numbers_depend_on_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, alone: bool) -> None:
    one, _ = telling(tmp_path, "data.val_tokens=64")
    one.crew.ranks = SimpleNamespace(alone=alone, size=1 if alone else 3)  # type: ignore[assignment]
    one.crew.parallel = "fsdp"
    found = state.environment(one)
    assert found.get("parallel") == (None if alone else "fsdp") and found["ranks"] == (1 if alone else 3)
    assert found["torch"] == torch.__version__ and found["threads"] == torch.get_num_threads()
    assert found["device"] == state.cpu_model() and found["muon_dtype"] in ("float32", "bfloat16")
    whole = len(one.dataset.val) - 1
    assert state.evaluates(one) == {"val_tokens": 64, "val_tokens_of": whole}
    one.device = torch.device("cuda", 1)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: f"the GPU {device}")
    assert state.environment(one)["device"] == "the GPU cuda:1"
