"""The thread that trains, when it begins and when something ends it."""

from __future__ import annotations

from collections.abc import Callable
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


class Trains:
    """Stands for a trainer that ends as `error` says."""

    def __init__(
        self, error: Exception | None, step: int, saved: int | None, sharded: bool, unsaved: Exception | None
    ) -> None:
        self.did: list[str] = []
        self.error, self.step, self.checkpoint_step, self.unsaved = error, step, saved, unsaved
        self.live = SimpleNamespace(end=lambda: self.did.append("no prompts"))
        self.beside = SimpleNamespace(give_up=lambda: self.did.append("no samples"))
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
    start: Start,
    monkeypatch: pytest.MonkeyPatch,
    error: Exception | None,
    step: int,
    saved: int | None,
    sharded: bool,
    saves: bool,
    steps: tuple[int, ...],
) -> None:
    run = start("run")
    for each in steps:
        run.checkpoint(each).mkdir(parents=True)
    trainer = Trains(error, step, saved, sharded, None)
    host = TrainingHost(run)
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


def test_what_cannot_be_saved_is_told_beside_what_ended_it(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    host = TrainingHost(start("run"))
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
        return SimpleNamespace(step=4, environment=lambda: {"device": "here"}, evaluates=lambda: {"val_tokens": 9})


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


def test_it_is_asked_to_end_and_waited_for(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    host = TrainingHost(start("run"))
    assert (host.error, host.state, host.begun, host.alive) == (None, None, False, False)
    host.stop()
    host.stop(checkpoint=False)
    assert host.commands.drain() == [{"do": "stop", "checkpoint": True}, {"do": "stop", "checkpoint": False}]
    assert host._thread.name == "train-run" and not host._thread.daemon
