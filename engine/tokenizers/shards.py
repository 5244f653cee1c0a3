"""Files of ids as one array: mapped into memory, read where it is looked at, given back when much was read.

Shards are such files, written one after the other to one length and gone on with where they stopped.
"""

from __future__ import annotations

import contextlib
import ctypes
import hashlib
import mmap
import os
import threading
import zlib
from collections.abc import Sequence
from functools import cache
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from engine.errors import CorpusError
from engine.files import doing
from engine.text.prepared import Prepared, Shard, Split, shard_path
from engine.tokenizers.base import Ids

if TYPE_CHECKING:
    from engine.text.scan import Progress

_RESIDENT = 256 << 20  # bytes of a file that may count as this process' memory
_AROUND = 1 << 21  # bytes the kernel may map when one of them is touched (a large folio of its file cache)
_FIXED = 0x10  # of mmap(2), the same on Linux and macOS; Python has no name for it
_BLOCK = 1 << 20
_SAMPLE = {"block": 1 << 14, "blocks": 16}
"""What is read of a shard each time it is used: its beginning, its end, and 14 places between."""


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


def checksum(path: Path, block: int, blocks: int) -> int:
    """CRC-32 of a file's size and content; of one larger than `blocks` of so many bytes, of that many spread evenly."""
    with path.open("rb") as file:
        size = file.seek(0, 2)
        crc = zlib.crc32(str(size).encode())
        whole = size <= block * blocks
        spread = ((size - block) * i // (blocks - 1) for i in range(blocks))
        for place in range(0, size, block) if whole else spread:
            file.seek(place)
            crc = zlib.crc32(file.read(block), crc)
    return crc


class ShardWriter:
    """The shards of one split, from where `split` says they stopped on. Raises OSError, and CorpusError for damage."""

    def __init__(self, folder: Path, name: str, itemsize: int, most: int, split: Split) -> None:
        self._folder, self._name, self._itemsize, self._most = folder, name, itemsize, most
        self._whole = list(split.shards)
        self._file: BinaryIO | None = None
        self._tokens, self._digest = 0, hashlib.sha256()  # of the shard that is written now
        if split.shards and not split.shards[-1].sha256:
            self._go_on(self._whole.pop().tokens)

    def _path(self) -> Path:
        return shard_path(self._folder, self._name, len(self._whole))

    def _go_on(self, tokens: int) -> None:
        """Open the shard that was begun, less what a killed process wrote after its last word of it."""
        self._file = self._path().open("r+b")
        left = tokens * self._itemsize
        while left and (block := self._file.read(min(_BLOCK, left))):
            self._digest.update(block)
            left -= len(block)
        if left:
            raise CorpusError(f"{self._path()} is shorter than it was; remove {self._folder} and prepare it again")
        self._file.truncate()
        self._tokens = tokens

    def append(self, path: Path) -> None:
        """Add the ids of a file, in as many shards as they fill."""
        with path.open("rb") as file:
            while block := file.read(min(_BLOCK, (self._most - self._tokens) * self._itemsize)):
                if self._file is None:
                    self._file = self._path().open("wb")
                self._file.write(block)
                self._digest.update(block)
                self._tokens += len(block) // self._itemsize
                if self._tokens == self._most:
                    self._end()

    def _end(self) -> None:
        if self._file is not None:
            self._sync()
            self._file.close()
            path = self._path()
            self._whole.append(
                Shard(tokens=self._tokens, sha256=self._digest.hexdigest(), sampled=checksum(path, **_SAMPLE))
            )
        self._file, self._tokens, self._digest = None, 0, hashlib.sha256()

    def _sync(self) -> None:
        if self._file is not None:
            self._file.flush()
            os.fsync(self._file.fileno())

    def so_far(self) -> tuple[Shard, ...]:
        """All shards, the last one perhaps not full, on the disk."""
        self._sync()
        begun = (Shard(tokens=self._tokens),) if self._tokens else ()
        return (*self._whole, *begun)

    def finish(self) -> tuple[Shard, ...]:
        """All shards, the last one as long as it is."""
        self._end()
        return tuple(self._whole)

    def close(self) -> None:
        """Let go of the file; what was not told by `so_far` is written again by whoever goes on."""
        if self._file is not None:
            self._file.close()
            self._file = None


def open_shards(prepared: Prepared) -> tuple[Mapped, Mapped]:
    """The training and the validation tokens. Raises CorpusError when a shard is missing, cut, or damaged where it is
    looked at."""
    found = []
    dtype = np.dtype(prepared.dtype).newbyteorder("<")
    with doing("read", prepared.path, CorpusError, inside=True):
        for files, split in zip(_files(prepared), (prepared.train, prepared.val), strict=True):
            for path, shard in files:
                if checksum(path, **_SAMPLE) != shard.sampled:
                    raise _damaged(path)
            found.append(Mapped([path for path, _ in files], dtype, split.bytes - split.first))
    return found[0], found[1]


def check_all(prepared: Prepared, progress: Progress | None = None) -> None:
    """Read every byte of every shard. Raises CorpusError that names the first that is not what was written."""
    every = list(chain(*_files(prepared)))
    for done, (path, shard) in enumerate(every, 1):
        with doing("read", path, CorpusError), path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        if digest != shard.sha256:
            raise _damaged(path)
        if progress is not None:
            progress("checking", done / len(every))


def _files(prepared: Prepared) -> list[list[tuple[Path, Shard]]]:
    """The files of training and of validation, each with what it holds.

    Raises CorpusError where the making was broken off, and for a shard that is missing or not of its length.
    """
    folder = prepared.path
    if not prepared.finished:
        done = f"{prepared.pieces_done:,} of {prepared.pieces:,} pieces of its source are in it"
        raise CorpusError(
            f"{folder} is not finished ({done}); the same tinytui corpora prepare goes on where it stopped"
        )
    both = [
        [(shard_path(folder, name, number), shard) for number, shard in enumerate(split.shards)]
        for name, split in (("train", prepared.train), ("val", prepared.val))
    ]
    mend = f"copy it there again, or prepare {folder} again"
    for path, shard in chain(*both):
        wanted = shard.tokens * np.dtype(prepared.dtype).itemsize
        with doing("read", path, CorpusError):
            try:
                size = path.stat().st_size
            except FileNotFoundError:
                raise CorpusError(f"{path} is missing; {mend}") from None
        if size != wanted:
            raise CorpusError(f"{path} has {size:,} bytes and should have {wanted:,}; {mend}")
    return both


def _damaged(path: Path) -> CorpusError:
    return CorpusError(f"{path} is damaged; copy it there again, or remove {path.parent} and prepare it again")
