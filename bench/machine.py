"""What machine a figure was measured on, and medians of interleaved runs."""

from __future__ import annotations

import signal
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence

from engine.machine import cpu_model, usable_threads

LETTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ ,.;:!?'\n-&3$"
"""A vocabulary of the size that tinyshakespeare has."""


def describe() -> str:
    """One line for the top of every measurement."""
    from importlib.metadata import version

    return f"{cpu_model()}, {usable_threads()} threads, torch {version('torch')}, textual {version('textual')}"


def end_with_all() -> None:
    """Ended from outside (`timeout`), this process first ends what it started: a training survives its terminal."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))


def interleaved(works: Mapping[str, Callable[[], object]], rounds: int) -> dict[str, list[float]]:
    """Seconds of each work, round by round in turn, so that a machine that slows down slows all of them."""
    seconds: dict[str, list[float]] = {name: [] for name in works}
    for _ in range(rounds):
        for name, work in works.items():
            began = time.perf_counter()
            work()
            seconds[name].append(time.perf_counter() - began)
    return seconds


def spread(values: list[float], unit: str = "s", scale: float = 1.0) -> str:
    """Median with the least and the greatest."""
    return f"{statistics.median(values) * scale:.3f} {unit} ({min(values) * scale:.3f} to {max(values) * scale:.3f})"


def percentile(values: list[float], q: float) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(q * len(ordered)))]


def paired_ratio(over: Sequence[float], under: Sequence[float]) -> str:
    """Median of `over / under` of the same round, with the least and the greatest."""
    ratios = [a / b for a, b in zip(over, under, strict=True)]
    return f"{statistics.median(ratios):.2f}x ({min(ratios):.2f} to {max(ratios):.2f})"


def say(name: str, figure: str) -> None:
    """A line of the report."""
    print(f"{name:36} {figure}", flush=True)
