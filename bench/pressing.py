"""Keys pressed in an emulated terminal, how soon they show, and the bytes that come."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable

from bench.machine import percentile
from tests.terminal import KEYS, Terminal

TINYTUI = [sys.executable, "-m", "tui.cli"]
PATIENCE = 5.0
"""Seconds in which a key must show."""
GIVEN_UP = 3
"""Keys in a row that never showed, after which no more are pressed: something else has the focus."""


def press(terminal: Terminal, key: str) -> None:
    """The key alone; `Terminal.key` also waits for a while."""
    os.write(terminal.fd, KEYS.get(key, key).encode())


def shown(terminal: Terminal, test: Callable[[str], bool], seconds: float = PATIENCE) -> float:
    """Seconds until the screen passes `test`, at most `seconds`; looked at after every 2 ms."""
    began = time.monotonic()
    while not test(terminal.text) and time.monotonic() - began < seconds:
        terminal.pump(0.002)
    return time.monotonic() - began


def given_up(waits: list[float]) -> bool:
    """Whether the last keys never showed."""
    return len(waits) >= GIVEN_UP and min(waits[-GIVEN_UP:]) >= PATIENCE


def told(waits: list[float]) -> str:
    p50, p95 = percentile(waits, 0.5) * 1e3, percentile(waits, 0.95) * 1e3
    late = sum(wait >= PATIENCE for wait in waits)
    return f"{p50:4.0f} {p95:5.0f} {max(waits) * 1e3:5.0f}" + (f" ({late} never)" if late else "")


def flow(terminal: Terminal, seconds: float) -> float:
    """Bytes a second that the program writes; only read and counted, since looking would take a core from training."""
    before, began = terminal.bytes, time.monotonic()
    while (left := began + seconds - time.monotonic()) > 0:
        terminal.pump(min(0.25, left))
    return (terminal.bytes - before) / (time.monotonic() - began)
