"""A log of a run: lines are appended and never lost, doubled, or glued to half of another."""

from __future__ import annotations

import contextlib
import errno
import os
from pathlib import Path

from engine.files import cannot, open_atomic, stands_at
from engine.runs.lines import TORN

MOST_UNSYNCED = 1 << 20
"""Bytes that may wait for their sync: until then they are kept in memory too."""


class AppendLog:
    """An append-only JSONL file. What cannot be written now waits in memory, in its order, and goes before the next.

    A line that was cut in the middle is gone on with where it was cut. A torn last line of an earlier writer is ended.
    What has not been synced is kept, and written again where a sync fails: the system may have let it go.
    """

    def __init__(self, path: Path) -> None:
        """Raises UserError when the file cannot be opened."""
        self.path = path
        self.waits_since: int | None = None
        """The step of the first record that could not be written yet; None when all are."""
        self._waiting = bytearray()
        self._unsynced = bytearray()
        self._suspect = False
        """Whether a sync failed: the last `_unsynced` bytes of the file may not be there."""
        try:
            self._fd = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o666)
        except OSError as error:
            raise cannot("open", path, error) from None
        try:
            size = os.fstat(self._fd).st_size
            if size > 0 and os.pread(self._fd, 1, size - 1) != b"\n":
                self._waiting += TORN
        except OSError as error:
            self.close()
            raise cannot("read", path, error) from None

    def append(self, line: bytes, step: int) -> None:
        """Adds a line, whole or by and by. Raises OSError when some of it must wait for `write`."""
        self._waiting += line
        if self.waits_since is None:
            self.waits_since = step
        self.write()

    def write(self) -> None:
        """Writes what waits. Raises OSError when some of it still must; then nothing is lost."""
        while self._waiting:
            written = os.write(self._fd, self._waiting)
            self._unsynced += self._waiting[:written]
            del self._waiting[:written]
        self.waits_since = None
        if len(self._unsynced) > MOST_UNSYNCED:
            self.sync()

    def sync(self) -> None:
        """Makes all that was appended last through a power loss. Raises OSError when it cannot; try again then."""
        if self._waiting:
            self.write()
        if self._suspect:
            self._write_again()
        try:
            os.fsync(self._fd)
        except OSError as error:
            if error.errno not in (errno.EINVAL, errno.ENOTSUP):
                self._suspect = True
                raise
        self._suspect = False
        self._unsynced.clear()

    def _write_again(self) -> None:
        start = os.fstat(self._fd).st_size - len(self._unsynced)
        fd = os.open(self.path, os.O_WRONLY)  # one that does not append
        try:
            done = 0
            while done < len(self._unsynced):
                done += os.pwrite(fd, self._unsynced[done:], start + done)
        finally:
            os.close(fd)

    @property
    def in_place(self) -> bool:
        """Whether the open file is still the one at its path."""
        return stands_at(self._fd, self.path)

    def put_back(self, path: Path) -> None:
        """Writes all that is in the open file, whose name is gone, to `path`, and goes on there. Raises OSError."""
        with open_atomic(path) as file:
            at = 0
            while block := os.pread(self._fd, 1 << 20, at):
                file.write(block)
                at += len(block)
        fd = os.open(path, os.O_RDWR | os.O_APPEND)
        self.close()
        self._fd, self.path = fd, path
        self._unsynced.clear()
        self._suspect = False

    def close(self) -> None:
        with contextlib.suppress(OSError):
            os.close(self._fd)
