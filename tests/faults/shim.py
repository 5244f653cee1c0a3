"""Every call that writes into one folder, counted, and made to fail or to kill the process where a test says so.

Files are opened by Python's own `os.open` and written by `os.write` while it is in force, so that nothing passes by.
"""

from __future__ import annotations

import builtins
import io
import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

CALLS = (
    *("open", "write", "pwrite", "fsync", "ftruncate", "close"),
    *("rename", "replace", "mkdir", "rmdir", "unlink"),
)
BY_FD = ("write", "pwrite", "fsync", "ftruncate", "close")
MODES = {"wb": os.O_TRUNC, "xb": os.O_EXCL, "ab": os.O_APPEND, "w": os.O_TRUNC, "x": os.O_EXCL, "a": os.O_APPEND}


class Shim:
    """Counts the calls of `os` that change something under `folder`, by any thread, and lets `fault` see each first.

    `fault(number, name, path)` is called before call `number` (from 0); it may raise OSError, or not come back.
    """

    def __init__(self, folder: Path, fault: Callable[[int, str, str], None] | None = None) -> None:
        self.folder, self.fault = str(folder), fault
        self.calls: list[tuple[str, str]] = []
        self._real = {name: getattr(os, name) for name in CALLS}
        self._open = io.open
        self._paths: dict[int, str] = {}
        self._guard = threading.Lock()

    @contextmanager
    def in_force(self) -> Iterator[Shim]:
        """The shim in the place of `os`' functions and of `open`, until the block ends."""
        for name in CALLS:
            setattr(os, name, self._wrapped(name))
        io.open = builtins.open = self._opened  # type: ignore[assignment]
        try:
            yield self
        finally:
            for name, real in self._real.items():
                setattr(os, name, real)
            io.open = builtins.open = self._open  # type: ignore[assignment]

    def _wrapped(self, name: str) -> Callable[..., Any]:
        real = self._real[name]

        def call(*args: Any, **kwargs: Any) -> Any:
            path = self._path(name, args, kwargs)
            reads = name == "open" and not args[1] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
            if path.startswith(self.folder) and name != "close" and not reads:
                with self._guard:
                    number = len(self.calls)
                    self.calls.append((name, path.removeprefix(self.folder)))
                if self.fault is not None:
                    self.fault(number, name, path)
            result = real(*args, **kwargs)
            if name == "open":
                self._paths[result] = path
            elif name == "close":
                self._paths.pop(args[0], None)
            return result

        return call

    def _path(self, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> str:
        if name in BY_FD:
            return self._paths.get(args[0]) or self._opened_before(args[0])
        path = os.fsdecode(args[0])
        folder = kwargs.get("dir_fd") or kwargs.get("src_dir_fd")
        return path if folder is None else os.path.join(self._paths.get(folder, ""), path)  # noqa: PTH118

    def _opened_before(self, fd: int) -> str:
        try:
            return str(Path(f"/proc/self/fd/{fd}").readlink())
        except OSError:
            return ""

    def _opened(self, file: Any, mode: str = "r", *args: Any, **kwargs: Any) -> Any:
        plain = mode.replace("t", "")
        if isinstance(file, int) or plain not in MODES or not os.fsdecode(file).startswith(self.folder):
            return self._open(file, mode, *args, **kwargs)
        fd = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | MODES[plain], 0o666)
        binary = io.BufferedWriter(_Raw(fd))
        return binary if "b" in mode else io.TextIOWrapper(binary, encoding="utf-8")


class _Raw(io.RawIOBase):
    """A file to write whose every call is one of `os`."""

    def __init__(self, fd: int) -> None:
        self._fd = fd

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._fd

    def write(self, data: Any) -> int:
        return os.write(self._fd, data)

    def close(self) -> None:
        if not self.closed:
            super().close()
            os.close(self._fd)


def failing(numbers: range, error: int) -> Callable[[int, str, str], None]:
    """A fault: these calls fail with `error`."""

    def fault(number: int, name: str, path: str) -> None:
        if number in numbers:
            raise OSError(error, os.strerror(error), path)

    return fault


def killing(at: int) -> Callable[[int, str, str], None]:
    """A fault: the process is killed before call `at`."""

    def fault(number: int, name: str, path: str) -> None:
        if number == at:
            os.kill(os.getpid(), signal.SIGKILL)

    return fault
