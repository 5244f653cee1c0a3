"""Token files in memory as far as they are used."""

from __future__ import annotations

import contextlib
import mmap
import threading
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from engine.tokenizers.base import Ids

_RESIDENT = 256 << 20  # bytes of a file that may count as this process' memory
_AROUND = 1 << 21  # bytes the kernel may map when one of them is touched (a large folio of its file cache)
_BLOCK, _BLOCKS = 1 << 16, 512


class Mapped:
    """A file of ids as a read-only array of `dtype`, and the `n_bytes` of text they stand for.

    Pages that were read stay counted as the process' memory, so reading all of a large file at random would in the end
    count it whole. `touched` keeps account and now and then gives the pages back; they stay in the system's file cache.
    """

    def __init__(self, path: Path, dtype: np.dtype[Any], n_bytes: int) -> None:
        self.n_bytes = n_bytes
        self._map: mmap.mmap | None = None
        self._read = 0
        self._lock = threading.Lock()
        with path.open("rb") as file:
            self.size = file.seek(0, 2)
            if self.size:
                self._map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        self.ids: Ids = np.frombuffer(self._map if self._map is not None else b"", dtype)

    def touched(self, windows: int, length: int) -> None:
        """Says that `windows` windows of `length` ids each were read."""
        if self._map is None or self.size <= _RESIDENT:
            return
        with self._lock:
            self._read += windows * (length * self.ids.itemsize + _AROUND)
            if self._read < _RESIDENT:
                return
            self._read = 0
        with contextlib.suppress(OSError, AttributeError):  # not on every system
            self._map.madvise(mmap.MADV_DONTNEED)


def checksum(path: Path) -> int:
    """CRC-32 of a file's size and content; of a file above 32 MiB, of 512 blocks of 64 KiB spread evenly over it."""
    with path.open("rb") as file:
        size = file.seek(0, 2)
        crc = zlib.crc32(str(size).encode())
        whole = size <= _BLOCK * _BLOCKS
        spread = ((size - _BLOCK) * i // (_BLOCKS - 1) for i in range(_BLOCKS))
        for place in range(0, size, _BLOCK) if whole else spread:
            file.seek(place)
            crc = zlib.crc32(file.read(_BLOCK), crc)
    return crc
