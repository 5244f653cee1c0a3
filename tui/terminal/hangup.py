"""A terminal that closes, stalls or dies, so that nothing which still uses it fails, waits or spins.

What follows from it for the training of this process is decided in `tui.terminal.signals` and at the end of `tui.app`.
"""

from __future__ import annotations

import os
import select
import threading
from collections.abc import Iterable


def give_up(terminal: Iterable[int]) -> None:
    """Put silence behind those of the file descriptors 0, 1 and 2 that are the terminal's; safe in a signal handler.

    Reading waits for ever on a pipe that nobody writes to (the end of a file would be readable all the time, and the
    input thread would turn without pause); writing goes to the null device. One byte, a key that nothing is bound to,
    frees an input thread that had seen the dying terminal readable and reads only now.
    """
    for fd in terminal:
        if fd == 0:
            silence, keep_open = os.pipe()
            os.write(keep_open, b"\0")
        else:
            silence = os.open(os.devnull, os.O_WRONLY)
        os.dup2(silence, fd)
        os.close(silence)


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
