"""What the small files of all runs say: read a short while at a time, and again only where one of them changed."""

from __future__ import annotations

from math import inf
from pathlib import Path
from time import monotonic
from typing import Any, NamedTuple

from engine.runs.layout import RunDir, Stamp, run_folders, stamps_of
from engine.runs.status import ALIVE, overview
from tui.state.worker import Ticket

Facts = dict[str, Any]
"""A run as `overview` tells of it."""

LOOK_EVERY = 2.0
"""Seconds between two looks at all runs."""
TURN = 0.2
"""Seconds after which whatever else waits for the thread has its turn: 5,000 runs on a slow disk take a minute."""
TELL_EVERY = 1.0
"""Seconds between two lists that are not whole yet."""


class Listed(NamedTuple):
    """The runs as far as they were read; `left` were not yet."""

    facts: list[Facts]
    left: int = 0


class RunsReader:
    """For a worker's thread. One that takes the place of `before` need not read what that one knew."""

    def __init__(self, runs_dir: Path, before: RunsReader | None = None) -> None:
        self.runs_dir = runs_dir
        self._known: dict[str, tuple[list[Stamp | None], Facts]] = before._known.copy() if before is not None else {}
        self._left: list[str] = []
        self._told = -inf

    @property
    def busy(self) -> bool:
        """Whether it is amid a look at all runs."""
        return bool(self._left)

    def look(self, ticket: Ticket) -> Listed | None:
        """Go on looking for a moment; the runs when all were looked at, or it is time to tell of some.

        Sets when to be called again. Raises UserError when the folder cannot be read.
        """
        began = monotonic()
        if not self._left:
            self._begin()
        while self._left and not ticket.cancelled:
            self._look_at(self._left.pop())
            if monotonic() - began > TURN:
                break
        ticket.every = 0.0 if self._left else LOOK_EVERY
        if self._left and monotonic() - self._told < TELL_EVERY:
            return None
        self._told = monotonic()
        return Listed([facts for _, facts in self._known.values()], sum(path not in self._known for path in self._left))

    def _begin(self) -> None:
        """What is there now; of runs with numbers the highest come first."""
        self._left = sorted(run_folders(self.runs_dir))
        there = set(self._left)
        for path in [path for path in self._known if path not in there]:
            del self._known[path]

    def _look_at(self, path: str) -> None:
        stamps = stamps_of(path, "run.json", "status.json", "note.json")
        if stamps[0] is None:
            self._known.pop(path, None)
            return
        known = self._known.get(path)
        # whether a trainer lives is not in its files
        if known is None or known[0] != stamps or known[1]["state"] in ALIVE:
            self._known[path] = stamps, overview(RunDir(Path(path)))
