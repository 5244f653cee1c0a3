"""What a trainer saves and who it waits for, told by what it would write."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from engine.errors import CheckpointError, UserError
from engine.training import state
from engine.training import trainer as module
from engine.training.beside import Sample
from engine.training.evaluate import Evaluation
from engine.training.trainer import IDLE_SECONDS, MAX_ROLLBACKS, Trainer

from .told import said, telling

NO_ROOM = torch.OutOfMemoryError("out of memory")
EARLY = {"reason": "early_stop"}
STOP = {"do": "stop", "checkpoint": True}


def failing(error: BaseException) -> Any:
    def fails(*_: object, **__: object) -> Any:
        raise error

    return fails


# -- long work, and who waits ------------------------------------------------------------------------------------------


def test_others_hear_every_second_that_they_are_waited_with(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one, told = telling(tmp_path)
    now = [100.0]
    monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: now[0]))
    monkeypatch.setattr(one.crew, "idle", lambda: told.append(("idle", now[0])))
    monkeypatch.setattr(one.live, "serve", lambda step, weights: told.append(("served", weights == one.crew.weights)))
    assert IDLE_SECONDS == 1.0
    for now[0] in (100.0, 100.5, 101.0, 101.5, 102.0, 102.75):
        assert one.between() is False
    assert said(told, "idle") == [("idle", 100.0), ("idle", 101.5), ("idle", 102.75)]
    assert said(told, "served") == [("served", True)] * 6 and said(told, "status") == [("status", {})] * 6
    for name in ("evaluating", "lost"):  # in an evaluation they speak by themselves; nobody speaks to who is gone
        now[0] += 9.0
        setattr(one.crew, name, True)
        one.between()
        setattr(one.crew, name, False)
    assert len(said(told, "idle")) == 3


@pytest.mark.parametrize("evaluating", [False, True])
@pytest.mark.parametrize("sharded", [False, True])
def test_prompts_are_served_unless_the_weights_are_in_use(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, evaluating: bool, sharded: bool
) -> None:
    one, told = telling(tmp_path)
    one.crew.evaluating, one.crew.sharded = evaluating, sharded
    monkeypatch.setattr(one.live, "serve", lambda step, weights: told.append(("served",)))
    one.commands.put({"do": "stop"})
    assert one.between() is True
    assert len(said(told, "served")) == (not (evaluating and sharded))


def test_what_was_made_beside_is_told_in_order(tmp_path: Path) -> None:
    """What went wrong comes before the record, what is to be said of the text after it."""
    one, told = telling(tmp_path)
    sample = Sample({"prompt": "a"}, (("copied", "much"), ("sample", "odd")))
    one.samples.beside = SimpleNamespace(  # type: ignore[assignment]
        busy=False, give_up=lambda: told.append(("given up",)), told=lambda: [(4, sample), (4, Sample(None))]
    )
    one.samples.wait()
    alarms = [("alarm", 4, {"alarm": kind, "message": message}) for kind, message in sample.alarms]
    assert told == [("given up",), alarms[1], ("sample", {"step": 4, "prompt": "a"}), alarms[0]]


def test_samples_that_are_being_made_are_waited_for(tmp_path: Path) -> None:
    for leaving in (False, True):
        one, told = telling(tmp_path)
        waits: list[float] = []

        class Beside:
            left = 3
            told = staticmethod(list)

            @property
            def busy(self) -> bool:
                return self.left > 0

            def give_up(self) -> None:
                told.append(("given up",))  # noqa: B023 - called in its own turn

        one.samples.beside, one.stop = Beside(), STOP if leaving else EARLY  # type: ignore[assignment]

        def waited(seconds: float, one: Trainer = one, waits: list[float] = waits) -> None:
            waits.append(seconds)
            one.samples.beside.left -= 1  # type: ignore[attr-defined]

        one.commands.wait = waited  # type: ignore[assignment,method-assign]
        one.samples.wait()
        assert waits == ([] if leaving else [0.1] * 3)
        assert told[0] == ("status", {"phase": "sampling"}) and said(told, "given up") == [("given up",)]


# -- checkpoints -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("sample", [False, True])
def test_a_checkpoint_is_told_once_it_stands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sample: bool) -> None:
    one, told = telling(tmp_path, "train.keep_last=7")
    one.step, one.evaluation, one.watch.best_step = 4, (4, Evaluation(1.5, 1.0, 9, 0.1)), 3
    written: list[Any] = []
    monkeypatch.setattr(state, "write_checkpoint", lambda run, contents: written.append(contents.step))
    monkeypatch.setattr(state, "prune", lambda run, *what: told.append(("pruned", *what)))
    monkeypatch.setattr(one.samples, "make", lambda: told.append(("sampled",)))
    one.writer.restored = True
    one.checkpoint(sample) if sample else one.checkpoint()
    assert written == [4] and one.checkpoint_step == 4 and not one.writer.restored
    assert told == [
        *([("sampled",)] if sample else []),
        ("status", {"phase": "checkpointing"}),
        ("checkpoint", 4, {"path": one.writer.run.checkpoint(4).name, "val_loss": 1.5}),
        ("pruned", 4, {3}, 7),
        ("status", {"phase": "training", "message": ""}),
    ]
    assert not one.saved, "it is not there"
    one.writer.run.checkpoint(4).mkdir(parents=True)
    assert one.saved
    one.step = 5
    assert not one.saved
    one.watch.best_step = None
    told.clear()
    one.saves.prune()
    assert told == [("pruned", 5, set(), 7)]


def test_a_checkpoint_that_cannot_be_written_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one, told = telling(tmp_path)
    asked: list[Any] = []
    monkeypatch.setattr(state, "until", lambda self, written, seconds: asked.append((written, seconds)) or "no room")
    with pytest.raises(UserError, match=r"^no room; stopped without saving the checkpoint of step 0"):
        one.checkpoint()
    assert asked == [(one.saves._write, state.DISK_RETRY_SECONDS)]
    assert told == [("status", {"phase": "checkpointing"})]
    assert (state.DISK_RETRY_SECONDS, state.RETRY_SECONDS) == (5.0, 0.5)


@pytest.mark.parametrize("leaving", [False, True])
@pytest.mark.parametrize("taken", ["", "another run"])
def test_records_that_cannot_be_synced_hold_a_checkpoint_up_unless_somebody_leaves(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, leaving: bool, taken: str
) -> None:
    one, _ = telling(tmp_path)
    one.step, one.stop = 4, STOP if leaving else None
    one.writer.taken = taken  # type: ignore[misc]
    one.writer.unsynced = UserError("cannot write metrics.jsonl")  # type: ignore[attr-defined]
    written: list[int] = []
    monkeypatch.setattr(state, "write_checkpoint", lambda run, contents: written.append(contents.step))
    assert one.saves._write() == "cannot write metrics.jsonl"
    assert written == ([4] if leaving and not taken else []) and one.checkpoint_step == (4 if written else None)


@pytest.mark.parametrize(
    ("error", "why"),
    [(UserError("no room"), "no room"), (NO_ROOM, "no memory to write the checkpoint of step 4"), (None, "")],
)
def test_why_a_checkpoint_is_not_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception | None, why: str
) -> None:
    one, _ = telling(tmp_path)
    one.step, one.writer.restored = 4, True
    monkeypatch.setattr(state, "write_checkpoint", lambda *_: None if error is None else failing(error)())
    assert one.saves._write() == why
    assert (one.checkpoint_step, one.writer.restored) == ((None, True) if error else (4, False))
    monkeypatch.setattr(state, "write_checkpoint", failing(ValueError("a bug")))
    with pytest.raises(ValueError, match="a bug"):
        one.saves._write()


class Parts:
    """A crew whose checkpoints are written in parts: `ends` is what becomes of each."""

    def __init__(self, one: Trainer, told: list[Any], ends: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
        self.one, self.told, self.ends = one, told, ends
        one.crew.sharded = True
        for name in ("begin_checkpoint", "end_checkpoint"):
            monkeypatch.setattr(one.crew, name, getattr(self, name))
        monkeypatch.setattr(
            state, "contents", lambda trainer: SimpleNamespace(step=trainer.step, state={"val_loss": 2.5})
        )
        monkeypatch.setattr(state, "prune", lambda *_: None)
        self.under_way: Any = None

    def begin_checkpoint(self, run: Any, contents: Any) -> None:
        self.told.append(("begun", contents.step))
        self.under_way = self.one.crew.writing = contents

    def end_checkpoint(self, run: Any) -> Any:
        self.one.crew.writing = None
        self.told.append(("ended", self.under_way.step))
        return self.under_way, self.ends.pop(0)


def test_training_goes_on_while_parts_are_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one, told = telling(tmp_path)
    Parts(one, told, [""], monkeypatch)
    one.step, one.writer.restored = 4, True
    one.checkpoint()
    assert [each[0] for each in told] == ["status", "begun", "status"] and one.checkpoint_step is None
    one.step = 6
    one.saves.finish()
    checkpoint = ("checkpoint", 4, {"path": one.writer.run.checkpoint(4).name, "val_loss": 2.5})
    phases = [("status", {"phase": "checkpointing"}), ("status", {"phase": "training", "message": ""})]
    assert told[3:] == [phases[0], ("ended", 4), checkpoint, phases[1]]
    assert one.checkpoint_step == 4 and not one.writer.restored
    told.clear()
    one.saves.finish()
    assert told == [], "none is under way"


def test_parts_that_fail_are_written_again_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one, told = telling(tmp_path)
    Parts(one, told, ["no room", ""], monkeypatch)
    one.step = 4
    one.checkpoint()
    one.step = 6
    one.saves.finish()
    message = "no room; it is written again"
    assert said(told, "alarm") == [("alarm", 4, {"alarm": "checkpoint", "message": message})]
    assert said(told, "begun", "ended") == [("begun", 4), ("ended", 4), ("begun", 6), ("ended", 6)]
    assert one.checkpoint_step == 6 and [each[1] for each in said(told, "checkpoint")] == [6]
    assert not one.saves._retrying and one.crew.writing is None


@pytest.mark.parametrize("why", ["", "no room"])
def test_who_leaves_waits_for_the_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, why: str) -> None:
    one, told = telling(tmp_path)
    Parts(one, told, [why], monkeypatch)
    one.step, one.stop = 4, STOP
    assert one.saves._write() == why and said(told, "begun", "ended") == [("begun", 4), ("ended", 4)]
    assert one.checkpoint_step == (None if why else 4)
    one.writer.unsynced = UserError("cannot write metrics.jsonl")  # type: ignore[attr-defined]
    monkeypatch.setattr(one.saves, "_begin", lambda: why)
    assert one.saves._write() == (why or "cannot write metrics.jsonl")


def test_a_checkpoint_under_way_is_awaited_before_the_next(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one, told = telling(tmp_path)
    Parts(one, told, ["", ""], monkeypatch)
    for one.step in (4, 8):
        one.checkpoint()
    assert said(told, "begun", "ended") == [("begun", 4), ("ended", 4), ("begun", 8)]
    monkeypatch.setattr(one.crew, "begin_checkpoint", failing(CheckpointError("cannot write step 9")))
    one.crew.writing = None
    assert one.saves._write() == "cannot write step 9"


@pytest.mark.parametrize(
    ("ended", "paused", "stop", "state", "leaving"),
    [
        ("", False, None, "running", False),
        ("", True, None, "paused", False),
        ("stopped", True, STOP, "stopped", True),
        ("", False, EARLY, "running", False),
        ("", False, {"do": "stop", "reason": "hang-up"}, "running", True),
    ],
)
def test_how_it_stands(tmp_path: Path, ended: str, paused: bool, stop: Any, state: str, leaving: bool) -> None:
    one, _ = telling(tmp_path)
    one._ended, one.paused, one.stop = ended, paused, stop
    assert (one.state, one.leaving) == (state, leaving)


# -- spikes ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("loss", "before", "good", "back"),
    [(3.1, 0, True, True), (3.0, 0, True, False), (3.1, 2, True, True), (3.1, 3, True, False), (3.1, 0, False, False)],
)
def test_a_spike_goes_back_at_most_three_times(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, loss: float, before: int, good: bool, back: bool
) -> None:
    one, told = telling(tmp_path, "train.spike_rollback=2")
    one.step, one.rollbacks, one.lr_scale, one.checkpoint_step, one.watch.running = 8, before, 0.25, 4, 1.5
    saved: Any = SimpleNamespace(step=4)
    asked: list[Any] = []

    def restored(trainer: Trainer, checkpoint: Any) -> None:
        assert checkpoint is saved
        trainer.step, trainer.lr_scale, trainer.rollbacks, trainer.watch.running = 4, 1.0, 0, 1.25

    def newest(run: Any, in_parts: bool) -> Any:
        asked.append(in_parts)
        return (saved, []) if good else (None, ["it is damaged"])

    monkeypatch.setattr(module, "newest_good", newest)
    monkeypatch.setattr(module, "restore", restored)
    assert one._spike(8, loss) is back and MAX_ROLLBACKS == 3
    assert asked == ([False] if loss > 3.0 and before < 3 else [])
    if back:
        assert told == [("rewind", 4), ("rollback", 8, {"to": 4, "loss": loss, "running": 1.25})]
        assert (one.rollbacks, one.batches.salt, one.lr_scale, one.checkpoint_step) == (
            before + 1,
            before + 1,
            0.25,
            None,
        )
    else:
        assert told == [] and (one.rollbacks, one.batches.salt, one.checkpoint_step) == (before, 0, 4)


# -- commands ----------------------------------------------------------------------------------------------------------


def test_a_paused_trainer_waits_and_does_what_it_is_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one, told = telling(tmp_path)
    waits: list[float] = []
    orders = [["sample", "checkpoint"], ["checkpoint"], ["resume"]]

    def waited(seconds: float) -> None:
        waits.append(seconds)
        for do in orders.pop(0):
            one.commands.put({"do": do})

    monkeypatch.setattr(one.commands, "wait", waited)
    monkeypatch.setattr(module, "settle", lambda trainer: told.append(("settled",)))
    monkeypatch.setattr(one.samples, "make", lambda: told.append(("sampled",)))
    monkeypatch.setattr(one, "checkpoint", lambda: told.append(("saved",)))
    one.commands.put({"do": "pause"})
    assert one.obey() is False and waits == [0.25] * 3 and not one.paused
    asked = [each[0] for each in said(told, "sampled", "saved", "settled", "paused", "unpaused")]
    paused = [each for each in said(told, "status") if each[1] == {"state": "paused"}]
    assert len(paused) == 3, "after each that was asked for"
    assert asked == ["paused", "settled", "settled", "sampled", "saved", "settled", "saved", "unpaused", "settled"]


@pytest.mark.parametrize("paused", [False, True])
def test_a_stop_ends_the_waiting_and_what_was_wanted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, paused: bool
) -> None:
    one, told = telling(tmp_path)
    one.paused = paused
    monkeypatch.setattr(one.commands, "wait", failing(AssertionError("nobody waits")))
    monkeypatch.setattr(one, "checkpoint", lambda: told.append(("saved",)))
    for do in ("checkpoint", "stop"):
        one.commands.put({"do": do})
    assert one.obey() is True and said(told, "saved") == [] and one.wanted == ["checkpoint"]
    assert said(told, "stop") == [("stop", 0, {})]


def test_nothing_to_obey_is_nothing_to_wait_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one, told = telling(tmp_path)
    monkeypatch.setattr(one.commands, "wait", failing(AssertionError("nobody waits")))
    assert one.obey() is False and told == []
    one.wanted = ["checkpoint"]
    monkeypatch.setattr(one, "checkpoint", lambda: told.append(("saved",)))
    assert one.obey() is False and told == [("saved",)] and one.wanted == []
