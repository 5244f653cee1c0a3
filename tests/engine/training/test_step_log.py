"""What a step's record says."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

from engine.training import trainer as module
from engine.training.step import Result

from .told import CPU, said, telling


@pytest.mark.parametrize(("seconds", "pace"), [(0.5, 2.0), (1.0, 1.0), (0.0, 0.0)])
def test_a_record_has_all_that_is_known_of_its_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seconds: float, pace: float
) -> None:
    """In tokens those before a fork too, whatever they were a step; no pace by a clock too coarse to see the step."""
    one, told = telling(tmp_path, "train.learning_rate=0.5", "train.schedule=constant")
    one.step, one.counted, one.train_seconds = 12, (10, 5000), 1.5
    clock = iter([100.0, 100.0 + seconds])
    monkeypatch.setattr(module, "time", SimpleNamespace(perf_counter=lambda: next(clock), monotonic=lambda: 0.0))
    monkeypatch.setattr(module, "memory_now", {CPU: 77}.get)
    monkeypatch.setattr(one.crew, "step", lambda step, multiplier: Result(1.5, 3.0, False))
    one._one_step()
    each_step = one.config.tokens_per_step
    ((_, record),) = said(told, "metric")
    assert record == {
        "step": 13,
        "tokens": 5000 + 3 * each_step,
        "time_s": 1.5 + seconds,
        "loss": 1.5,
        "lr": 0.5,
        "grad_norm": 3.0,
        "tokens_per_s": pytest.approx(pace * each_step),
        "mem_bytes": 77,
    }
    assert one.tokens_per_s == record["tokens_per_s"]
