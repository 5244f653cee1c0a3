"""Following a file that another process appends to, by whole lines."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

BLOCK = 1 << 17
"""Bytes read at a time: what is made of so many records stays in a core's own cache."""
MAX_LINE = 64 << 20
"""Bytes of a line; a longer one, which no program of ours writes, is passed over in bounded memory."""
TOO_LONG = b"\0too long"
"""Stands in a block for a line that was passed over."""
SEAM = 64
"""Bytes by which what was read is known again."""


def split_lines(block: bytes) -> list[bytes]:
    """The lines of a block of whole lines, without their newlines."""
    return block[:-1].split(b"\n")


class Tail:
    """Reads what was appended since the last time. A last line without its newline waits until it has one."""

    def __init__(self, path: Path, offset: int = 0) -> None:
        self.path, self.offset = path, offset
        self.seam = b""
        """The last bytes before `offset`: whether what was read is still there."""
        self._facts: tuple[int, ...] = ()
        self._skipping = False
        """Whether the bytes at `offset` are in the middle of a line that is too long."""

    def changed(self) -> bool:
        """Whether the file is another than at the last `blocks`: one stat."""
        return self._stat() != self._facts

    def look(self) -> int:
        """Takes the file as it is now for the one that is read; how many bytes are not read yet."""
        self._facts = self._stat()
        return self._facts[2] - self.offset if self._facts else 0

    def again(self, size: int) -> bytes:
        """The next `size` bytes, which remain to be read. Raises OSError."""
        with self.path.open("rb") as file:
            return os.pread(file.fileno(), size, self.offset)

    def skip(self, size: int, seam: bytes) -> None:
        """Goes on behind `size` bytes that were read elsewhere and end with `seam`."""
        self.offset, self.seam = self.offset + size, seam

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
        if not self.offset:
            return False
        facts = self._stat()
        if facts and facts[:2] == self._facts[:2] and self._seam_holds():
            return False
        self.offset, self.seam, self._skipping = 0, b"", False
        return True

    def _seam_holds(self) -> bool:
        try:
            with self.path.open("rb") as file:
                return os.pread(file.fileno(), len(self.seam), self.offset - len(self.seam)) == self.seam
        except OSError:
            return False

    def blocks(self) -> Iterator[bytes]:
        """Whole lines not read yet, in blocks of about BLOCK bytes, each with its newlines. Raises OSError.

        Ends where the file ended at the start of the call, however fast its writer goes on.
        """
        end = self.offset + self.look()
        if self.offset >= end:
            return
        with self.path.open("rb") as file:
            size = BLOCK
            while self.offset < end:
                data = os.pread(file.fileno(), min(size, end - self.offset), self.offset)
                if not data:  # cut shorter meanwhile
                    return
                if self._skipping:
                    end_of_line = data.find(b"\n") + 1
                    self._skipping = not end_of_line
                    self._pass(data[: end_of_line or len(data)])
                    if end_of_line:
                        yield TOO_LONG + b"\n"
                elif whole := data.rfind(b"\n") + 1:
                    size = BLOCK
                    self._pass(data[:whole])
                    yield data[:whole]
                elif len(data) < size:
                    return
                elif size < MAX_LINE:
                    size *= 2  # a line longer than a block
                else:
                    size, self._skipping = BLOCK, True

    def _pass(self, data: bytes) -> None:
        self.offset += len(data)
        self.seam = data[-SEAM:]
