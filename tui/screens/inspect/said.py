"""Lines of words and numbers, scrolled where there is no room for all."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from textual.binding import BindingType

from tui.actions import bindings
from tui.text import Part, Row
from tui.widgets.listed import Listed
from tui.widgets.rows import cut, wrapped


class Said(Listed):
    """Lines that are scrolled where there is no room for all; the last run of a line is wrapped."""

    BINDINGS: ClassVar[list[BindingType]] = bindings("leaf")
    scope = "leaf"

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._said: list[Row] = []
        self._from = 0

    def say(self, rows: Sequence[Row]) -> None:
        """Replace the lines."""
        self._said = list(rows)
        self.repaint()

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Whether there is more than can be seen."""
        return len(self._lines(self.size.width)) > self.size.height

    def _lines(self, width: int) -> list[list[Part]]:
        return [line for row in self._said for line in wrapped(row, width)]

    def action_move(self, by: int) -> None:
        self.action_scroll(by)

    def action_scroll(self, by: int) -> None:
        most = len(self._lines(self.size.width)) - self.size.height
        self._from = max(0, min(self._from + by, most))
        self.repaint()

    def action_page(self, by: int) -> None:
        self.action_scroll(by * max(1, self.size.height - 1))

    def action_edge(self, last: int) -> None:
        self.action_scroll(1_000_000 if last else -1_000_000)

    def paint(self, width: int, height: int) -> list[list[Part]]:
        lines = self._lines(width)
        self._from = max(0, min(self._from, len(lines) - height))
        shown = [cut(row, width) for row in lines[self._from : self._from + height]]
        left = len(lines) - self._from - height
        if left > 0 and height > 2:
            shown[-1] = cut([(f"↓ {left + 1} more", "accent")], width)
        return shown
