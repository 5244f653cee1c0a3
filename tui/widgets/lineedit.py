"""One line being edited: a caret, a selection, words, and what was there before."""

from __future__ import annotations

import re
from dataclasses import dataclass

MOST_UNDONE = 200
_WORD = re.compile(r"\w+")


@dataclass(frozen=True)
class Moment:
    """The line at one time; what stands between caret and anchor is selected."""

    text: str
    caret: int
    anchor: int


class LineEdit:
    """A line of text. Characters typed one after the other are undone together; what is selected is replaced."""

    def __init__(self, text: str = "") -> None:
        self.text = text
        self.caret = self.anchor = len(text)
        self._undo: list[Moment] = []
        self._redo: list[Moment] = []
        self._typing = False

    @property
    def selection(self) -> tuple[int, int]:
        """Where the selection begins and ends; both the caret when nothing is selected."""
        return min(self.caret, self.anchor), max(self.caret, self.anchor)

    @property
    def selected(self) -> str:
        start, end = self.selection
        return self.text[start:end]

    def select_all(self) -> None:
        """The whole line, which the next character takes the place of."""
        self.anchor, self.caret, self._typing = 0, len(self.text), False

    def move(self, by: int, *, word: bool = False, select: bool = False) -> None:
        """The caret by a character or a word, left or right; out of a selection to its edge."""
        start, end = self.selection
        if start != end and not select and not word:
            self.go(start if by < 0 else end)
        else:
            self.go(self._word(by) if word else self.caret + by, select=select)

    def go(self, to: int, *, select: bool = False) -> None:
        """The caret to a place."""
        self.caret, self._typing = max(0, min(to, len(self.text))), False
        if not select:
            self.anchor = self.caret

    def _word(self, by: int) -> int:
        """Where the word before begins, or the one after ends."""
        if by > 0:
            return next((m.end() for m in _WORD.finditer(self.text) if m.end() > self.caret), len(self.text))
        return max((m.start() for m in _WORD.finditer(self.text) if m.start() < self.caret), default=0)

    def insert(self, text: str) -> None:
        """Put `text` at the caret, in the place of what is selected."""
        start, end = self.selection
        one = len(text) == 1
        self._replace(start, end, text, together=one and self._typing and start == end)
        self._typing = one

    def erase(self, by: int, *, word: bool = False) -> None:
        """What is selected; else the character, or the word, before or after the caret."""
        start, end = self.selection
        if start == end:
            there = self._word(by) if word else max(0, min(self.caret + by, len(self.text)))
            start, end = min(there, self.caret), max(there, self.caret)
        self._replace(start, end, "")
        self._typing = False

    def clear(self) -> None:
        """Nothing is left."""
        self._replace(0, len(self.text), "")
        self._typing = False

    def _replace(self, start: int, end: int, text: str, together: bool = False) -> None:
        if start == end and not text:
            return
        if not together:
            self._undo = [*self._undo, self._moment()][-MOST_UNDONE:]
        self._redo.clear()
        self.text = self.text[:start] + text + self.text[end:]
        self.caret = self.anchor = start + len(text)

    def _moment(self) -> Moment:
        return Moment(self.text, self.caret, self.anchor)

    def undo(self) -> bool:
        """As it was before; False when there is no before."""
        return self._step(self._undo, self._redo)

    def undoable(self) -> bool:
        """Whether there is something to undo."""
        return bool(self._undo)

    def redo(self) -> bool:
        """What was undone, again."""
        return self._step(self._redo, self._undo)

    def _step(self, back: list[Moment], forth: list[Moment]) -> bool:
        if not back:
            return False
        forth.append(self._moment())
        moment = back.pop()
        self.text, self.caret, self.anchor, self._typing = moment.text, moment.caret, moment.anchor, False
        return True
