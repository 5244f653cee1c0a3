"""A run followed beside the screen, which a run of a million steps or a stalled disk would keep waiting."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any

from tui.state.several import RankWatch
from tui.state.worker import Ticket

if TYPE_CHECKING:
    from engine.runs.columns import Block
    from engine.runs.layout import RunDir
    from engine.runs.reader import RunReader, RunView
    from tui.state.summary import Latest


@dataclass(frozen=True, eq=False)
class Look:
    """A run as one look found it: the view of it, its newest numbers, and the events since the look before."""

    view: RunView
    now: Latest
    events: tuple[dict[str, Any], ...] = ()


class Ahead:
    """Has the long metrics of a run that will be opened read by other processes, while this one is still loaded."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._found: SimpleQueue[Block | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._read, name="ahead", daemon=True)
        self._thread.start()

    def _read(self) -> None:
        from engine.runs.recall import blocks

        try:
            for block in blocks(self.path, 0):
                self._found.put(block)
        finally:
            self._found.put(None)

    def blocks(self) -> Iterator[Block]:
        """What was read, from the file's beginning on, as it comes; once."""
        return iter(self._found.get, None)


class Follower:
    """Reads `run` once and then what is new, by `look`, which a worker calls again and again."""

    def __init__(self, run: RunDir, ahead: Ahead | None = None) -> None:
        """ahead: what reads its metrics already."""
        self.run = run
        self._ahead = ahead
        self._reader: RunReader | None = None
        self._told = 0
        self._ranks = RankWatch()

    def look(self, ticket: Ticket) -> Look | None:
        """What there is to see, None when that is what the look before saw; raises RunError for what is no run."""
        from engine.runs.reader import MAX_VIEWED, RunReader
        from tui.state.summary import latest

        first = self._reader is None
        if self._reader is None:
            self._reader = RunReader(self.run, most=MAX_VIEWED, exact=False, aside=self._blocks)
        reader = self._reader
        if not first:
            reader.keep()
        if not reader.poll() and not first:
            return None
        fresh = tuple(reader.events[max(0, self._told - reader.let_go) :]) if not first else ()
        self._told = reader.let_go + len(reader.events)
        view = reader.view()
        return Look(view, replace(latest(view), several=self._ranks.look(view.status)), fresh)

    def _blocks(self, path: Path, offset: int) -> Iterator[Block]:
        from engine.runs.recall import blocks

        ahead, self._ahead = self._ahead, None
        return blocks(path, offset) if ahead is None or offset else ahead.blocks()
