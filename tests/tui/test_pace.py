"""How long a run takes, in words, and when a form has it measured."""

from __future__ import annotations

import socket
from types import SimpleNamespace
from typing import Any

import pytest

from engine.config import Config
from engine.plan import pace
from engine.plan.forecast import forecast
from engine.plan.pace import Pace, pace_key
from engine.preset_files import load_preset
from tui.state.estimate import BUSY, MEASURING, PaceWatch, fmt_step, time_words

NANO = load_preset("nano")
PACE = Pace(0.0312, 1e-5, 1e-3, "cpu", 2)


class Slow:
    """A measurement that ends when the test says so."""

    made: list[Slow]

    def __init__(self, config: Config, vocab_size: int) -> None:
        self.key, self.found, self.cancelled = pace_key(config, vocab_size), None, False
        Slow.made.append(self)

    found: Pace | str | None

    def cancel(self) -> None:
        self.cancelled = True


@pytest.fixture
def session(monkeypatch: pytest.MonkeyPatch) -> Any:
    Slow.made = []
    monkeypatch.setattr(pace, "Measuring", Slow)
    monkeypatch.setattr(pace, "known", {})
    monkeypatch.setattr("tui.state.estimate.STILL_SECONDS", 0.0)
    return SimpleNamespace(training=None, status={})


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (0.00045, "450 µs"),
        (0.00421, "4.21 ms"),
        (0.0312, "31.2 ms"),
        (0.312, "312 ms"),
        (1.25, "1.25 s"),
        (200, "3m20s"),
    ],
)
def test_a_step_in_words(seconds: float, said: str) -> None:
    assert fmt_step(seconds) == said


def test_the_time_says_which_arithmetic_was_chosen() -> None:
    chosen = Pace(0.0312, 1e-5, 1e-3, "cpu", 2, "bf16")
    assert "(measured on this machine in bf16)" in time_words(forecast(NANO, 65, pace=chosen))[0]
    assert "(measured on this machine)" in time_words(forecast(NANO, 65, pace=PACE))[0]


def test_the_time_in_words() -> None:
    told = forecast(NANO, 65, 900_000, val_tokens=100_000, pace=PACE)
    assert time_words(told) == [
        "31.2 ms a step · 2,000 steps in 1m02s (measured on this machine)",
        "1m09s with 5 evaluations and 9 samples",
    ]
    blind = forecast(NANO.replace({"train.sample_tokens": 0}), 65, pace=PACE)
    assert time_words(blind, compiled=True) == [
        "31.2 ms a step · 2,000 steps in 1m02s "
        "(measured on this machine, without torch.compile, which a trial decides on)",
        "evaluations not counted",
    ]
    assert time_words(forecast(NANO, 65)) == []
    (_, second) = time_words(forecast(NANO, 65, val_tokens=10_000_000, pace=PACE))
    assert second.endswith("data.val_tokens=131072 would make evaluations a tenth of it")


def test_nothing_is_measured_before_the_settings_rest(session: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tui.state.estimate.STILL_SECONDS", 1000.0)
    watch = PaceWatch(session)
    watch.look_at(NANO, 65)
    watch.tick()
    assert watch.said == MEASURING and not Slow.made


def test_other_settings_end_a_measurement_and_the_same_do_not(session: Any) -> None:
    watch = PaceWatch(session)
    watch.look_at(NANO, 65)
    watch.tick()
    watch.look_at(NANO.replace({"train.max_steps": 1999}), 65)
    watch.tick()
    (first,) = Slow.made
    assert not first.cancelled
    watch.look_at(NANO.replace({"model.n_layer": 5}), 65)
    watch.tick()
    assert first.cancelled and len(Slow.made) == 2
    watch.look_at(None, 0)
    assert Slow.made[1].cancelled and watch.said == "" and watch.pace is None


def test_a_number_of_steps_is_typed_while_its_pace_is_measured(session: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """With few steps the arithmetic is another, and so is the pace: it is measured only when they have rested."""
    watch = PaceWatch(session)
    watch.look_at(NANO, 65)
    watch.tick()
    monkeypatch.setattr("tui.state.estimate.STILL_SECONDS", 1000.0)
    few = [NANO.replace({"train.max_steps": steps}) for steps in (3, 30, 300, 3000)]
    assert pace_key(few[0], 65) != pace_key(NANO, 65) == pace_key(few[-1], 65)
    for config in few:
        watch.look_at(config, 65)
        watch.tick()
    (first,) = Slow.made
    assert not first.cancelled and watch.said == MEASURING
    first.found = PACE
    pace.known[first.key] = PACE
    assert watch.tick() and watch.pace == PACE
    monkeypatch.setattr("tui.state.estimate.STILL_SECONDS", 0.0)
    for config in (few[-1], few[0], few[1]):
        watch.look_at(config, 65)
        watch.tick()
    assert len(Slow.made) == 2 and Slow.made[1].key == pace_key(few[0], 65)


def test_what_was_measured_is_not_measured_again(session: Any) -> None:
    watch = PaceWatch(session)
    watch.look_at(NANO, 65)
    watch.tick()
    pace.known[Slow.made[0].key] = PACE
    Slow.made[0].found = PACE
    assert watch.tick() and watch.pace == PACE and watch.said == ""
    again = PaceWatch(session)
    again.look_at(NANO, 65)
    again.tick()
    assert again.pace == PACE and len(Slow.made) == 1


def test_what_went_wrong_is_said_and_not_tried_again(session: Any) -> None:
    watch = PaceWatch(session)
    watch.look_at(NANO, 65)
    watch.tick()
    Slow.made[0].found = "out of memory; lower train.batch_size"
    assert watch.tick() and watch.said == "out of memory; lower train.batch_size"
    assert not watch.tick() and len(Slow.made) == 1


@pytest.mark.parametrize("where", ["in this process", "in another"])
def test_nothing_is_measured_beside_a_run_that_trains(session: Any, where: str) -> None:
    watch = PaceWatch(session)
    watch.look_at(NANO, 65)
    watch.tick()
    if where == "in another":
        session.status = {"state": "running", "host": socket.gethostname()}
    else:
        session.training = SimpleNamespace(alive=True)
    assert watch.tick() and watch.said == BUSY and Slow.made[0].cancelled
    assert not watch.tick() and len(Slow.made) == 1
    session.training, session.status = None, {"state": "running", "host": "another-machine"}
    watch.tick()
    assert watch.said == MEASURING and len(Slow.made) == 2
