"""The first start: what this is, in two lines, and one key that trains a first model."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, ClassVar

from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Vertical

from tui.actions import bindings
from tui.screens.workscreen import WorkScreen
from tui.state.first import FIRST_CORPUS, first_start
from tui.text import Part, Row, width_of
from tui.widgets.paint import Painted

if TYPE_CHECKING:
    pass

CURVE_WIDTH, CURVE_HEIGHT = 56, 6
WORDS: tuple[Row, ...] = (
    [("tinytui", "bright bold")],
    [],
    [("Train a small GPT from scratch in this terminal, watch the loss fall,", "foreground")],
    [("read what it writes at each checkpoint, and prompt it while it learns.", "foreground")],
    [],
    [("⏎", "accent bold"), ("  train a first model now", "bright"), (f"   nano on {FIRST_CORPUS}", "dim")],
    [("n", "accent bold"), ("  choose the text and the settings", "foreground")],
    [],
    [("synthetic clinical notes, not for clinical use", "dim")],
)


class WelcomeScreen(WorkScreen):
    """Shown while there are no runs."""

    BINDINGS: ClassVar[list[BindingType]] = bindings("welcome")
    scope = "welcome"
    help_title = "first start"

    def body(self) -> ComposeResult:
        with Vertical(id="middle"):
            yield Welcome()

    def show_top(self) -> None:
        """Nothing: what is here says who it is."""

    def action_first(self) -> None:
        """Train the default preset on a shipped corpus, at once."""
        self.app.train(first_start())


class Welcome(Painted):
    """A falling curve over a few words, in the middle of what room there is."""

    DEFAULT_CSS = "Welcome { height: 1fr; width: 1fr; }"

    def paint(self, width: int, height: int) -> list[list[Part]]:
        words = [list(row) for row in WORDS]
        block = max(width_of(row) for row in words)
        rows = [[(" " * ((width - min(block, width)) // 2), ""), *row] if row else [] for row in words]
        if height >= len(words) + CURVE_HEIGHT + 2 and width >= block:
            left = (width - block) // 2
            curve = [[(" " * left, ""), (text, "train")] for text in falling_curve(CURVE_WIDTH, CURVE_HEIGHT)]
            rows = [*curve, [], *rows]
        top: list[list[Part]] = [[] for _ in range(max(0, (height - len(rows)) // 2))]
        return [*top, *rows]


DOTS = ((0x01, 0x02, 0x04, 0x40), (0x08, 0x10, 0x20, 0x80))  # of a braille cell: left and right column, from the top


def falling_curve(width: int, height: int) -> list[str]:
    """A loss as one hopes for it, in braille dots."""
    cells = [[0x2800] * width for _ in range(height)]
    rows, before = 4 * height, 0
    for x in range(2 * width):
        fall = 1.0 - math.exp(-x / (0.42 * width)) - 0.05 * math.sin(x * 0.9) * math.cos(x * 0.37) * math.exp(-x / 60)
        y = max(0, min(rows - 1, round(fall * (rows - 1))))
        for row in range(min(before + 1, y), max(before, y) + 1):
            cells[row // 4][x // 2] |= DOTS[x % 2][row % 4]
        before = y
    return ["".join(map(chr, row)) for row in cells]
