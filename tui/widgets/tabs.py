"""Where one pane fills the screen: which there are, and which is shown."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from textual import events
from textual.message import Message

from tui.text import Part, fit, width_of
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
        for name, text in self._tabs(width):
            row.append((text, "bright bold on select" if name == self._shown else "dim"))
            row.append((" ", ""))
        hint: Part = ("tab next pane", "dim")
        gap = width - width_of(row) - width_of([hint])
        return [[*row, (" " * gap, ""), hint] if gap > 0 else row[:-1]]

    def _tabs(self, width: int) -> list[tuple[str, str]]:
        """The names and what is shown of them: the one that is shown whole, of the others what there is room for."""
        others = [name for name in self._names if name != self._shown]
        left = width - len(self._names) + 1 - (len(self._shown) + 2 if self._shown in self._names else 0)
        most = max((len(name) for name in others), default=0)
        while most > 1 and sum(min(len(name), most) + 2 for name in others) > left:
            most -= 1
        sizes = {name: len(name) if name == self._shown else min(len(name), most) for name in self._names}
        return [(name, f" {fit(name, sizes[name])} ") for name in self._names]

    def on_click(self, event: events.Click) -> None:
        start = 0
        for name, text in self._tabs(self.size.width):
            end = start + len(text) + 1
            if start <= event.x < end:
                self.post_message(self.Picked(name))
            start = end
