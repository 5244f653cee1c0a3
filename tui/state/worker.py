"""Threads for whatever may wait (files, sockets, long reckoning), so that no key ever waits for it.

    worker.ask("corpora", lambda ticket: list_corpora(folder), self._take_corpora)
    worker.every("run", 0.4, follower.look, self._take_view)
    worker.deliver()                                    # in the screen's thread: calls what waits for results

One thing at a time, in the order of asking. What is asked under a key takes the place of what was asked under it
before, which is never delivered then. Work that nobody wants any more and that does not end (a stalled disk) is left
behind in its thread, and another thread goes on.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from time import monotonic
from typing import Any, TypeVar, overload

from engine.errors import UserError
from tui.state.buglog import told

T = TypeVar("T")


@dataclass(eq=False)
class Ticket:
    """One thing asked for. Work that takes long looks at `cancelled`, and may `publish` what it has so far."""

    key: str
    work: Callable[[Ticket], Any]
    then: Callable[[Any], None]
    failed: Callable[[str], None]
    every: float | None = None
    due: float = 0.0
    cancelled: bool = False
    over: bool = False
    worker: Worker | None = field(default=None, repr=False)

    def publish(self, value: Any) -> None:
        """Hand over what is known so far; of several before the next look the newest counts."""
        if self.worker is not None:
            self.worker._put(self, value, None)


LEFT_BEHIND = 4
"""Threads that may be stuck with what nobody wants any more; beyond them the next question waits."""


def nothing(_: object) -> None:
    """What waits for work of whose end nothing is shown."""


class Worker:
    """One thread, begun with the first question. `failed` is told in one line what went wrong where nobody else is;
    `wake` is called from the thread whenever there is something to deliver."""

    def __init__(self, name: str, failed: Callable[[str], None]) -> None:
        self.name = name
        self.wake: Callable[[], None] | None = None
        self._failed = failed
        self._waiting: deque[Ticket] = deque()
        self._current: dict[str, Ticket] = {}
        self._ready: dict[Ticket, tuple[Any, str | None]] = {}
        self._room = threading.Condition()
        self._thread: threading.Thread | None = None
        self._stuck: list[threading.Thread] = []
        self._doing: Ticket | None = None
        self._ended = False

    @overload
    def ask(
        self,
        key: str,
        work: Callable[[Ticket], T],
        then: Callable[[T], None],
        failed: Callable[[str], None] | None = None,
    ) -> Ticket: ...

    @overload
    def ask(
        self,
        key: str,
        work: Callable[[Ticket], T | None],
        then: Callable[[T], None],
        failed: Callable[[str], None] | None = None,
        *,
        every: float,
    ) -> Ticket: ...

    def ask(
        self,
        key: str,
        work: Callable[[Ticket], Any],
        then: Callable[[Any], None],
        failed: Callable[[str], None] | None = None,
        *,
        every: float | None = None,
    ) -> Ticket:
        """Have `work` done and its result given to `then`.

        With `every`, again after so many seconds, until dropped; None is then nothing new, and `then` is not called.
        """
        ticket = Ticket(key, work, then, failed or self._failed, every, worker=self)
        with self._room:
            self._drop(key)
            self._current[key] = ticket
            self._waiting.append(ticket)
            self._stuck = [each for each in self._stuck if each.is_alive()]
            unwanted = self._doing is not None and self._doing.cancelled
            if self._thread is not None and unwanted and len(self._stuck) < LEFT_BEHIND:
                self._stuck.append(self._thread)
                self._thread = self._doing = None
            if self._thread is None and not self._ended:
                self._thread = threading.Thread(target=self._run, name=self.name, daemon=True)
                self._thread.start()
            self._room.notify_all()
        return ticket

    def drop(self, key: str) -> None:
        """Ask for it no more; what is under way is told so and never delivered."""
        with self._room:
            self._drop(key)

    def asked(self, key: str) -> bool:
        """Whether `key` is still to be delivered, or looked at again and again."""
        return key in self._current

    def _drop(self, key: str) -> None:
        ticket = self._current.pop(key, None)
        if ticket is not None:
            ticket.cancelled = True
            self._ready.pop(ticket, None)
            if ticket in self._waiting:
                self._waiting.remove(ticket)

    def deliver(self) -> bool:
        """Call what waits for results; True when any of it may be shown. For the screen's thread."""
        with self._room:
            ready, self._ready = self._ready, {}
        told = False
        for ticket, (value, problem) in ready.items():
            if ticket.cancelled:
                continue
            told = told or ticket.then is not nothing or problem is not None
            if ticket.over and self._current.get(ticket.key) is ticket:
                del self._current[ticket.key]
            if problem is not None:
                ticket.failed(problem)
            else:
                ticket.then(value)
        return told

    def end(self) -> None:
        """Ask for nothing any more; the thread ends with what it is doing."""
        with self._room:
            self._ended = True
            for key in list(self._current):
                self._drop(key)
            self._room.notify_all()

    # -- in the thread -------------------------------------------------------------------------------------------------

    def _run(self) -> None:
        while (ticket := self._next()) is not None:
            try:
                value, problem = ticket.work(ticket), None
            except Exception as error:  # also a bug: the next question is answered all the same
                value, problem = None, one_line(error)
            ticket.over = ticket.every is None or problem is not None
            with self._room:
                if ticket.every is not None and not ticket.over and not ticket.cancelled:
                    ticket.due = monotonic() + ticket.every
                    self._waiting.append(ticket)
            if ticket.over or value is not None:
                self._put(ticket, value, problem)

    def _next(self) -> Ticket | None:
        with self._room:
            while not self._ended and self._thread is threading.current_thread():
                now, self._doing = monotonic(), None
                for ticket in self._waiting:
                    if ticket.due <= now:
                        self._waiting.remove(ticket)
                        self._doing = ticket
                        return ticket
                self._room.wait(min((ticket.due for ticket in self._waiting), default=now + 60.0) - now)
            return None

    def _put(self, ticket: Ticket, value: Any, problem: str | None) -> None:
        with self._room:
            if ticket.cancelled or self._ended:
                return
            self._ready[ticket] = value, problem
        if self.wake is not None:
            self.wake()


def one_line(error: Exception) -> str:
    """What went wrong, as a person reads it; a bug by its name."""
    if isinstance(error, UserError | OSError):
        return str(error)
    return told(error)
