"""The machine, looked at in a thread."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tui.screens.train.machine import machine_rows
from tui.state import machine
from tui.state.machine import Gpu, Machine, MachineWatch, Process, time_until_full
from tui.text import width_of


def until(test: Callable[[], bool]) -> None:
    end = time.monotonic() + 60
    while not test():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.01)


def test_this_machine_is_seen_and_a_process_followed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "EVERY", 0.01)
    watch = MachineWatch(tmp_path / "runs not made yet")
    try:
        until(lambda: watch.machine is not None and len(watch.hour("cpu")) > 2)
        seen = watch.machine
        assert seen is not None and len(seen.cores) == (os.cpu_count() or 1)
        assert 0 < seen.memory < seen.memory_total and 0 < (seen.disk_free or 0) <= (seen.disk_total or 0)
        assert all(0 <= each <= 1 for name in ("cpu", "memory") for each in watch.hour(name))
        assert watch.load is None and watch.gpu is None
        watch.follow(os.getpid(), "cpu")
        until(lambda: watch.load is not None and watch.load.memory > 0)
        watch.follow(2**22 + 1, "cpu")  # nobody
        assert watch.load is None
        until(lambda: len(watch.hour("cpu")) > 20)
        assert watch.load is None
        watch.follow(None)
    finally:
        watch.end()


def test_an_hour_is_remembered_and_no_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "EVERY", 0.005)
    monkeypatch.setattr(machine, "HOUR", 5)
    watch = MachineWatch(tmp_path)
    try:
        until(lambda: len(watch.hour("cpu")) == 5)
        newest = watch.machine
        until(lambda: watch.machine is not newest)
        assert len(watch.hour("cpu")) == len(watch.hour("memory")) == 5 and watch.hour("gpu 9") == []
    finally:
        watch.end()


def test_when_a_disk_will_be_full() -> None:
    assert time_until_full([]) is None
    assert time_until_full([(0.0, 100), (30.0, 50)]) is None  # too early to say
    assert time_until_full([(0.0, 100), (300.0, 100)]) is None
    assert time_until_full([(0.0, 100), (300.0, 200)]) is None
    assert time_until_full([(0.0, 1000), (60.0, 950), (100.0, 900)]) == pytest.approx(900.0)


SEEN = Machine(
    gpus=(
        Gpu(
            "NVIDIA \x1b[31mH200",
            0.87,
            62.0,
            412.0,
            44 << 30,
            139 << 30,
            1830.0,
            0,
            tuple(Process(100 + each, "someone", f"python \x1b]0;{each}\x07", each << 30) for each in range(6)),
        ),
        Gpu("unknown", None, None, None, None, None, None, 1),
    ),
    cores=(0.1, 1.0, 0.5, 0.0),
    memory=12 << 30,
    memory_total=64 << 30,
    disk_free=31 << 30,
    disk_total=64 << 30,
    full_in=900.0,
)


def test_everything_of_a_machine_is_said() -> None:
    rows = machine_rows(SEEN, lambda name: [0.2, 1.0] if name != "gpu 1" else [], 100, pids={103})
    lines = ["".join(text for text, _ in row) for row in rows]
    text = "\n".join(lines)
    for said in ("gpu 0", " 87%", "62°C", "412 W", "1,830 MHz", "44.0 GiB of 139 GiB", "4 cores", "31.0 GiB left"):
        assert said in text, said
    mine = next(line for line in lines if "this run" in line)
    assert "103" in mine and "someone" in mine and "3.0 GiB" in mine
    assert "2 more processes" in text and "! full in 15m00s at this rate" in text
    assert "\x1b" not in text and "▁▇" in text


@given(st.integers(1, 200))
def test_no_row_is_wider_than_the_pane(width: int) -> None:
    rows = machine_rows(SEEN, lambda _: [0.5] * 4000, width)
    assert all(width_of(row) <= width for row in rows)
