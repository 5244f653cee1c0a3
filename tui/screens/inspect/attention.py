"""Who looks at whom: a wall of small maps, layers by heads, and the chosen one large."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from textual import events
from textual.binding import BindingType
from textual.message import Message

from tui.actions import bindings
from tui.screens.inspect.tint import SHADES, cell, share_level
from tui.state.inspected import Part
from tui.text import Part as Run
from tui.text import fit
from tui.theme import only_marks
from tui.widgets.paint import Painted
from tui.widgets.rows import cut, wrapped

if TYPE_CHECKING:
    from numpy import float32
    from numpy.typing import NDArray

LARGEST, LEFT = 24, 4
"""Cells of a small map's side at most, and of the layers' names."""
NAME = 10
"""Cells of a token's name beside the large map."""


def shown_label(part: Part, place: int) -> str:
    return part.text.label(int(part.text.ids[place]))


class Maps(Painted, can_focus=True):
    """What both have: the part of the text that is looked at, and what is said where there is none."""

    DEFAULT_CSS = "Maps { height: 1fr; width: 1fr; }"

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self.part: Part | None = None
        self._key: object = None
        self.chosen_layer = self.chosen_head = self.cursor = 0
        self._empty: list[Run] = []

    def show(self, part: Part | None, layer: int, head: int, cursor: int, empty: str) -> None:
        """The maps, or what is said in their place."""
        if (key := (part, layer, head, cursor, empty, only_marks(self.app))) == self._key:
            return
        self._key = key
        self.part, self.chosen_layer, self.chosen_head, self.cursor = part, layer, head, cursor
        self._empty = [(empty, "alarm" if empty.startswith("✖") else "dim")]
        self.repaint()

    @property
    def shape(self) -> tuple[int, int]:
        """Layers and heads."""
        if self.part is None or self.part.maps is None:
            return 0, 0
        layers, heads = self.part.maps.weights.shape[:2]
        return int(layers), int(heads)


