"""Waiting for a disk, step by step, with a clock and a trainer of the test's own."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from engine.errors import RunError
from engine.training import state

FULL = "cannot write metrics.jsonl: no space left on device"


class Bench:
    """What `until` and `settle` ask and tell."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
        self.now, self.said, self.waits, self.checkpoints = 100.0, list[Any](), list[float](), 0
        self.each: Callable[[], None] = lambda: None
        writer = SimpleNamespace(
            taken="",
            stuck="",
            restored=False,
            run=SimpleNamespace(checkpoint=lambda step: folder / f"step-{step}"),
            retry=lambda: "",
            status=lambda **fields: self.said.append(fields),
            event=lambda kind, step, **fields: self.said.append((kind, step, fields)),
        )
        self.trainer: Any = SimpleNamespace(
            writer=writer,
            leaving=False,
            step=7,
            state="running",
            checkpoint_step=None,
            commands=SimpleNamespace(wait=self._wait),
            between=lambda: self.each(),
            checkpoint=self._checkpoint,
        )
        monkeypatch.setattr(state, "time", SimpleNamespace(monotonic=lambda: self.now))

    def _wait(self, seconds: float) -> None:
        self.waits.append(seconds)
        self.now += seconds

    def _checkpoint(self) -> None:
        self.checkpoints += 1


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Bench:
    return Bench(monkeypatch, tmp_path)


def test_what_can_be_written_is_not_waited_for(bench: Bench) -> None:
    assert state.until(bench.trainer, lambda: "", 1.0) == ""
    assert bench.said == [] and bench.waits == []


def test_training_waits_until_it_can_and_tells_how_long(bench: Bench) -> None:
    tries: list[float] = []

    def written() -> str:
        tries.append(bench.now)
        return "" if bench.now >= 102.0 else FULL

    assert state.until(bench.trainer, written, 1.0) == ""
    assert tries == pytest.approx([100, 101, 102]) and bench.waits == pytest.approx([0.2] * 10)
    paused = {"state": "paused", "message": f"{FULL}; training waits, and goes on by itself"}
    waited = ("waited", 7, {"seconds": 2.0, "message": FULL})
    assert bench.said == [paused, paused, waited, {"state": "running", "message": ""}]


def test_a_short_pause_is_as_short_as_it_is(bench: Bench) -> None:
    found = iter([FULL, FULL, ""])
    assert state.until(bench.trainer, lambda: next(found), 0.06) == ""
    assert bench.waits == [0.06, 0.06] and bench.said[2] == ("waited", 7, {"seconds": 0.1, "message": FULL})


def test_who_leaves_is_told_what_is_not_written(bench: Bench) -> None:
    def leaves() -> None:
        bench.trainer.leaving = True

    bench.each = leaves
    assert state.until(bench.trainer, lambda: FULL, 9.0) == FULL
    assert bench.waits == [0.2] and len(bench.said) == 1, "no word that the waiting is over"
    assert state.until(bench.trainer, lambda: FULL, 9.0) == FULL and len(bench.said) == 1, "tried once"


def test_where_another_run_stands_nothing_is_waited_for(bench: Bench) -> None:
    bench.trainer.writer.taken = "another run was made there"
    assert state.until(bench.trainer, lambda: "", 1.0) == ""
    with pytest.raises(RunError, match="another run was made there"):
        state.until(bench.trainer, lambda: FULL, 1.0)
    assert bench.said == []


@pytest.mark.parametrize("leaving", [False, True])
@pytest.mark.parametrize(
    ("last", "there", "restored", "stuck", "again"),
    [
        (None, False, False, "", False),
        (None, False, True, "", True),
        (4, True, False, "", False),
        (4, False, False, "", True),
        (4, True, True, "", True),
        (4, False, False, FULL, True),
        (4, True, False, FULL, False),
    ],
)
def test_a_run_that_lost_its_checkpoint_gets_another(
    bench: Bench, tmp_path: Path, last: int | None, there: bool, restored: bool, stuck: str, again: bool, leaving: bool
) -> None:
    if there:
        (tmp_path / "step-4").mkdir()
    trainer = bench.trainer
    trainer.checkpoint_step, trainer.leaving = last, leaving
    trainer.writer.restored, trainer.writer.stuck = restored, stuck
    state.settle(trainer)
    assert bench.checkpoints == (again and not leaving)


def test_nothing_is_saved_again_while_records_wait(bench: Bench) -> None:
    def leaves() -> None:
        bench.trainer.leaving = True

    bench.each = leaves
    bench.trainer.checkpoint_step = 4
    bench.trainer.writer.stuck, bench.trainer.writer.retry = FULL, lambda: FULL
    state.settle(bench.trainer)
    assert bench.checkpoints == 0 and bench.waits == [0.2]
