"""Ending a text at a stop string while it is being written."""

from __future__ import annotations

from collections.abc import Iterable


class StopFilter:
    """Lets text through until a stop string is complete; what might be the beginning of one is held back until decided.

    The result does not depend on where the pieces are cut: the stop string that is complete first counts, and of two
    complete at once the one that began first.
    """

    def __init__(self, stops: Iterable[str] = ()) -> None:
        self.stops = tuple(stops)
        self.stopped = False
        self._held = ""

    def push(self, text: str) -> str:
        """The text that is certain now; sets `stopped` at the end of a stop string, and then lets nothing through."""
        if self.stopped or not self.stops:
            return "" if self.stopped else text
        self._held += text
        found = [(place + len(stop), place) for stop in self.stops if (place := self._held.find(stop)) >= 0]
        self.stopped = bool(found)
        certain = min(found)[1] if found else len(self._held) - self._undecided()
        out, self._held = self._held[:certain], "" if found else self._held[certain:]
        return out

    def flush(self) -> str:
        """What was held back, when no more text comes."""
        out, self._held = self._held, ""
        return out

    def _undecided(self) -> int:
        """Length of the longest end of the held text that is the beginning of a stop string."""
        longest = min(len(self._held), max(map(len, self.stops)) - 1)
        return next((n for n in range(longest, 0, -1) if any(s.startswith(self._held[-n:]) for s in self.stops)), 0)
