"""What a step's record says, and what reading it costs."""

from __future__ import annotations

from typing import Any, cast

import pytest
import torch

from engine.runs.writer import RunWriter
from engine.training import steplog
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
    monkeypatch.setattr(steplog.time, "perf_counter", lambda: 0.0)
    return clock


class Lines:
    def __init__(self) -> None:
        self.told: list[dict[str, Any]] = []

    def metric(self, **fields: Any) -> None:
        self.told.append(fields)


def log_with(*sets: str) -> tuple[StepLog, list[dict[str, Any]]]:
    lines = Lines()
    return StepLog(cast(RunWriter, lines), tiny_config(*sets), CPU), lines.told


def result(loss: float) -> torch.Tensor:
    return torch.tensor([loss, 2.0 * loss])


def test_where_memory_runs_out_the_losses_are_read_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_room(*_: object) -> torch.Tensor:
        raise torch.OutOfMemoryError("no room")

    log, _ = log_with()
    for step in (1, 2, 3):
        log.add(step, 1e-3, result(step))
    monkeypatch.setattr(steplog.torch, "stack", no_room)
    assert [(each.step, each.loss, each.grad_norm) for each in log.read(0.3)] == [(1, 1, 2), (2, 2, 4), (3, 3, 6)]
    assert len(log) == 0


def test_another_error_is_not_taken_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> torch.Tensor:
        raise RuntimeError("CUDA error: an illegal memory access was encountered")

    log, _ = log_with()
    log.add(1, 1e-3, result(1.0))
    monkeypatch.setattr(steplog.torch, "stack", broken)
    with pytest.raises(RuntimeError, match="illegal"):
        log.read(0.1)


def test_the_pace_is_that_of_the_steps_read_together(clock: Clock) -> None:
    log, _ = log_with()
    assert log.tokens_per_s == 0.0 and log.read(1.0) == []
    for step in (1, 2, 3, 4):
        log.add(step, 1e-3, result(1.0))
    told = log.read(2.0)
    assert [each.time_s for each in told] == [0.5, 1.0, 1.5, 2.0]
    assert log.tokens_per_s == pytest.approx(log.config.tokens_per_step / 0.5)
    log.add(5, 1e-3, result(1.0))
    assert [each.time_s for each in log.read(3.0)] == [3.0]
    assert log.tokens_per_s == pytest.approx(log.config.tokens_per_step)
    log.add(6, 1e-3, result(1.0))
    log.read(3.0)  # a clock too coarse to see it
    assert log.tokens_per_s == 0.0


def test_memory_is_looked_at_twice_a_second_however_quick_the_steps(
    clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    log, told = log_with()
    looks = iter(range(1, 100))
    monkeypatch.setattr(steplog, "memory_now", lambda device: next(looks))
    for step in range(1, 12):
        log.add(step, 1e-3, result(1.0))
        for each in log.read(0.1 * step):
            log.write(each)
        clock.now += 0.125
    assert [line["mem_bytes"] for line in told] == [1, 1, 1, 1, 1, 2, 2, 2, 2, 2, 3]


def test_a_record_has_all_that_is_known_of_its_step(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    log, told = log_with()
    log.counted = (10, 5000)
    monkeypatch.setattr(steplog, "memory_now", lambda device: 77)
    log.add(13, 0.25, result(1.5))
    for each in log.read(2.0):
        log.write(each)
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
