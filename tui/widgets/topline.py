"""The line over everything: which run, how it goes, how far, how long still, on what."""

from __future__ import annotations

from collections.abc import Callable

from tui.state.summary import Latest, eta, per_second, state_part, step_of
from tui.text import Part, Row, clean, fmt_percent, width_of
from tui.widgets.meter import bar
from tui.widgets.rows import Rows, spread

BAR, LEAST_BAR = 28, 9


class TopLine(Rows):
    """One line that gives up its less telling parts as the terminal narrows."""

    DEFAULT_CSS = "TopLine { height: 1; padding: 0 1; }"

    def show_run(self, name: str, state: str, now: Latest, device: str) -> None:
        self.show([run_line(name, state, now, device, self.size.width)])

    def show_words(self, words: Row) -> None:
        """Before there is a run: the program's name and what happens."""
        self.show([[("tinytui  ", "bright bold"), *words]])


def run_line(name: str, state: str, now: Latest, device: str, width: int) -> list[Part]:
    """The line in `width` cells; the parts with the highest rank leave first."""
    far: list[tuple[int, Callable[[int], list[Part]]]] = [
        (8, lambda _: [("tinytui  ", "bright bold")]),
        (1, lambda _: [(f"{clean(name, keep_newlines=False)}  ", "bright")]),
        (3, lambda _: [state_part(state, now.phase), ("  ", "")]),
        (2, lambda _: [("step ", "dim")]),
        (0, lambda _: [(step_of(now.step, now.steps), "bright")]),
        (4, lambda room: _bar(now.fraction, min(BAR, room)) if room >= LEAST_BAR else []),
        (5, lambda _: [(fmt_percent(now.fraction), "foreground")] if now.steps else []),
        (6, lambda _: _eta(now.left_s)),
        (7, lambda _: [("  ", ""), (per_second(now.tokens_per_s), "foreground")] if now.tokens_per_s else []),
    ]
    right: list[Part] = [(clean(device, keep_newlines=False), "dim")] if device else []
    parts: list[Part] = []
    for most in range(9, -1, -1):
        kept = [(rank, make) for rank, make in far if rank <= most]
        tail = right if most == 9 else []
        taken = sum(width_of(make(0)) for rank, make in kept) + (width_of(tail) + 2 if tail else 0)
        room = width - taken
        parts = [part for rank, make in kept for part in make(room if rank == 4 else 0)]
        if room >= (LEAST_BAR if most >= 4 else 0):
            return spread(parts, tail, width)
    return parts


def _bar(fraction: float, width: int) -> list[Part]:
    filled, empty = bar(fraction, width - 4)
    return [("  ", ""), (filled, "accent"), (empty, "rule"), ("  ", "")]


def _eta(seconds: float | None) -> list[Part]:
    if seconds is None:
        return []
    label, _, value = eta(seconds).partition(" ")
    return [("  ", ""), (f"{label} ", "dim"), (value, "foreground")]
