"""Times and rates as the files of a run hold them: milliseconds, and rates with one decimal."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from engine.runs.layout import RunDir
from engine.runs.naming import write_note
from engine.runs.writer import RunWriter
from engine.training import state
from engine.training.trainer import Trainer

from .conftest import train

Start = Callable[..., RunDir]
NOW = 1795188242.1236789


def numbers(value: Any) -> Iterator[float]:
    if isinstance(value, dict | list):
        for each in value.values() if isinstance(value, dict) else value:
            yield from numbers(each)
    elif isinstance(value, float):
        yield value


def test_every_time_of_a_run_is_in_milliseconds(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "time", lambda: NOW)
    run = start("timed", "train.max_steps=1")
    with RunWriter(run) as writer:
        writer.event("looked_at", 0)
        writer.status(state="running")
        lock = json.loads((run.path / "lock").read_text())
    write_note(run, "timed")
    found = {"lock": list(numbers(lock))}
    for path in (run.run_json, run.status_json, run.note_json, run.path / "events.jsonl"):
        found[path.name] = [time for line in _records(path.read_text()) for time in numbers(line) if time > 1e9]
    assert all(found.values())
    assert {time for times in found.values() for time in times} == {1795188242.124}


def _records(text: str) -> Iterator[Any]:
    try:
        yield json.loads(text)
    except ValueError:
        yield from map(json.loads, text.splitlines())


def test_the_status_tells_times_and_rates_that_can_be_read(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[dict[str, Any]] = []
    status, report = RunWriter.status, Trainer.report

    def keep(self: RunWriter, **fields: Any) -> bool:
        told.append(fields)
        return status(self, **fields)

    def as_if(self: Trainer, **fields: Any) -> None:
        self.train_seconds, self.eval_seconds, self.tokens_per_s = 12.34567, 3.45678, 98.7654
        report(self, **fields)

    monkeypatch.setattr(RunWriter, "status", keep)
    monkeypatch.setattr(Trainer, "report", as_if)
    train(start("rates", "train.max_steps=4", "train.eval_every=2"))
    reports = [fields for fields in told if "eta_s" in fields]
    assert {fields["train_seconds"] for fields in reports} == {12.346}
    assert {fields["eval_seconds"] for fields in reports} == {3.457}
    assert {fields["tokens_per_s"] for fields in reports} == {98.8}
    left = {fields["step"]: fields["eta_s"] for fields in reports}
    assert left[0] is None and left[4] == 0 and {step: left[step] for step in left if step in (1, 2, 3)}
    for step, eta in left.items():
        assert not step or eta == round((4 - step) * 12.34567 / step, 1)


def test_what_was_waited_is_told_in_tenths_of_a_second(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([100.0, *[100.25] * 3, *[101.2345] * 50])
    monkeypatch.setattr(time, "monotonic", lambda: next(clock))
    events: list[dict[str, Any]] = []

    class Writer:
        taken = ""

        def status(self, **fields: Any) -> bool:
            return True

        def event(self, kind: str, step: int, **fields: Any) -> None:
            events.append({"kind": kind, **fields})

    class Waits:
        writer, leaving, step, state = Writer(), False, 3, "running"

        class commands:
            @staticmethod
            def wait(seconds: float) -> None: ...

        def between(self) -> None: ...

    problems = iter(["no room", ""])
    assert state.until(Waits(), lambda: next(problems), 0.5) == ""  # type: ignore[arg-type]
    assert events == [{"kind": "waited", "seconds": 1.2, "message": "no room"}]
