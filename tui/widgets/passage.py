"""`Passage`: a text in differently coloured pieces, wrapped, that is scrolled by lines.

passage.show([("Subjective: ", "dim"), ("headache", "bright bold")])      # raw pieces: they are cleaned here
passage.scroll_by(3), passage.page(1), passage.top = 0
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass

from textual import events
from textual.message import Message

from tui.text import Line, Part, clean, nothing, wrap
from tui.widgets.paint import Painted
from tui.widgets.rows import cut


class Passage(Painted):
    """Shows its pieces from line `top` on; where there is more, the last line says how much."""

    DEFAULT_CSS = "Passage { height: 1fr; width: 1fr; }"

    @dataclass
    class Wheeled(Message):
        """The wheel was turned over it, by so many lines."""

        passage: Passage
        by: int

    def __init__(self, *, empty: str = "", id: str | None = None) -> None:
        super().__init__(id=id)
        self.top = 0
        self._empty = empty
        self._pieces: list[Part] = []
        self._text = ""
        self._marks: list[tuple[int, str]] = []
        self._wrapped: tuple[int, list[Line]] = 0, []

    @property
    def text(self) -> str:
        """What is shown, cleaned."""
        return self._text

    def show(self, pieces: Sequence[Part], empty: str = "") -> None:
        """Replace the text; the line at the top stays as far as there is one. `empty` is said where there is none."""
        pieces = [piece for piece in pieces if piece[0]]
        if pieces == self._pieces and empty == self._empty:
            return
        self._pieces, self._empty = pieces, empty
        self._marks, texts, at = [], [], 0
        for text, look in pieces:
            shown = clean(text)
            self._marks.append((at, look))
            texts.append(shown)
            at += len(shown)
        self._text, self._wrapped = "".join(texts), (0, [])
        self.repaint()

    def lines(self, width: int) -> list[Line]:
        """Where the lines of this width begin and end in the text."""
        if self._wrapped[0] != width:
            self._wrapped = width, wrap(self._text, max(1, width))
        return self._wrapped[1]

    def scroll_to_line(self, top: int) -> None:
        """Show the text from line `top` on, or its end."""
        self.top = max(0, min(top, len(self.lines(self.size.width)) - self.size.height))
        self.repaint()

    def paint(self, width: int, height: int) -> list[list[Part]]:
        if not self._text:
            return nothing(self._empty, width)[:height]
        lines = self.lines(width)
        self.top = max(0, min(self.top, len(lines) - height))
        shown = lines[self.top : self.top + height]
        rows = [self._row(*line) for line in shown]
        left = len(lines) - self.top - height
        if left > 0 and height > 1:
            said = f"↓ {left + 1:,} more lines"
            rows[-1] = cut([(said, "accent"), ("  PgDn" if len(said) + 6 <= width else "", "dim")], width)
        return rows

    def _row(self, start: int, end: int) -> list[Part]:
        row: list[Part] = []
        at = max(0, bisect_right(self._marks, start, key=lambda mark: mark[0]) - 1)
        while start < end:
            stop = self._marks[at + 1][0] if at + 1 < len(self._marks) else end
            row.append((self._text[start : min(stop, end)], self._marks[at][1]))
            start, at = max(start, min(stop, end)), at + 1
        return [part for part in row if part[0]]

    def on_mouse_scroll_down(self, event: events.MouseScrollDown) -> None:
        event.stop()
        self.post_message(self.Wheeled(self, 3))

    def on_mouse_scroll_up(self, event: events.MouseScrollUp) -> None:
        event.stop()
        self.post_message(self.Wheeled(self, -3))
