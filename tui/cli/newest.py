"""A run that is being trained, as far as a line about it needs it: in bounded memory, however long the run."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from engine.runs.schema import Event, decode, problem_of
from engine.runs.series import Series
from engine.runs.status import read_info, read_status
from engine.runs.tail import Tail, split_lines

if TYPE_CHECKING:
    from engine.runs.layout import RunDir

WINDOW = 50
"""Records of training and of evaluations that are held, the newest."""
MOST_EVENTS = 1000
"""Events that nobody has asked for; of more the oldest are let go."""


class Heard:
    """A run's status and its events, followed. Raises RunError when it is not a run."""

    def __init__(self, run: RunDir) -> None:
        self.run = run
        self.info = read_info(run)
        self.status = self._said = read_status(run)
        self._log = Tail(run.events)
        self._events: deque[dict[str, Any]] = deque(maxlen=MOST_EVENTS)

    def poll(self) -> bool:
        """Read what is new; True when there is anything."""
        said, self._said = self._said, read_status(self.run)
        self.status = dict(self._said)
        return self._read_events() or said != self._said

    def events(self) -> list[dict[str, Any]]:
        """What was not asked for before."""
        found = [*self._events]
        self._events.clear()
        return found

    def _read_events(self) -> bool:
        if not self._log.changed():
            return False
        if self._log.rewritten():
            self._events.clear()
        for line in lines(self._log):
            event = record(line)
            if event is not None and not problem_of(event, Event):
                self._events.append(event)
        return True


class Newest(Heard):
    """And its newest numbers."""

    def __init__(self, run: RunDir) -> None:
        super().__init__(run)
        self._metrics = Tail(run.metrics)
        self._trained: deque[bytes] = deque(maxlen=WINDOW)
        self._evaluated: deque[bytes] = deque(maxlen=WINDOW)
        self.trained, self.evaluated = Series(), Series()
        """The newest records of training, and of evaluations."""

    def poll(self) -> bool:
        changed = super().poll()
        return self._read_metrics() or changed

    def _read_metrics(self) -> bool:
        if not self._metrics.changed():
            return False
        if self._metrics.rewritten():
            self._trained.clear()
            self._evaluated.clear()
        for line in lines(self._metrics):
            if b'"val_loss"' in line:
                self._evaluated.append(line)
            else:
                self._trained.append(line)
                if b'"resumed"' in line:  # what was made beyond that step is void
                    self._evaluated.append(line)
        self.trained, self.evaluated = series(self._trained), series(self._evaluated)
        return True


def lines(tail: Tail) -> Iterator[bytes]:
    """What was appended, as far as it can be read."""
    with suppress(OSError):
        for block in tail.blocks():
            yield from split_lines(block)


def series(held: deque[bytes]) -> Series:
    """The numbers in these lines."""
    found = Series()
    for line in held:
        if (each := record(line)) is not None:
            found.add(each)
    return found


def record(line: bytes) -> dict[str, Any] | None:
    """What a line holds; None for what is damaged, or no record."""
    try:
        value = decode(line)
    except ValueError:
        return None
    return value if isinstance(value, dict) else None
