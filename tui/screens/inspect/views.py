"""The line of views, the present one marked, with the weights that are looked at."""

from __future__ import annotations

from dataclasses import dataclass

from textual import events
from textual.message import Message

from tui.state.inspector import VIEWS, View
from tui.text import Part as Run
from tui.text import width_of
from tui.widgets.paint import Painted
from tui.widgets.rows import cut, spread

KEYS = {"loss": "l", "attention": "a", "lens": "e", "tokens": "o", "ladder": "d"}


class Views(Painted):
    """The views by their keys, the present one marked; right, the weights. A click picks a view."""

    DEFAULT_CSS = "Views { height: 1; padding: 0 1; }"

    @dataclass
    class Picked(Message):
        name: View

    def __init__(self) -> None:
        super().__init__(id="views")
        self._view: View = "loss"
        self._weights: list[Run] = []

    def show(self, view: View, weights: list[Run]) -> None:
        if (view, weights) != (self._view, self._weights):
            self._view, self._weights = view, weights
            self.repaint()

    def paint(self, width: int, height: int) -> list[list[Run]]:
        return [cut(spread(self._row(self._short(width)), self._weights, width), width)]

    def _short(self, width: int) -> bool:
        """Whether the views that are not shown stand there by their keys alone."""
        return width < width_of(self._row(False))

    def _row(self, short: bool) -> list[Run]:
        row: list[Run] = []
        for name in VIEWS:
            here = name == self._view
            ground = " on select" if here else ""
            row += [(f" {KEYS[name]}", f"accent bold{ground}")]
            row.append((f" {name} " if here or not short else " ", f"bright bold{ground}" if here else "dim"))
            row.append((" ", ""))
        return row

    def on_click(self, event: events.Click) -> None:
        row, start, offset = self._row(self._short(self.size.width)), 0, event.get_content_offset(self)
        for number, name in enumerate(VIEWS):
            end = start + width_of(row[3 * number : 3 * number + 3])
            if offset is not None and start <= offset.x < end:
                self.post_message(self.Picked(name))
            start = end
