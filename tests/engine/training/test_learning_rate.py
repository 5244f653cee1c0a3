"""A learning rate set by hand is that of the next update, to the last digit, and the schedule goes on from there."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from engine.config import TrainConfig
from engine.runs.layout import RunDir
from engine.runs.reader import RunReader
from engine.training.fork import fork_run
from engine.training.schedule import lr_multiplier
from engine.training.start import resume_run
from engine.training.trainer import Trainer

from .conftest import train

PEAK = 0.01
COSINE = (
    "train.schedule=cosine",
    "train.max_steps=20",
    "train.learning_rate=0.01",
    "train.min_learning_rate=0.001",
    "train.warmup_steps=6",
)
ALL = tuple(range(20))


def planned(step: int) -> float:
    """The rate of the update after `step` when nobody sets anything."""
    config = TrainConfig(max_steps=20, learning_rate=PEAK, min_learning_rate=0.001, warmup_steps=6)
    return PEAK * lr_multiplier(step, config)


def tell(monkeypatch: pytest.MonkeyPatch, at: dict[int, Any]) -> list[dict[str, Any]]:
    """Put a command before the update after each step of `at`; what the status file said then is in the list.

    A value is sent as a learning rate; a function is asked for it with the status.
    """
    said: list[dict[str, Any]] = []
    plain = Trainer._one_step

    def one_step(self: Trainer) -> None:
        plain(self)
        if self.step in at:
            self.report(phase=f"step {self.step}")  # another phase: written at once
            said.append(json.loads(self.writer.run.status_json.read_text()))
            value = at[self.step]
            self.commands.put({"do": "learning_rate", "value": value(said[-1]) if callable(value) else value})

    monkeypatch.setattr(Trainer, "_one_step", one_step)
    return said


def rates(run: RunDir) -> list[float]:
    reader = RunReader(run)
    reader.poll()
    return list(reader.series.lr)


def events(run: RunDir, kind: str) -> list[dict[str, Any]]:
    reader = RunReader(run)
    reader.poll()
    return [event for event in reader.events if event["kind"] == kind]


@pytest.mark.parametrize("step", [1, 3, 6, 12, 19], ids=lambda step: f"step {step}")
def test_the_next_update_has_the_rate_and_later_ones_are_in_proportion(
    step: int, start: Callable[..., RunDir], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Inside warm-up, at its end, in the decay, before the last step."""
    run = start("set", *COSINE)
    tell(monkeypatch, {step: 0.0042})
    assert train(run).state == "finished"
    expected = [planned(s) if s < step else 0.0042 * planned(s) / planned(step) for s in ALL]
    assert rates(run) == pytest.approx(expected, rel=1e-5)
    (event,) = events(run, "learning_rate")
    assert event["step"] == step and event["value"] == 0.0042
    assert event["before"] == pytest.approx(planned(step), rel=1e-12)


@pytest.mark.parametrize("step", [1, 6, 13, 19])
def test_the_rate_in_force_sent_back_changes_nothing(
    step: int, start: Callable[..., RunDir], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As the screen fills it in: at step 513 of 600 it gave the peak, and enter multiplied the rate by six."""
    run = start("same", *COSINE)
    said = tell(monkeypatch, {step: lambda status: status["learning_rate"]})
    assert train(run).state == "finished"
    assert said[0]["learning_rate"] == planned(step), "all its digits"
    assert said[0]["lr_scale"] == 1.0
    assert rates(run) == pytest.approx([planned(s) for s in ALL], rel=1e-5)
    assert events(run, "learning_rate") == []


def test_the_status_has_the_rate_that_was_set(start: Callable[..., RunDir], monkeypatch: pytest.MonkeyPatch) -> None:
    run = start("told", *COSINE)
    said = tell(monkeypatch, {10: 0.003, 11: lambda status: status["learning_rate"], 12: 0.003})
    train(run)
    scale = 0.003 / planned(10)
    assert said[1]["learning_rate"] == pytest.approx(scale * planned(11), rel=1e-12)
    assert said[1]["lr_scale"] == pytest.approx(scale, rel=1e-12)
    assert [event["step"] for event in events(run, "learning_rate")] == [10, 12]


def test_where_the_schedule_is_at_zero_no_rate_can_be_set(start: Callable[..., RunDir]) -> None:
    run = start("zero", "train.min_learning_rate=0")
    said: list[dict[str, Any]] = []

    class Writer:
        def event(self, kind: str, step: int, **fields: Any) -> None:
            said.append({"kind": kind, **fields})

    trainer = object.__new__(Trainer)
    trainer.config = resume_config(run)
    trainer.writer, trainer.step, trainer.lr_scale = Writer(), 12, 1.0  # type: ignore[assignment]
    trainer.set_learning_rate(0.1)
    assert trainer.lr_scale == 1.0
    assert [event["kind"] for event in said] == ["alarm"] and "the schedule is at zero" in said[0]["message"]


def resume_config(run: RunDir) -> Any:
    from engine.config import make_config

    return make_config(json.loads(run.run_json.read_text())["config"])


def test_a_resume_keeps_it_and_a_longer_schedule_is_not_raised_by_it(
    start: Callable[..., RunDir], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Set at the end of a decay, the same proportion would be ten peaks in the middle of a longer one."""
    run = start("longer", *COSINE)
    tell(monkeypatch, {18: PEAK})
    train(run)
    assert rates(run)[18] == pytest.approx(PEAK)
    train(resume_run(run, max_steps=60))
    after = rates(run)[20:]
    assert max(after) <= PEAK * (1 + 1e-6)


def test_a_fork_with_another_rate_has_that_rate(
    start: Callable[..., RunDir], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    run = start("parent", *COSINE)
    tell(monkeypatch, {8: 0.05})
    train(run)
    monkeypatch.undo()
    monkeypatch.setenv("TINYTUI_CACHE", str(tmp_path / "cache"))
    same = fork_run(run, 12, tmp_path / "runs", name="same")
    other = fork_run(run, 12, tmp_path / "runs", name="other", changes={"train.learning_rate": 0.002})
    train(same), train(other)
    assert rates(same) == pytest.approx(rates(run)), "a fork without changes goes on as it was"
    assert max(rates(other)[12:]) <= 0.002
