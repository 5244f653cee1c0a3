"""`TokenText`: an answer one can walk, token by token.

    out.start(); out.append_tokens([" the", " cat"])      # each a token's text, raw
    out.cursor                                            # the token one stands on; None: the newest, as it comes
    out.tint([0.1, 7.2])                                  # bits of surprise of each token, None: no tint
    on TokenText.Moved(out, cursor): another token is looked at

← → go from token to token, ↑ ↓ to the token above or below.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from textual import events
from textual.binding import BindingType
from textual.message import Message

from tui.actions import bindings
from tui.text import Part, clean
from tui.widgets.stream import OutputText

SURPRISES = (
    (1.0, "dim on heat-1"),
    (3.0, "foreground on heat-2"),
    (6.0, "bright on heat-3"),
    (9.0, "bright bold on heat-4"),
)
"""Bits up to which a token has a look, wherever losses are shown; above the last it is underlined."""
SURPRISED = "bright bold underline on heat-5"
LEGEND, IN_MARKS = "surprise: dim <1 bit, underlined ≥9", "surprise: bold ≥3 bits, reversed ≥9"


def surprise_look(bits: float | None) -> str:
    """How a token of so many bits of surprise looks."""
    if bits is None:
        return "dim"
    return next((look for most, look in SURPRISES if bits < most), SURPRISED)


class TokenText(OutputText, inherit_bindings=False):
    """Streaming text made of tokens; see the module's text."""

    scope = "output"
    BINDINGS: ClassVar[list[BindingType]] = bindings("output")

    @dataclass
    class Moved(Message):
        """Another token is looked at; None: the newest."""

        text: TokenText
        cursor: int | None

        @property
        def control(self) -> TokenText:
            return self.text

    def __init__(self, *, empty: str = "", id: str | None = None) -> None:
        super().__init__(empty=empty, id=id)
        self._ends: list[int] = []
        self._cursor: int | None = None
        self._tint: Sequence[float | None] | None = None
        self._different: set[int] | None = None
        self._out: int | None = None

    # -- tokens

    @property
    def count(self) -> int:
        """How many tokens are shown."""
        return len(self._ends)

    @property
    def cursor(self) -> int | None:
        return self._cursor

    def start(self, prompt: str = "", out_of_context: int | None = None) -> None:
        """Clear, show `prompt`; so many of its characters were not given to the model, where that is known."""
        self._ends, self._cursor, self._tint, self._different = [], None, None, None
        self._out = out_of_context
        super().start(prompt)

    def clear(self) -> None:
        self.start()

    def append_tokens(self, pieces: Sequence[str]) -> None:
        """Add tokens by their texts."""
        cleaned: list[str] = []
        at = len(self._text)
        for piece in pieces:
            piece = self._pending + piece
            self._pending = "\r" if piece.endswith("\r") else ""
            cleaned.append(clean(piece[:-1] if self._pending else piece))
            at += len(cleaned[-1])
            self._ends.append(at)
        self._add("".join(cleaned))

    def tint(self, bits: Sequence[float | None] | None) -> None:
        """Tint each token by its surprise in bits, or none."""
        self._tint = bits
        self.refresh()

    def differ(self, places: set[int] | None) -> None:
        """Only the characters of the answer at these places are bright; None: all."""
        if places != self._different:
            self._different = places
            self.refresh()

    def span(self, index: int) -> tuple[int, int]:
        """Where a token begins and ends in the text."""
        return (self._ends[index - 1] if index else self._prompt_length), self._ends[index]

    def text_before(self, index: int) -> str:
        """The end of what stands before a token."""
        start = self.span(index)[0]
        return self._text[max(0, start - 60) : start]

    def go_to(self, index: int | None) -> None:
        """Stand on a token, in sight; None: on the newest."""
        wanted = None if index is None or not self._ends else max(0, min(index, len(self._ends) - 1))
        if wanted == self._cursor:
            return
        self._cursor = wanted
        if wanted is not None:
            self._show_place(self.span(wanted)[0])
        self.refresh()
        self.post_message(self.Moved(self, wanted))

    def _show_place(self, place: int) -> None:
        line = self._line_of(place)
        top, height = self.scroll_offset.y, self.size.height
        if line < top or line >= top + height:
            self.scroll_to(y=line - (0 if line < top else height - 1), animate=False, force=True)
        self._following = self.max_scroll_y <= line - height + 1

    def _line_of(self, place: int) -> int:
        return max(0, bisect_right(self._lines, place, key=lambda line: line[0]) - 1)

    # -- keys

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        if action in ("step", "line", "jump"):
            return bool(self._ends)
        return super().check_action(action, parameters)

    def action_step(self, by: int) -> None:
        here = len(self._ends) if self._cursor is None else self._cursor
        if self._cursor is None and by > 0:
            return
        self.go_to(here + by)

    def action_jump(self, end: int) -> None:
        if end:
            self._following = True
            self._to_end()
        self.go_to(None if end else 0)

    def action_line(self, by: int) -> None:
        """The token above or below the one looked at."""
        if not self._ends:
            return
        at = self.span(len(self._ends) - 1 if self._cursor is None else self._cursor)[0]
        line = self._line_of(at)
        wanted = line + by
        if not 0 <= wanted < len(self._lines):
            return
        start, end = self._lines[wanted]
        place = min(start + at - self._lines[line][0], max(start, end - 1))
        self.go_to(min(bisect_right(self._ends, place), len(self._ends) - 1))

    def on_click(self, event: events.Click) -> None:
        """The token under the mouse."""
        line = self.scroll_offset.y + int(event.y)
        if self._ends and line < len(self._lines):
            start, end = self._lines[line]
            place = start + int(event.x)
            if self._prompt_length <= place < end:
                self.go_to(min(bisect_right(self._ends, place), len(self._ends) - 1))

    # -- drawing

    def looks(self, start: int, end: int) -> dict[int, str]:
        marks = super().looks(start, end)
        wrong = end if self._problem_at is None else min(end, self._problem_at)
        if self._out is not None and (given := max(start, self._out)) < min(end, self._prompt_length):
            marks[given] = "foreground"
        if self._different is not None:
            for place in range(max(start, self._prompt_length), wrong):
                look = "bright bold underline" if place - self._prompt_length in self._different else "dim"
                marks[place] = look
        first = bisect_right(self._ends, start)
        if self._tint is not None:
            for index in range(first, len(self._ends)):
                begin, stop = self.span(index)
                if begin >= wrong:
                    break
                if stop > begin:
                    marks[max(begin, start)] = surprise_look(self._tint[index] if index < len(self._tint) else None)
        if self._cursor is not None and self._cursor < len(self._ends):
            begin, stop = self.span(self._cursor)
            if begin < end and stop > start:
                after = {place: look for place, look in marks.items() if place <= stop}
                marks = {place: look for place, look in marks.items() if not begin <= place < stop}
                marks[max(begin, start)] = "accent bold reverse"
                if stop < end:
                    marks[stop] = after[max(after)]
        return marks

    def after_line(self, start: int, end: int) -> Part | None:
        """A token that is, or begins with, the line's end is marked there."""
        if self._cursor is not None and self._cursor < len(self._ends):
            begin, stop = self.span(self._cursor)
            if start <= begin and begin <= end < stop and self._text[end : end + 1] == "\n":
                return "⏎", "accent bold reverse"
        return None
