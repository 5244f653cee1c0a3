"""When the host reads losses from the device."""

from __future__ import annotations

from typing import Any, cast

import pytest
import torch

from engine.config import load_preset, preset_names
from engine.runs.writer import RunWriter
from engine.training import record
from engine.training.record import MOST_UNREAD, StepLog

from .conftest import tiny_config


@pytest.fixture(autouse=True)
def no_clock_no_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(record, "memory_now", lambda device: 0)
    monkeypatch.setattr(record.time, "perf_counter", lambda: 0.0)


def log_of(device: str, *sets: str) -> StepLog:
    return StepLog(cast(RunWriter, None), tiny_config(*sets), torch.device(device))


def steps_read_together(log: StepLog, seconds_a_step: float, reads: int = 3) -> list[int]:
    """How many steps each of the first reads covers when the log says when they are due."""
    counts, step = [], 0
    while len(counts) < reads:
        step += 1
        log.add(step, 1e-3, torch.tensor([1.0, 2.0]))
        if log.due:
            counts.append(len(log.read(step * seconds_a_step)))
    return counts


def test_a_cpu_is_read_every_step() -> None:
    assert steps_read_together(log_of("cpu"), 1e-6) == [1, 1, 1]


@pytest.mark.parametrize(("seconds", "steps"), [(1e-6, MOST_UNREAD), (0.045, 5), (0.12, 2), (0.3, 1), (9.0, 1)])
def test_a_gpu_is_read_some_four_times_a_second_and_never_waited_for_at_every_quick_step(
    seconds: float, steps: int
) -> None:
    assert steps_read_together(log_of("cuda"), seconds) == [1, steps, steps]


def test_it_follows_the_pace() -> None:
    log = log_of("cuda")
    assert steps_read_together(log, 0.045) == [1, 5, 5]
    log.read_up_to = 0.0
    for step in range(5):
        log.add(step, 1e-3, torch.tensor([1.0, 2.0]))
    log.read(5 * 0.12)  # another program has taken half of the device
    assert log.every == 2


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_a_number_given_is_the_number(device: str) -> None:
    assert steps_read_together(log_of(device, "train.log_every=4"), 1e-6) == [4, 4, 4]


def test_no_preset_makes_a_gpu_wait_for_each_step() -> None:
    assert {name: load_preset(name).train.log_every for name in preset_names()} == dict.fromkeys(preset_names(), 0)


def test_the_time_waited_for_the_device_is_the_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    times = iter([10.0, 10.5])
    monkeypatch.setattr(record.time, "perf_counter", lambda: next(times))
    log = log_of("cpu", "train.log_every=2")
    for step in (1, 2):
        log.add(step, 1e-3, torch.tensor([float(step), 2.0]))
    told: Any = log.read(0.1)
    assert [(each.step, each.loss, each.time_s) for each in told] == [(1, 1.0, 0.3), (2, 2.0, 0.6)]
    assert log.read_up_to == pytest.approx(0.6)
