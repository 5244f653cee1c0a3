"""`TokenMap`: a text one walks token by token, each token in a look of its own; only what is in sight is drawn.

    map.show(text, cursor, look, key)   # look(place) -> (look of the token, how far its bar is filled, or None)
    on TokenMap.Moved(map, place): another token is looked at

The last row says the same as the tints do of the cursor's line, without colour: a bar under each token.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable
from dataclasses import dataclass
from itertools import accumulate
from typing import ClassVar

from rich.cells import cell_len
from textual import events
from textual.binding import BindingType
from textual.message import Message

from tui.actions import bindings
from tui.screens.inspect.tint import bar_mark
from tui.state.inspected import LookedText
from tui.text import Line, Part, wrap
from tui.widgets.paint import Painted
from tui.widgets.rows import cut, wrapped

Look = Callable[[int], tuple[str, float | None]]
CURSOR = "accent bold reverse"


class TokenMap(Painted, can_focus=True):
    """See the module's text."""

    DEFAULT_CSS = "TokenMap { height: 1fr; width: 1fr; }"
    BINDINGS: ClassVar[list[BindingType]] = bindings("map")
    scope = "map"

    @dataclass
    class Moved(Message):
        """The token at `place` is looked at."""

        map: TokenMap
        place: int

        @property
        def control(self) -> TokenMap:
            return self.map

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._shown: LookedText | None = None
        self._key: object = None
        self._known: dict[int, list[Part]] = {}
        """Lines without the cursor, of this key and width: a step changes two of them."""
        self._tint: Look = lambda _: ("", None)
        self._bars = False
        self._cursor = 0
        self._top = 0
        self._text = ""
        self._ends: list[int] = []
        self._wrapped: tuple[int, list[Line]] = 0, []
        self._empty: list[Part] = []

    def show(
        self, text: LookedText | None, cursor: int, look: Look, key: object, *, bars: bool = False, empty: str = ""
    ) -> None:
        """The text with these looks, unless they are those of `key` before; `empty` is said where there is none."""
        whole = text, key, bars, empty
        if whole == self._key and cursor == self._cursor:
            return
        if whole != self._key:
            self._key, self._known = whole, {}
        self._empty = [(empty, "alarm" if empty.startswith("✖") else "dim")]
        if text is not self._shown:
            self._shown = text
            pieces = text.pieces[text.first :] if text is not None else ()
            self._text, self._ends = "".join(pieces), list(accumulate(map(len, pieces)))
            self._wrapped = 0, []
            self._cursor = -1
        self._tint, self._bars = look, bars
        if cursor != self._cursor:
            self._cursor = cursor
            self._to_cursor()
        self.repaint()

    @property
    def first(self) -> int:
        return self._shown.first if self._shown is not None else 0

    def lines(self, width: int) -> list[Line]:
        """Where the lines begin and end in the text; the last cell is left for a mark."""
        if self._wrapped[0] != width:
            self._wrapped = width, wrap(self._text, max(1, width - 1))
            self._known = {}
        return self._wrapped[1]

    def _room(self) -> int:
        """Rows of text."""
        height = self.size.height
        return max(1, height - 1 if self._bars and height > 2 else height)

    def _span(self, place: int) -> tuple[int, int]:
        index = place - self.first
        return (self._ends[index - 1] if index > 0 else 0), self._ends[index]

    def _at(self, character: int) -> int:
        """The place of the token that a character is of."""
        return min(bisect_right(self._ends, character), len(self._ends) - 1) + self.first

    def _line_of(self, character: int) -> int:
        lines = self.lines(self.size.width)
        return max(0, bisect_right(lines, character, key=lambda line: line[0]) - 1)

    def _to_cursor(self) -> None:
        if not self._ends or not self.size.width:
            return
        line, rows = self._line_of(self._span(self._cursor)[0]), self._room()
        self._top = max(min(self._top, line), line - rows + 1, 0)

    # -- keys ----------------------------------------------------------------------------------------------------------

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Whether there is a text to walk."""
        return bool(self._ends)

    def _go(self, place: int) -> None:
        place = max(self.first, min(place, self.first + len(self._ends) - 1))
        if place != self._cursor:
            self.post_message(self.Moved(self, place))

    def action_step(self, by: int) -> None:
        self._go(self._cursor + by)

    def action_edge(self, last: int) -> None:
        self._go(self.first + (len(self._ends) if last else 0))

    def action_line(self, by: int) -> None:
        """The token above or below."""
        lines = self.lines(self.size.width)
        at = self._span(self._cursor)[0]
        line = self._line_of(at)
        wanted = max(0, min(line + by, len(lines) - 1))
        if wanted != line:
            start, end = lines[wanted]
            self._go(self._at(min(start + at - lines[line][0], max(start, end - 1))))
        elif by:
            self.action_edge(int(by > 0))

    def action_page(self, by: int) -> None:
        self.action_line(by * max(1, self._room() - 1))

    def on_mouse_scroll_down(self, event: events.MouseScrollDown) -> None:
        self._wheel(event, 3)

    def on_mouse_scroll_up(self, event: events.MouseScrollUp) -> None:
        self._wheel(event, -3)

    def _wheel(self, event: events.MouseEvent, by: int) -> None:
        event.stop()
        self._top = max(0, min(self._top + by, len(self.lines(self.size.width)) - self._room()))
        self.repaint()

    def on_click(self, event: events.Click) -> None:
        line, lines = self._top + int(event.y), self.lines(self.size.width)
        if self._ends and event.y < self._room() and line < len(lines):
            (start, end), cells = lines[line], 0
            for character in range(start, end):
                cells += cell_len(self._text[character])
                if cells > event.x:
                    self._go(self._at(character))
                    return

    # -- drawing -------------------------------------------------------------------------------------------------------

    def on_resize(self) -> None:
        self._to_cursor()
        self.repaint()

    def paint(self, width: int, height: int) -> list[list[Part]]:
        if not self._ends:
            return wrapped(self._empty, width)[:height]
        lines, rows = self.lines(width), self._room()
        self._top = max(0, min(self._top, len(lines) - rows))
        painted = [self._row(number, lines) for number in range(self._top, min(self._top + rows, len(lines)))]
        if rows < height:
            painted += [[]] * (rows - len(painted))
            painted.append(cut(self._bars_row(lines), width))
        return painted

    def _row(self, number: int, lines: list[Line]) -> list[Part]:
        start, end = lines[number]
        beyond = lines[number + 1][0] if number + 1 < len(lines) else end + 1
        begin, stop = self._span(self._cursor)
        here = begin < beyond and stop > start
        if not here and number in self._known:
            return self._known[number]
        row: list[Part] = []
        at = start
        while at < end:
            place = self._at(at)
            last = min(self._span(place)[1], end)
            row.append((self._text[at:last], CURSOR if place == self._cursor else self._tint(place)[0]))
            at = last
        if here and end <= begin and self._text[begin:stop].strip("\n") and end > start:
            row.append(("␣", CURSOR))  # the space at which the line was broken
        row = cut(row, self.size.width)
        if not here:
            self._known[number] = row
        return row

    def _bars_row(self, lines: list[Line]) -> list[Part]:
        """The cursor's line as bars."""
        number = self._line_of(self._span(self._cursor)[0])
        start, end = lines[number]
        row: list[Part] = []
        at = start
        while at < end:
            place = self._at(at)
            stop = min(self._span(place)[1], end)
            filled = self._tint(place)[1]
            mark = bar_mark(filled) if filled is not None else " "
            row.append((mark * cell_len(self._text[at:stop]), "accent" if place == self._cursor else "dim"))
            at = stop
        return row
