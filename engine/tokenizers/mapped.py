"""Files of ids as one array: mapped into memory, read where it is looked at, given back when much was read."""

from __future__ import annotations

import contextlib
import ctypes
import mmap
import os
import threading
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.tokenizers.base import Ids

_RESIDENT = 256 << 20  # bytes of a file that may count as this process' memory
_AROUND = 1 << 21  # bytes the kernel may map when one of them is touched (a large folio of its file cache)
_FIXED = 0x10  # of mmap(2), the same on Linux and macOS; Python has no name for it


class Mapped:
    """A file of ids, or several one after the other, as a read-only array of `dtype`, and the `n_bytes` of text they
    stand for.

    Pages that were read stay counted as the process' memory, so reading all of a large file at random would in the end
    count it whole. `touched` keeps account and now and then gives the pages back; they stay in the system's file cache.
    Raises OSError.
    """

    def __init__(self, path: Path | Sequence[Path], dtype: np.dtype[Any], n_bytes: int) -> None:
        self.n_bytes = n_bytes
        self._read = 0
        self._lock = threading.Lock()
        paths = [path] if isinstance(path, Path) else path
        self.size = sum(each.stat().st_size for each in paths)
        self._map = (_one(paths[0]) if len(paths) == 1 else _side_by_side(paths)) if self.size else None
        self.ids: Ids = np.frombuffer(self._map if self._map is not None else b"", dtype, self.size // dtype.itemsize)

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

    def ahead(self, starts: NDArray[np.int64], length: int) -> None:
        """Says that windows of `length` ids from `starts` on will be read soon.

        A page that is not in memory makes its reader wait, and the kernel reads megabytes around it; asked for ahead,
        just those pages come meanwhile. Of a file that is in memory before long, nothing is asked.
        """
        if self._map is None or self.size <= _RESIDENT:
            return
        places = starts * self.ids.itemsize
        firsts = places // mmap.PAGESIZE * mmap.PAGESIZE
        sizes = np.minimum(places + length * self.ids.itemsize, self.size) - firsts
        with contextlib.suppress(OSError, AttributeError):  # not on every system
            for first, size in zip(firsts.tolist(), sizes.tolist(), strict=True):
                self._map.madvise(mmap.MADV_WILLNEED, first, size)


def _one(path: Path) -> mmap.mmap:
    with path.open("rb") as file:
        return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)


def _side_by_side(paths: Sequence[Path]) -> mmap.mmap:
    """Files in neighbouring addresses, so that what lies over an edge is read like anything else.

    All but the last are whole multiples of a page (`prepared.UNIT`). Room for all is taken first, then each file is
    laid over its part of it; when that is let go, so are they.
    """
    sizes = [path.stat().st_size for path in paths]
    room = mmap.mmap(-1, sum(sizes), flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS, prot=mmap.PROT_READ)
    place = np.frombuffer(room, np.uint8).ctypes.data
    for path, size in zip(paths, sizes, strict=True):
        with path.open("rb") as file:
            found = _mmap()(place, size, mmap.PROT_READ, mmap.MAP_SHARED | _FIXED, file.fileno(), 0)
        if found != place:
            raise OSError(error := ctypes.get_errno(), os.strerror(error), str(path))
        place += size
    return room


@cache
def _mmap() -> Any:
    """mmap(2) itself: Python's own cannot be told where to map."""
    call = ctypes.CDLL(None, use_errno=True).mmap
    call.argtypes = [ctypes.c_void_p, ctypes.c_size_t, *[ctypes.c_int] * 3, ctypes.c_long]
    call.restype = ctypes.c_void_p
    return call
