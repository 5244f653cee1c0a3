"""A person at a terminal: runs a program in a real pseudo-terminal, reads its screen, types, hangs up.

Used by the end-to-end tests, the measurements in `bench/` and the pictures in `docs/`.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import select
import signal
import struct
import termios
import time
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import Self

import pyte

from tests.forked import on_terminal

KEYS = {
    "enter": "\r",
    "tab": "\t",
    "escape": "\x1b",
    "space": " ",
    "backspace": "\x7f",
    "up": "\x1b[A",
    "down": "\x1b[B",
    "right": "\x1b[C",
    "left": "\x1b[D",
    "shift+tab": "\x1b[Z",
    **{f"ctrl+{chr(code)}": chr(code - 96) for code in range(97, 123)},
}


def modes(fd: int) -> list[object]:
    """How a terminal takes and shows what is typed."""
    return termios.tcgetattr(fd)[:4]


def new_modes() -> list[object]:
    """Those of a terminal whose program has not begun: that of a `Terminal` may have changed them before one looks."""
    ours, theirs = pty.openpty()
    try:
        return modes(ours)
    finally:
        os.close(ours)
        os.close(theirs)


class Terminal:
    """`Terminal(["tinytui", "demo"], columns=140, rows=40)`; leaving the context ends the program."""

    def __init__(
        self,
        command: Sequence[str],
        *,
        columns: int = 140,
        rows: int = 40,
        env: Mapping[str, str] | None = None,
        cwd: str | os.PathLike[str] | None = None,
        term: str = "xterm-256color",
        bandwidth: float | None = None,
        forked: bool = False,
    ) -> None:
        """`bandwidth` is that of the link to the program, in bytes a second; None is no limit.

        forked: the program is a Python that need not load its libraries again (forked.py), in a test.
        """
        self.bandwidth = bandwidth
        self.columns, self.rows = columns, rows
        self.screen = pyte.Screen(columns, rows)
        self._stream = pyte.ByteStream(self.screen)
        self.bytes, self.raw = 0, bytearray()
        self.open, self.exit_code = True, None  # type: bool, int | None
        self.first_byte: float | None = None
        self.started = time.monotonic()
        kept = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "LINES", "NO_COLOR")}
        told = {**kept, "TERM": term, "COLORTERM": "truecolor", **(env or {})}
        size = struct.pack("HHHH", rows, columns, 0, 0)
        if forked:
            self.pid, self.fd = on_terminal(command, cwd=cwd, env=told, size=size)
        else:
            self.pid, self.fd = pty.fork()
        if self.pid == 0:
            fcntl.ioctl(0, termios.TIOCSWINSZ, size)
            if cwd is not None:
                os.chdir(cwd)
            try:
                os.execvpe(command[0], list(command), told)
            finally:
                os._exit(127)
        # a terminal answers queries (cursor position, device attributes)
        self.screen.write_process_input = lambda answer: os.write(self.fd, answer.encode())
        self.resize(columns, rows)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.end()

    def resize(self, columns: int, rows: int) -> None:
        self.columns, self.rows = columns, rows
        self.screen.resize(rows, columns)
        fcntl.ioctl(self.fd, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def pump(self, seconds: float) -> None:
        """Read what the program writes for `seconds`."""
        deadline = time.monotonic() + seconds
        while self.open and (left := deadline - time.monotonic()) >= 0:
            if not select.select([self.fd], [], [], left)[0]:
                return
            try:
                data = os.read(self.fd, 1 << 16 if self.bandwidth is None else 512)
            except OSError:
                data = b""
            if not data:
                self.open = False
                return
            self.first_byte = self.first_byte or time.monotonic() - self.started
            if self.bandwidth is not None:
                time.sleep(len(data) / self.bandwidth)
            self.bytes += len(data)
            self.raw += data
            with contextlib.suppress(Exception):  # pyte does not know every sequence
                self._stream.feed(data)

    @property
    def text(self) -> str:
        """What is to be read, also in the middle of a frame, when half of a wide character may have been written over:
        pyte's own `display` is at an end there."""
        rows = (self.screen.buffer[y] for y in range(self.rows))
        return "\n".join("".join(row[x].data for x in range(self.columns)).rstrip() for row in rows)

    def until(self, test: Callable[[str], bool], seconds: float = 60.0) -> float:
        """Read until `test(text)`; seconds since the start. AssertionError with the screen when it does not come."""
        deadline = time.monotonic() + seconds
        while not test(self.text):
            assert time.monotonic() < deadline and self.open, f"not within {seconds:g} s; the screen is\n{self.text}"
            self.pump(0.02)
        return time.monotonic() - self.started

    def wait(self, text: str, seconds: float = 60.0) -> float:
        return self.until(lambda screen: text in screen, seconds)

    def gone(self, text: str, seconds: float = 60.0) -> float:
        return self.until(lambda screen: text not in screen, seconds)

    def type(self, text: str) -> None:
        for character in text:
            os.write(self.fd, character.encode())
            self.pump(0.02)

    def key(self, name: str) -> None:
        os.write(self.fd, KEYS.get(name, name).encode())
        # what follows an escape at once is a key with alt
        self.pump(0.3 if name == "escape" else 0.05)

    def hang_up(self) -> None:
        """Close the terminal, as a dropped connection does."""
        os.close(self.fd)
        self.open = False

    def signal(self, number: int) -> None:
        os.kill(self.pid, number)

    def wait_exit(self, seconds: float = 60.0) -> int:
        """The program's exit code, once it ends by itself."""
        deadline = time.monotonic() + seconds
        while self.exit_code is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self.exit_code = os.waitstatus_to_exitcode(status)
                break
            assert time.monotonic() < deadline, f"still running after {seconds:g} s; the screen is\n{self.text}"
            self.pump(0.05) if self.open else time.sleep(0.05)
        return self.exit_code

    def read_rest(self, seconds: float = 60.0) -> None:
        """Read all that a program has left that ended."""
        deadline = time.monotonic() + seconds
        while self.open:  # until nobody has the other end any more
            assert time.monotonic() < deadline, "the terminal does not end with its program"
            self.pump(0.2)

    def end(self) -> None:
        """Make sure that nothing is left of it."""
        if self.exit_code is None:
            for number in (signal.SIGTERM, signal.SIGKILL):
                with contextlib.suppress(ProcessLookupError, AssertionError):
                    self.signal(number)
                    self.wait_exit(10)
                    break
        if self.open:
            with contextlib.suppress(OSError):
                os.close(self.fd)
            self.open = False
