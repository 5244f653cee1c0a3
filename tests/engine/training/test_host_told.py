"""The thread that trains, when it begins and when something ends it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from engine.errors import RunError, TrainingError, UserError
from engine.runs.layout import RunDir
from engine.runs.writer import RunWriter
from engine.training import checkpoint as checkpoints
from engine.training import crew as crews
from engine.training import memory, precision, saving
from engine.training import state as states
from engine.training import trainer as trainers
from engine.training.host import TrainingHost
from engine.training.precision import Choice
from engine.training.ranks import ALONE, LostRankError, Ranks

from .told import Writer

Start = Callable[..., RunDir]


@pytest.fixture
def bare(tmp_path: Path) -> RunDir:
    """A run's folder with nothing in it."""
    run = RunDir(tmp_path / "run")
    run.path.mkdir()
    return run


class Trains:
    """Stands for a trainer that ends as `error` says."""

    def __init__(
        self, error: Exception | None, step: int, saved: int | None, sharded: bool, unsaved: Exception | None
    ) -> None:
        self.did: list[str] = []
        self.error, self.step, self.checkpoint_step, self.unsaved = error, step, saved, unsaved
        self.live = SimpleNamespace(end=lambda: self.did.append("no prompts"))
        self.samples = SimpleNamespace(beside=SimpleNamespace(give_up=lambda: self.did.append("no samples")))
        self.crew: Any = SimpleNamespace(
            sharded=sharded,
            build=None,
            end=lambda: self.did.append("crew ended"),
            ranks=SimpleNamespace(leave=lambda: self.did.append("left")),
        )
        self.dataset = SimpleNamespace(tokenizer=None)

    def run(self) -> str:
        if self.error is not None:
            raise self.error
        return "finished"

    def checkpoint(self) -> None:
        self.did.append("saved")
        if self.unsaved is not None:
            raise self.unsaved


TOO_LARGE = "out of memory: the model and its optimizer do not fit; lower model.n_layer or model.n_embd"
LOST = LostRankError("rank 1 has died")
BAD = TrainingError("step 4: the loss is nan")


@pytest.mark.parametrize("steps", [(), (4, 9)])
@pytest.mark.parametrize(
    ("error", "step", "saved", "sharded", "saves"),
    [
        (None, 9, None, False, False),
        (LOST, 9, 4, False, True),
        (LOST, 9, None, False, True),
        (LOST, 9, 9, False, False),
        (LOST, 0, None, False, False),
        (LOST, 1, None, False, True),
        (LOST, 9, 4, True, False),
        (BAD, 9, 4, False, True),
        (BAD, 1, None, False, True),
        (BAD, 9, 4, True, True),
        (BAD, 9, 9, False, False),
        (BAD, 0, None, False, False),
        (ValueError("a bug"), 9, 4, False, False),
    ],
)
def test_what_can_be_saved_is_saved_at_the_end(
    bare: RunDir,
    monkeypatch: pytest.MonkeyPatch,
    error: Exception | None,
    step: int,
    saved: int | None,
    sharded: bool,
    saves: bool,
    steps: tuple[int, ...],
) -> None:
    for each in steps:
        bare.checkpoint(each).mkdir(parents=True)
    trainer = Trains(error, step, saved, sharded, None)
    host = TrainingHost(bare)
    monkeypatch.setattr(host, "_prepare", lambda writer: trainer)
    writer: Any = SimpleNamespace(serve_at=lambda place: trainer.did.append("served"), stuck="")
    if error is None:
        assert host._train(writer) == "finished"
    else:
        with pytest.raises(TrainingError if error is LOST else type(error)) as told:
            host._train(writer)
        if error is LOST:
            last = "the checkpoint of step 9 stands" if steps else "there is no checkpoint yet"
            assert type(told.value) is TrainingError
            assert str(told.value) == f"rank 1 has died; {last}, go on with tinytui train --resume run"
        else:
            assert told.value is error
    ends = ["crew ended"] if error is None else ["no samples"] if error is LOST else []
    assert trainer.did == ["served", *ends, *(["saved"] if saves else []), "no prompts", "left"] and host.begun


def test_what_cannot_be_saved_is_told_beside_what_ended_it(bare: RunDir, monkeypatch: pytest.MonkeyPatch) -> None:
    host = TrainingHost(bare)
    writer: Any = SimpleNamespace(serve_at=lambda place: None, stuck="")
    monkeypatch.setattr(host, "_prepare", lambda writer: Trains(BAD, 4, 3, False, UserError("no room")))
    with pytest.raises(TrainingError, match=r"^step 4: the loss is nan; and no room$"):
        host._train(writer)


# -- getting ready -----------------------------------------------------------------------------------------------------