class Wall(Maps):
    """All maps; arrows and clicks choose one."""

    BINDINGS: ClassVar[list[BindingType]] = bindings("wall")
    scope = "wall"

    @dataclass
    class Chosen(Message):
        """Another head is looked at."""

        layer: int
        head: int

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._small: tuple[object, NDArray[float32]] | None = None

    def show(self, part: Part | None, layer: int, head: int, cursor: int, empty: str) -> None:
        """As of all maps; which token the cursor is on is not seen here."""
        super().show(part, layer, head, 0, empty)

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Whether there is more than one to choose from."""
        return self.shape[0] * self.shape[1] > 1

    def action_choose(self, layers: int, heads: int) -> None:
        """So many layers down and heads to the right."""
        n_layers, n_heads = self.shape
        layer = max(0, min(self.chosen_layer + layers, n_layers - 1))
        head = max(0, min(self.chosen_head + heads, n_heads - 1))
        if (layer, head) != (self.chosen_layer, self.chosen_head):
            self.post_message(self.Chosen(layer, head))

    def _frame(self, width: int, height: int) -> tuple[int, int, int, int]:
        """(cells of a side, rows of a map with what parts it from the next, layers and heads in sight)."""
        layers, heads = self.shape
        side = min(LARGEST, max(2, self.part.end - self.part.start)) if self.part is not None else LARGEST
        rows = max(1, min(-(-side // 2), height // layers - 1))
        size = min(2 * rows, side, max(2, (width - LEFT) // heads - 1))
        rows = -(-size // 2)
        step, room = (rows + 1, height) if layers * (rows + 1) <= height or rows > 1 else (rows, height - 1)
        return size, step, max(1, room // step), max(1, (width - LEFT) // (size + 1))

    def _first(self, chosen: int, fit: int, count: int) -> int:
        return max(0, min(chosen - fit // 2, count - fit))

    def paint(self, width: int, height: int) -> list[list[Run]]:
        part = self.part
        if part is None or part.maps is None:
            return wrapped(self._empty, width)[:height]
        layers, heads = self.shape
        size, step, n_rows, n_columns = self._frame(width, height)
        key = part, size
        if self._small is None or self._small[0] != key:
            self._small = key, part.maps.wall(size)
        small = self._small[1]
        first_layer, first_head = (
            self._first(self.chosen_layer, n_rows, layers),
            self._first(self.chosen_head, n_columns, heads),
        )
        shown_heads = range(first_head, min(heads, first_head + n_columns))
        rows: list[list[Run]] = [[(" " * LEFT, "")]]
        for head in shown_heads:
            rows[0].append((fit(f" {head + 1}", size + 1), "accent bold" if head == self.chosen_head else "dim"))
        for layer in range(first_layer, min(layers, first_layer + n_rows)):
            for line in range(step):
                name = fit(f"L{layer + 1}", LEFT) if line == 0 else " " * LEFT
                row: list[Run] = [(name, "accent bold" if layer == self.chosen_layer else "dim")]
                for head in shown_heads:
                    row += self._small_row(
                        small[layer, head], line, size, (layer, head) == (self.chosen_layer, self.chosen_head)
                    )
                rows.append(row)
        return [cut(row, width) for row in rows[:height]]

    def _small_row(self, small: NDArray[float32], line: int, size: int, chosen: bool) -> list[Run]:
        side = small.shape[0]
        if 2 * line >= size:
            return [(" " * (size + 1), "")]
        row: list[Run] = [("▌" if chosen else " ", "accent")]
        for column in range(size):
            upper = float(small[2 * line, column]) if 2 * line < side and column < side else 0.0
            lower = float(small[2 * line + 1, column]) if 2 * line + 1 < side and column < side else None
            if only_marks(self.app):
                row.append(cell(max(upper, lower or 0.0), None, True))
            else:
                text, look = cell(upper, lower, False)
                row.append((text, look if " on " in look or not chosen else f"{look} on select".strip()))
        return row

    def on_click(self, event: events.Click) -> None:
        if self.part is None:
            return
        layers, heads = self.shape
        size, step, n_rows, n_columns = self._frame(*self.size)
        layer = self._first(self.chosen_layer, n_rows, layers) + (int(event.y) - 1) // step
        head = self._first(self.chosen_head, n_columns, heads) + (int(event.x) - LEFT) // (size + 1)
        if event.y >= 1 and event.x >= LEFT and layer < layers and head < heads:
            self.post_message(self.Chosen(layer, head))


class HeadMap(Maps):
    """One map: a row what a token takes, a column what it takes it from, the cursor's token in sight."""

    BINDINGS: ClassVar[list[BindingType]] = bindings("head")
    scope = "head"

    @dataclass
    class Stepped(Message):
        """The token `by` places further is to be looked at."""

        by: int

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        return self.part is not None

    def action_step(self, by: int) -> None:
        self.post_message(self.Stepped(by))

    def paint(self, width: int, height: int) -> list[list[Run]]:
        part = self.part
        if part is None or part.maps is None:
            return wrapped(self._empty, width)[:height]
        name = min(NAME, max(3, width // 6))
        columns, n_rows = max(1, (width - name - 1) // 2), max(1, height - 1)
        first = max(part.start, min(self.cursor - n_rows // 2, part.end - n_rows))
        last = min(part.end, first + n_rows)
        left = max(part.start, last - columns)
        header: list[Run] = [(" " * (name + 1), "")]
        for place in range(left, last):
            header.append((fit(two(shown_label(part, place)), 2), "accent bold" if place == self.cursor else "dim"))
        weights = part.maps.weights[self.chosen_layer, self.chosen_head]
        rows = [header]
        for place in range(first, last):
            here = place == self.cursor
            row: list[Run] = [(fit(shown_label(part, place), name, "right"), "accent bold reverse" if here else "dim")]
            row.append(("▸" if here else " ", "accent"))
            for key in range(left, min(place + 1, last)):
                level = share_level(float(weights[place - part.start, key - part.start]))
                ground = f"on glow-{level}" if level else "on select" if here else ""
                row.append((2 * SHADES[level], "foreground") if only_marks(self.app) else ("  ", ground))
            rows.append(row)
        return [cut(row, width) for row in rows[:height]]


def two(label: str) -> str:
    """What stands for a token in two cells: its beginning, without the space that many begin with."""
    from rich.cells import cell_len

    label = label[1:] if len(label) > 1 and label[0] == "␣" else label
    return label[:2] if cell_len(label[:2]) <= 2 else label[:1]
