"""What a step's record says."""

from __future__ import annotations

from typing import Any, cast

import pytest
import torch

from engine.runs.writer import RunWriter
from engine.training import steplog
from engine.training.step import Result
from engine.training.steplog import StepLog

from .conftest import tiny_config

CPU = torch.device("cpu")


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(steplog.time, "monotonic", clock)
    return clock


class Lines:
    def __init__(self) -> None:
        self.told: list[dict[str, Any]] = []

    def metric(self, **fields: Any) -> None:
        self.told.append(fields)


def log_with(*sets: str) -> tuple[StepLog, list[dict[str, Any]]]:
    lines = Lines()
    return StepLog(cast(RunWriter, lines), tiny_config(*sets), CPU), lines.told


def test_the_pace_is_that_of_each_step() -> None:
    log, told = log_with()
    assert log.tokens_per_s == 0.0
    for step, seconds in ((1, 0.5), (2, 1.0), (3, 0.0)):  # the last by a clock too coarse to see it
        log.write(step, 1e-3, Result(1.0, 2.0, False), seconds, 1.5)
    tokens = log.config.tokens_per_step
    assert [line["tokens_per_s"] for line in told] == [pytest.approx(2 * tokens), pytest.approx(tokens), 0.0]


def test_memory_is_looked_at_twice_a_second_however_quick_the_steps(
    clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    log, told = log_with()
    looks = iter(range(1, 100))
    monkeypatch.setattr(steplog, "memory_now", lambda device: next(looks))
    for step in range(1, 12):
        log.write(step, 1e-3, Result(1.0, 2.0, False), 0.1, 0.1 * step)
        clock.now += 0.125
    assert [line["mem_bytes"] for line in told] == [1, 1, 1, 1, 1, 2, 2, 2, 2, 2, 3]


def test_a_record_has_all_that_is_known_of_its_step(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    log, told = log_with()
    log.counted = (10, 5000)
    monkeypatch.setattr(steplog, "memory_now", lambda device: 77)
    log.write(13, 0.25, Result(1.5, 3.0, False), 2.0, 2.0)
    each_step = log.config.tokens_per_step
    assert told == [
        {
            "step": 13,
            "tokens": 5000 + 3 * each_step,
            "time_s": 2.0,
            "loss": 1.5,
            "lr": 0.25,
            "grad_norm": 3.0,
            "tokens_per_s": pytest.approx(each_step / 2.0),
            "mem_bytes": 77,
        }
    ]
