"""The line over everything: which run, how it goes, how far, how long still; and the screens there are."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from rich.cells import cell_len
from textual import events
from textual.message import Message

from tui.places import PLACES
from tui.state.summary import Latest, eta, per_second, state_part, step_of
from tui.text import Part, Row, clean, fit, fmt_percent, width_of
from tui.widgets.meter import bar
from tui.widgets.paint import Painted
from tui.widgets.rows import cut, spread

BAR, LEAST_BAR = 28, 9
LEAST_NAME = 12
"""Cells of a run's name that are kept before how it goes is."""
NAMES, NUMBERS = 120, 70
"""The least widths in which the screens have names, and in which they stand there at all."""


class TopLine(Painted):
    """One line that gives up its less telling parts as the terminal narrows; a click on a screen's name goes there."""

    DEFAULT_CSS = "TopLine { height: 1; padding: 0 1; }"

    @dataclass
    class Picked(Message):
        """The screen `name` was clicked."""

        name: str

    def __init__(self, place: str = "") -> None:
        super().__init__()
        self._place = place
        self._run: tuple[str, Latest] | None = None
        self._words: Row = []
        self._spans: list[tuple[int, int, str]] = []

    def show_run(self, name: str, now: Latest) -> None:
        """The run that is shown."""
        if self._run != (name, now):
            self._run = name, now
            self.repaint()

    def show_words(self, words: Row) -> None:
        """Before there is a run: the program's name and what happens."""
        self._run, self._words = None, [("tinytui  ", "bright bold"), *words]
        self.repaint()

    def paint(self, width: int, height: int) -> list[list[Part]]:
        right = self._screens(width)
        room = width - (width_of(right) + 2 if right else 0)
        left = run_line(*self._run, room) if self._run is not None else cut(self._words, max(0, room))
        return [spread(left, right, width)]

    def _screens(self, width: int) -> list[Part]:
        """The screens there are, the present one bright; by their numbers alone where it is narrow."""
        if not self._place or width < NUMBERS:
            self._spans = []
            return []
        row: list[Part] = []
        spans: list[tuple[int, int, str]] = []
        for place in PLACES:
            here = place.name == self._place
            text = f"{place.number} {place.name}" if here or width >= NAMES else place.number
            start = width_of(row)
            row.append((text, "bright bold" if here else "dim"))
            spans.append((start, start + len(text), place.name))
            row.append(("  " if width >= NAMES else " ", ""))
        row.pop()
        left = width - width_of(row)
        self._spans = [(left + start, left + end, name) for start, end, name in spans]
        return row

    def on_click(self, event: events.Click) -> None:
        offset = event.get_content_offset(self)
        for start, end, name in self._spans:
            if offset is not None and start <= offset.x < end:
                self.post_message(self.Picked(name))


def run_line(name: str, now: Latest, width: int) -> list[Part]:
    """The line in `width` cells; the parts with the highest rank leave first."""
    shown = clean(name, keep_newlines=False)
    far: list[tuple[int, Callable[[int], list[Part]]]] = [
        (9, lambda _: [("tinytui  ", "bright bold")]),
        (1, lambda room: [(f"{shown if cell_len(shown) <= room else fit(shown, room).rstrip()}  ", "bright")]),
        (3, lambda _: [state_part(now.state, now.phase), ("  ", "")]),
        (2, lambda _: [("step ", "dim")]),
        (0, lambda _: [(step_of(now.step, now.steps), "bright")]),
        (4, lambda room: _bar(now.fraction, min(BAR, room)) if room >= LEAST_BAR else []),
        (5, lambda _: [(fmt_percent(now.fraction), "foreground")] if now.steps else []),
        (6, lambda _: _eta(now.left_s)),
        (8, lambda _: [("  ", ""), (per_second(now.tokens_per_s), "foreground")] if now.tokens_per_s else []),
        (7, lambda _: [("  ", ""), (now.several.words, "foreground")] if now.several else []),
    ]
    parts: list[Part] = []
    for most in range(9, -1, -1):
        kept = [(rank, make) for rank, make in far if rank <= most]
        room = width - sum(width_of(make(0)) for rank, make in kept if rank != 1)
        named = min(cell_len(shown), max(LEAST_NAME, room - 2) if most <= 3 else width)
        room -= named + 2 if most >= 1 else 0
        parts = [part for rank, make in kept for part in make({1: named, 4: room}.get(rank, 0))]
        if room >= (LEAST_BAR if most >= 4 else 0):
            return parts
    return parts


def _bar(fraction: float, width: int) -> list[Part]:
    filled, empty = bar(fraction, width - 4)
    return [("  ", ""), (filled, "accent"), (empty, "rule"), ("  ", "")]


def _eta(seconds: float | None) -> list[Part]:
    if seconds is None:
        return []
    label, _, value = eta(seconds).partition(" ")
    return [("  ", ""), (f"{label} ", "dim"), (value, "foreground")]
