"""Following a file that another process appends to, by whole lines."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

BLOCK = 1 << 20
"""Bytes read at a time."""
_SEAM = 64


class Tail:
    """Reads what was appended since the last time. A last line without its newline waits until it has one."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._facts: tuple[int, ...] = ()
        self._offset = 0
        self._seam = b""

    def changed(self) -> bool:
        """Whether the file is another than at the last `blocks`: one stat."""
        return self._stat() != self._facts

    def _stat(self) -> tuple[int, ...]:
        try:
            facts = self.path.stat()
        except OSError:
            return ()
        return (facts.st_dev, facts.st_ino, facts.st_size, facts.st_mtime_ns)

    def rewritten(self) -> bool:
        """Whether what was read before is no longer there: the file was replaced, cut or removed.

        Then the next `blocks` begins at the start, and what came of the old content is to be forgotten.
        """
        if not self._offset:
            return False
        facts = self._stat()
        if facts and facts[:2] == self._facts[:2] and facts[2] >= self._offset and self._seam_holds():
            return False
        self._offset, self._seam = 0, b""
        return True

    def _seam_holds(self) -> bool:
        try:
            with self.path.open("rb") as file:
                return os.pread(file.fileno(), len(self._seam), self._offset - len(self._seam)) == self._seam
        except OSError:
            return False

    def blocks(self) -> Iterator[bytes]:
        """Whole lines not read yet, in blocks of about BLOCK bytes, each with its newlines. Raises OSError.

        Ends where the file ended at the start of the call, however fast its writer goes on.
        """
        self._facts = self._stat()
        end = self._facts[2] if self._facts else 0
        if self._offset >= end:
            return
        with self.path.open("rb", buffering=0) as file:
            size = BLOCK
            while self._offset < end:
                data = os.pread(file.fileno(), min(size, end - self._offset), self._offset)
                whole = data.rfind(b"\n") + 1
                if not whole:
                    if len(data) < size:
                        return
                    size *= 2  # a line longer than a block
                    continue
                size = BLOCK
                block = data[:whole]
                self._offset += whole
                self._seam = block[-_SEAM:]
                yield block
