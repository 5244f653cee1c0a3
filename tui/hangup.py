"""How the workbench ends when it is not asked at the keyboard.

- SIGHUP, a closed terminal: the screen ends, training goes on in this process without one.
- SIGTERM, SIGINT from outside: a checkpoint, then the end.

A handler may run while the main thread stands in a write that a stalled terminal does not take, so it never waits: it
gives the terminal up (which frees that write), notes why, and wakes the loop.
"""

from __future__ import annotations

import asyncio
import os
import select
import signal
import threading
from collections.abc import Callable
from enum import Enum
from types import FrameType


class Ending(Enum):
    """Why the screen went away, and so what becomes of the training of this process."""

    LEAVE = "leave"  # nothing trains here
    STOP = "stop"  # asked at the keyboard: checkpoint, then end
    DETACH = "detach"  # checkpoint, then a background process goes on
    HANGUP = "hangup"  # the terminal is gone: train on without it
    TERMINATE = "terminate"  # SIGTERM: checkpoint, then end
    INTERRUPT = "interrupt"  # SIGINT: the same
    BROKEN = "broken"  # a bug ended the screen: as a hang-up, but said

    @property
    def exit_code(self) -> int:
        return {Ending.TERMINATE: 143, Ending.INTERRUPT: 130}.get(self, 0)


SIGNALS = {signal.SIGHUP: Ending.HANGUP, signal.SIGTERM: Ending.TERMINATE, signal.SIGINT: Ending.INTERRUPT}


def give_up_terminal() -> None:
    """Put silence behind file descriptors 0, 1 and 2, so that nothing that still uses them fails or spins.

    Reading waits for ever on a pipe that nobody writes to (the end of a file would be readable all the time, and the
    input thread would turn without pause); writing goes to the null device. One byte, a key that nothing is bound to,
    frees an input thread that had seen the dying terminal readable and reads only now.
    """
    silent, keep_open = os.pipe()
    os.write(keep_open, b"\0")
    os.set_inheritable(keep_open, False)
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(silent, 0)
    os.dup2(null, 1)
    os.dup2(null, 2)
    os.close(silent)
    os.close(null)


def hung_up(fd: int) -> bool:
    """Whether the other end of the terminal at `fd` is gone (some sessions end without a SIGHUP)."""
    poller = select.poll()
    poller.register(fd, select.POLLIN)
    return any(event & (select.POLLHUP | select.POLLERR | select.POLLNVAL) for _, event in poller.poll(0))


class TerminalFile:
    """What the screen is written to: a stalled terminal is waited for, a dead one swallows everything.

    Written to by one thread only, which may stand in `flush` as long as the terminal does not read. `abandon`, from any
    thread or signal handler, ends that wait and every later one.
    """

    def __init__(self, fd: int) -> None:
        self._buffer: list[str] = []
        self._gone = threading.Event()
        try:
            # An own description of the same terminal: non-blocking here, unchanged for the shell that shares fd.
            self._fd = os.open(os.ttyname(fd), os.O_WRONLY | os.O_NOCTTY | os.O_NONBLOCK)
        except OSError:
            self._fd = os.dup(fd)

    def fileno(self) -> int:
        return self._fd

    def write(self, text: str) -> int:
        self._buffer.append(text)
        return len(text)

    def flush(self) -> None:
        data = memoryview("".join(self._buffer).encode("utf-8", "replace"))
        self._buffer.clear()
        try:
            while data and not self._gone.is_set():
                if select.select([], [self._fd], [], 0.2)[1]:
                    data = data[self._write_some(data) :]
        except (OSError, ValueError):
            self._gone.set()

    def _write_some(self, data: memoryview) -> int:
        try:
            return os.write(self._fd, data[:4096])
        except BlockingIOError:
            return 0

    def abandon(self) -> None:
        self._gone.set()


class EndSignals:
    """The handlers of SIGNALS while the workbench runs and while it trains on without a screen.

    The first SIGTERM or SIGINT ends in order; `ending` says which came. Use as a context manager in the main thread.
    """

    def __init__(self) -> None:
        self.ending: Ending | None = None
        self._listeners: list[Callable[[], None]] = []
        self._before: dict[int, object] = {}

    def listen(self, listener: Callable[[], None]) -> None:
        """Call `listener` (which must not wait) in the handler of every signal that comes."""
        self._listeners.append(listener)

    def __enter__(self) -> EndSignals:
        for number in SIGNALS:
            self._before[number] = signal.signal(number, self._handle)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)  # type: ignore[arg-type]

    def _handle(self, number: int, _frame: FrameType | None) -> None:
        self.end(SIGNALS[signal.Signals(number)])

    def end(self, ending: Ending) -> None:
        """Note `ending` and tell the listeners; a hang-up never undoes an end that was asked for."""
        if ending is Ending.HANGUP:
            give_up_terminal()
            self.ending = self.ending or ending
        else:
            self.ending = ending
        for listener in self._listeners:
            listener()


def wake(loop: asyncio.AbstractEventLoop, call: Callable[[], None]) -> None:
    """Run `call` in `loop` soon; from a signal handler, a loop that has ended is no error."""
    if not loop.is_closed():
        loop.call_soon_threadsafe(call)
