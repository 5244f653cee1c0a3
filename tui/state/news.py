"""What the workbench says in passing: one line or two in the upper corner, one after the other."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from time import monotonic

from tui.text import clean, lines_of

LINES = 2
"""That many rows at the top hold nothing that is typed or moved, on every screen."""


@dataclass(frozen=True)
class Notice:
    """One line for the person; `bad` when something did not work."""

    text: str
    bad: bool = False


class News:
    """Notices that wait for their turn, which comes when the one before can have been read; of many the newest."""

    def __init__(self) -> None:
        self._waiting: deque[Notice] = deque(maxlen=8)
        self._until = 0.0

    def add(self, notice: Notice) -> None:
        self._waiting.append(notice)

    def next(self, width: int) -> Notice | None:
        """What is to be shown instead of what was: `LINES` lines of `width` cells at most, the rest comes next."""
        if not self._waiting or monotonic() < self._until:
            return None
        notice = self._waiting.popleft()
        self._until = monotonic() + (4.0 if notice.bad else 1.5)
        text = clean(notice.text, keep_newlines=False)
        lines = lines_of(f"✖ {text}" if notice.bad else text, max(8, width - 2))
        if len(lines) > LINES:
            self._waiting.appendleft(Notice(" ".join(lines[LINES:]), notice.bad))
            lines[LINES - 1] += " …"
        return Notice("\n".join(lines[:LINES]), notice.bad)