class Ready:
    """What `_prepare` asks and makes, told in order."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.told: list[Any] = []
        self.checkpoint: Any = None
        self.problems: list[str] = []
        monkeypatch.setattr(checkpoints, "newest_good", self.newest)
        monkeypatch.setattr(saving, "remove_orphans", lambda run: self.told.append("orphans removed"))
        monkeypatch.setattr(crews, "Crew", self.crew)
        monkeypatch.setattr(states, "environment", lambda trainer: {"device": "here"})
        monkeypatch.setattr(states, "evaluates", lambda trainer: {"val_tokens": 9})
        monkeypatch.setattr(states, "restore", lambda trainer, checkpoint: ["it was on another machine"])
        monkeypatch.setattr(trainers, "Trainer", self.trainer)
        monkeypatch.setattr(memory, "choose_parallel", lambda config, vocab, device, ranks: f"as {ranks} on {device}")

    def newest(self, run: Any, in_parts: bool) -> Any:
        self.told.append(("in parts", in_parts))
        return self.checkpoint, self.problems

    def crew(self, config: Any, dataset: Any, device: Any, ranks: Any, drawn: bool, parallel: str) -> Any:
        self.told.append(("crew", ranks, drawn, parallel, config.train.precision))
        return None

    def trainer(self, writer: Any, crew: Any, commands: Any, live: Any) -> Any:
        return SimpleNamespace(step=4)


@pytest.fixture
def ready(monkeypatch: pytest.MonkeyPatch) -> Ready:
    return Ready(monkeypatch)


def prepared(run: RunDir, **how: Any) -> list[Any]:
    writer: Any = Writer(run.path)
    TrainingHost(run, device="cpu", **how)._prepare(writer)
    return list(writer.told)


def test_a_run_begins_with_what_it_depends_on(start: Start, ready: Ready, monkeypatch: pytest.MonkeyPatch) -> None:
    run = start("run", "train.precision=fp32")
    monkeypatch.setattr(Ranks, "join", lambda: pytest.fail("it is alone"))
    told = prepared(run)
    assert told == [("status", {"phase": "reading the corpus"}), ("started", 0, {"device": "here", "val_tokens": 9})]
    crew = ("crew", ALONE, True, "as 1 on cpu", "fp32")
    assert ready.told == ["orphans removed", ("in parts", False), crew]
    run.metrics.write_text("")
    assert ("rewind", 0) not in prepared(run)
    run.metrics.write_text("{}\n")
    assert prepared(run)[1:] == [("rewind", 0), *told[1:]]


def test_with_others_it_waits_for_them_first(start: Start, ready: Ready, monkeypatch: pytest.MonkeyPatch) -> None:
    run, shared = start("run", "train.precision=fp32"), list[Any]()

    class Group(Ranks):
        def share(self, thing: Any = None) -> Any:
            shared.append(thing)

        def introduce(self, device: str) -> None:
            shared.append(device)

    group = Group(0, 3)
    monkeypatch.setattr(Ranks, "join", lambda: group)
    told = prepared(run, in_group=True)
    assert told[0] == ("status", {"phase": "waiting for the other processes"})
    job, device = shared
    assert (job.run, job.device, job.drawn, job.parallel, device) == (
        run.path.absolute(),
        "cpu",
        True,
        "as 3 on cpu",
        "cpu",
    )
    assert job.tokenizer["kind"] == "char" and job.config.train.precision == "fp32"
    assert ready.told == ["orphans removed", ("in parts", True), ("crew", group, True, "as 3 on cpu", "fp32")]


@pytest.mark.parametrize("step", [None, 4])
def test_the_arithmetic_that_was_chosen_is_recorded(
    start: Start, ready: Ready, monkeypatch: pytest.MonkeyPatch, step: int | None
) -> None:
    run = start("run", "train.precision=auto")
    ready.checkpoint = step and SimpleNamespace(step=step, tokenizer=None)
    monkeypatch.setattr(precision, "choose", lambda *_: Choice("bf16", "it is faster", {"fp32": 2.0, "bf16": 1.0}))
    told = prepared(run)
    assert told[1] == ("status", {"phase": "choosing the precision"})
    assert told[2][0] == "describe" and told[2][1]["config"]["train"]["precision"] == "bf16"
    chosen = {"precision": "bf16", "why": "it is faster", "seconds": {"fp32": 2.0, "bf16": 1.0}}
    assert told[3] == ("precision", step or 0, chosen)
    assert ready.told[-1] == ("crew", ALONE, step is None, "as 1 on cpu", "bf16")


def test_a_run_goes_on_from_what_is_whole_and_says_what_is_not(start: Start, ready: Ready) -> None:
    run = start("run", "train.precision=fp32")
    ready.checkpoint, ready.problems = SimpleNamespace(step=4, tokenizer=None), ["step 8 is damaged", "step 6 too"]
    told = prepared(run)
    alarms = [("alarm", 4, {"alarm": "checkpoint", "message": problem}) for problem in ready.problems]
    resumed = {"warnings": ["it was on another machine"], "device": "here", "val_tokens": 9}
    assert told[1:] == [*alarms, ("rewind", 4), ("resumed", 4, resumed)]
    assert ready.told[-1] == ("crew", ALONE, False, "as 1 on cpu", "fp32")
    ready.checkpoint = None
    writer: Any = Writer(run.path)
    with pytest.raises(RunError, match=r"^no checkpoint of run can be used: step 8 is damaged$"):
        TrainingHost(run, device="cpu")._prepare(writer)
    assert writer.told[1:] == [("alarm", 0, {"alarm": "checkpoint", "message": problem}) for problem in ready.problems]


@pytest.mark.parametrize(
    ("asked", "written", "device"),
    [("cpu", {"device": "cuda:9"}, "cpu"), (None, {"device": "cpu"}, "cpu"), (None, {}, "auto"), (None, None, "auto")],
)
def test_the_device_is_the_one_asked_for_else_the_runs(
    start: Start, ready: Ready, monkeypatch: pytest.MonkeyPatch, asked: str | None, written: Any, device: str
) -> None:
    run, named = start("run", "train.precision=fp32"), list[str]()
    with RunWriter(run) as writer:
        writer.describe(environment=written)
    monkeypatch.setattr(Ranks, "device_name", lambda self, name: named.append(name) or "cpu")
    told: Any = Writer(run.path)
    TrainingHost(run, device=asked)._prepare(told)
    assert named == [device]


def test_it_is_asked_to_end_and_waited_for(bare: RunDir, monkeypatch: pytest.MonkeyPatch) -> None:
    host = TrainingHost(bare)
    assert (host.error, host.state, host.begun, host.alive) == (None, None, False, False)
    host.stop()
    host.stop(checkpoint=False)
    assert host.commands.drain() == [{"do": "stop", "checkpoint": True}, {"do": "stop", "checkpoint": False}]
    assert host._thread.name == "train-run" and not host._thread.daemon


@pytest.mark.parametrize(
    ("error", "said", "trace"),
    [
        (None, None, False),
        (UserError("no room"), "no room", False),
        (MemoryError(), TOO_LARGE, False),
        (ValueError("a\n bug"), "ValueError: a bug", True),
    ],
)
@pytest.mark.parametrize("full", [False, True])
def test_how_it_ended_is_told_though_the_disk_be_full(
    bare: RunDir, monkeypatch: pytest.MonkeyPatch, error: Exception | None, said: str | None, trace: bool, full: bool
) -> None:
    host, closed = TrainingHost(bare), list[bool]()
    writer: Any = Writer(bare.path)
    writer.close = lambda: closed.append(True)
    host._writer = writer

    def trains(writer: Any) -> str:
        if error is not None:
            raise error
        return "stopped"

    def event(kind: str, step: int, **fields: Any) -> None:
        if full:
            raise UserError("no space left on device")
        writer.told.append((kind, step, fields))

    monkeypatch.setattr(host, "_train", trains)
    writer.event = event
    host._run()
    assert (host.state, host.error) == (("failed", said) if error else ("stopped", None)) and closed == [True]
    if error is None:
        assert writer.told == []
        return
    *events, status = writer.told
    assert status == ("status", {"state": "failed", "phase": "", "message": said, "problem": said})
    if full:
        assert events == []
        return
    ((kind, step, fields),) = events
    assert (kind, step, fields.pop("message")) == ("error", -1, said)
    assert [*fields] == (["traceback"] if trace else []) and all("ValueError: a" in each for each in fields.values())


@pytest.mark.parametrize("problem", ["", "no space left on device"])
def test_a_run_that_cannot_say_that_it_begins_does_not(bare: RunDir, problem: str) -> None:
    host, did = TrainingHost(bare), list[Any]()

    def check() -> None:
        did.append("checked")
        if problem:
            raise UserError(problem)

    host._writer = SimpleNamespace(  # type: ignore[assignment]
        __enter__=lambda: did.append("locked"),
        status=lambda **fields: did.append(fields),
        check=check,
        close=lambda: did.append("closed"),
    )
    host._thread = SimpleNamespace(start=lambda: did.append("begun"))  # type: ignore[assignment]
    if problem:
        with pytest.raises(UserError, match=problem):
            host.start()
    else:
        host.start()
    loading = {"state": "running", "phase": "loading torch", "problem": None}
    assert did == ["locked", loading, "checked", "closed" if problem else "begun"]


def test_who_gives_it_up_says_why_before_the_lock_goes(bare: RunDir) -> None:
    host, did = TrainingHost(bare), list[Any]()
    host._writer = SimpleNamespace(  # type: ignore[assignment]
        status=lambda **fields: did.append(fields), close=lambda: did.append("closed"), untold=lambda: {"state": "x"}
    )
    host.give_up("it took too long")
    why = {"state": "stopped", "phase": "", "message": "it took too long", "problem": "it took too long"}
    assert did == [why, "closed"] and host.untold() == {"state": "x"}
