"""A list to choose from, one line an item: keys, mouse, and a cursor that says where one is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from textual import events
from textual.binding import BindingType
from textual.message import Message

from tui.actions import bindings
from tui.text import Part, Row, nothing, width_of
from tui.widgets.listed import Listed
from tui.widgets.rows import cut


class Menu(Listed):
    """Shows `items`; `cursor` is the chosen index, always in sight. Enter or a click on the cursor posts Chosen."""

    BINDINGS: ClassVar[list[BindingType]] = bindings("list")
    scope = "list"

    @dataclass
    class Chosen(Message):
        """`index` was chosen, of `items` as they were then."""

        menu: Menu
        index: int
        items: Sequence[Row]

        @property
        def control(self) -> Menu:
            return self.menu

    @dataclass
    class Moved(Message):
        """The cursor came to `index`, of `items` as they were then."""

        menu: Menu
        index: int
        items: Sequence[Row]

        @property
        def control(self) -> Menu:
            return self.menu

    def __init__(self, *, empty: str = "", id: str | None = None) -> None:
        super().__init__(id=id)
        self.items: Sequence[Row] = []
        self.cursor = 0
        self._top = 0
        self.empty = empty

    def set_items(self, items: Sequence[Row], cursor: int | None = None) -> None:
        """Replace the items, of which only those in sight are asked for; the cursor stays where it is unless told."""
        self.items = items
        wanted = self.cursor if cursor is None else cursor
        self.cursor = max(0, min(wanted, len(self.items) - 1))
        self.repaint()

    def action_move(self, by: int) -> None:
        before = self.cursor
        self.cursor = max(0, min(self.cursor + by, len(self.items) - 1))
        if self.cursor != before:
            self.repaint()
            self.post_message(self.Moved(self, self.cursor, self.items))

    def action_page(self, by: int) -> None:
        self.action_move(by * max(1, self.size.height - 1))

    def action_choose(self) -> None:
        if self.items:
            self.post_message(self.Chosen(self, self.cursor, self.items))

    def on_click(self, event: events.Click) -> None:
        index = self._top + int(event.y)
        if 0 <= index < len(self.items):
            if index == self.cursor:
                self.action_choose()
            else:
                self.action_move(index - self.cursor)

    def paint(self, width: int, height: int) -> list[list[Part]]:
        self._top = min(self._top, self.cursor, len(self.items) - height)  # no line is left blank while one is hidden
        self._top = max(self._top, self.cursor - height + 1, 0)
        if not self.items:
            return nothing(self.empty, width)[:height]
        rows = []
        for index in range(self._top, min(self._top + height, len(self.items))):
            row = self.items[index]
            if index == self.cursor:
                row = [(text, f"{look} on select".strip()) for text, look in row]
                pad = " " * max(0, width - 2 - width_of(row))
                rows.append([("▌ ", "accent on select"), *cut(row, width - 2), (pad, "on select")])
            else:
                rows.append([("  ", ""), *cut(row, width - 2)])
        return rows
