"""A run followed beside the screen, which a run of a million steps or a stalled disk would keep waiting."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from tui.state.several import RankWatch
from tui.state.worker import Ticket

if TYPE_CHECKING:
    from engine.runs.layout import RunDir
    from engine.runs.reader import RunReader, RunView
    from tui.state.summary import Latest


@dataclass(frozen=True, eq=False)
class Look:
    """A run as one look found it: the view of it, its newest numbers, and the events since the look before."""

    view: RunView
    now: Latest
    events: tuple[dict[str, Any], ...] = ()


class Follower:
    """Reads `run` once and then what is new, by `look`, which a worker calls again and again."""

    def __init__(self, run: RunDir) -> None:
        self.run = run
        self._reader: RunReader | None = None
        self._told = 0
        self._ranks = RankWatch()

    def look(self, ticket: Ticket) -> Look | None:
        """What there is to see, None when that is what the look before saw; raises RunError for what is no run."""
        from engine.runs.reader import MAX_VIEWED, RunReader
        from tui.state.summary import latest

        first = self._reader is None
        if self._reader is None:
            self._reader = RunReader(self.run, most=MAX_VIEWED, aside=True)
        reader = self._reader
        if not reader.poll() and not first:
            return None
        fresh = tuple(reader.events[max(0, self._told - reader.let_go) :]) if not first else ()
        self._told = reader.let_go + len(reader.events)
        view = reader.view()
        return Look(view, replace(latest(view), several=self._ranks.look(view.status)), fresh)
