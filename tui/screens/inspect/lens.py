"""The logit lens: the likeliest token after each layer, layers by positions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from textual import events
from textual.binding import BindingType
from textual.message import Message

from tui.actions import bindings
from tui.screens.inspect.tint import bar_mark, glow
from tui.state.inspected import Part
from tui.text import Part as Run
from tui.text import fit
from tui.widgets.paint import Painted
from tui.widgets.rows import cut, wrapped

LEFT, CELL = 11, 10
"""Cells of the layers' names, and of a position."""


class LensTable(Painted, can_focus=True):
    """A column a token of the text, above it what each layer says of the next one; the last layer on top."""

    DEFAULT_CSS = "LensTable { height: 1fr; width: 1fr; }"
    BINDINGS: ClassVar[list[BindingType]] = bindings("lens")
    scope = "lens"

    @dataclass
    class Moved(Message):
        """So many tokens to the right, and layers up."""

        by: int
        up: int

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._part: Part | None = None
        self._key: object = None
        self._layer = self._cursor = 0
        self._empty: list[Run] = []

    def show(self, part: Part | None, layer: int, cursor: int, empty: str) -> None:
        """The lens around the cursor, or what is said in its place."""
        if (key := (part, layer, cursor, empty)) == self._key:
            return
        self._key = key
        self._part, self._layer, self._cursor = part, layer, cursor
        self._empty = [(empty, "alarm" if empty.startswith("✖") else "dim")]
        self.repaint()

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        return self._part is not None

    def action_move(self, by: int, up: int) -> None:
        self.post_message(self.Moved(by, up))

    def _first(self, width: int) -> tuple[int, int]:
        """The first place in sight, and how many."""
        assert self._part is not None
        count = max(1, (width - LEFT) // CELL)
        part = self._part
        return max(part.start, min(self._cursor - count // 2, part.end - count)), count

    def paint(self, width: int, height: int) -> list[list[Run]]:
        part = self._part
        if part is None or part.lens is None:
            return wrapped(self._empty, width)[:height]
        first, count = self._first(width)
        places = range(first, min(part.end, first + count))
        layers = len(part.lens.token)
        room = max(1, height - 2)
        top = max(0, min(layers - 1 - self._layer - room // 2, layers - room))
        rows = [self._names("after", places, 0)]
        for layer in list(range(layers - 1, -1, -1))[top : top + room]:
            rows.append(self._row(layer, layers, places))
        rows.append(self._names("comes", places, 1))
        return [cut(row, width) for row in rows[:height]]

    def _names(self, word: str, places: range, ahead: int) -> list[Run]:
        """The tokens at the places, or so many further on."""
        part = self._part
        assert part is not None
        row: list[Run] = [(fit(word, LEFT), "dim")]
        for place in places:
            there = place + ahead < len(part.text.ids)
            label = part.text.label(int(part.text.ids[place + ahead])) if there else ""
            look = "accent bold" if place == self._cursor else "foreground"
            row.append((fit(label, CELL - 1) + " ", look))
        return row

    def _row(self, layer: int, layers: int, places: range) -> list[Run]:
        part = self._part
        assert part is not None and part.lens is not None
        lens, text = part.lens, part.text
        name = "embedding" if layer == 0 else "output" if layer == layers - 1 else f"layer {layer}"
        row: list[Run] = [(fit(name, LEFT - 1) + " ", "accent bold" if layer == self._layer else "dim")]
        for place in places:
            at = place - part.start
            token, share = int(lens.token[layer, at]), float(lens.probability[layer, at])
            right = place + 1 < len(text.ids) and token == int(text.ids[place + 1])
            said = fit(("=" if right else "") + text.label(token), CELL - 3)
            look = "foreground" if self.app.no_color else glow(share).replace(" underline", "")  # the bar tells it
            if place == self._cursor and layer == self._layer:
                look = "accent bold reverse"
            row += [(f"{said} {bar_mark(share)}", look), (" ", "")]
        return row

    def on_click(self, event: events.Click) -> None:
        if self._part is None or self._part.lens is None or event.x < LEFT:
            return
        first, _ = self._first(self.size.width)
        place = first + (int(event.x) - LEFT) // CELL
        if place < self._part.end:
            self.post_message(self.Moved(place - self._cursor, 0))
