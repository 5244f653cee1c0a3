"""Where one pane fills the screen: which there are, and which is shown."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from textual import events
from textual.message import Message

from tui.text import Part, width_of
from tui.widgets.paint import Painted


class PaneTabs(Painted):
    """One line of names, the shown one marked; a click picks one."""

    DEFAULT_CSS = "PaneTabs { height: 1; padding: 0 1; }"

    @dataclass
    class Picked(Message):
        """`name` was clicked."""

        name: str

    def __init__(self, names: Sequence[str], *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._names = list(names)
        self._shown = ""

    def show_tab(self, name: str) -> None:
        """Mark `name` as shown."""
        if name != self._shown:
            self._shown = name
            self.repaint()

    def paint(self, width: int, height: int) -> list[list[Part]]:
        row: list[Part] = []
        for name in self._names:
            row.append((f" {name} ", "bright bold on select") if name == self._shown else (f" {name} ", "dim"))
            row.append((" ", ""))
        hint: Part = ("tab next pane", "dim")
        gap = width - width_of(row) - width_of([hint])
        return [[*row, (" " * gap, ""), hint] if gap > 0 else row]

    def on_click(self, event: events.Click) -> None:
        start = 0
        for name in self._names:
            end = start + len(name) + 3
            if start <= event.x < end:
                self.post_message(self.Picked(name))
            start = end
