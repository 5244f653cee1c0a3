"""Shards of tokens: written one after the other to one length, gone on with where they stopped, read as one array."""

from __future__ import annotations

import hashlib
import os
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import numpy as np

from engine.errors import CorpusError
from engine.files import doing
from engine.text.prepared import Prepared, Shard, Split, shard_path
from engine.tokenizers.cache import checksum
from engine.tokenizers.mapped import Mapped

if TYPE_CHECKING:
    from engine.text.scan import Progress

_BLOCK = 1 << 20
_SAMPLE = {"block": 1 << 14, "blocks": 16}
"""What is read of a shard each time it is used: its beginning, its end, and 14 places between."""


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


def open_shards(prepared: Prepared, folder: Path) -> tuple[Mapped, Mapped]:
    """The training and the validation tokens. Raises CorpusError when a shard is missing, cut, or damaged where it is
    looked at."""
    found = []
    dtype = np.dtype(prepared.dtype).newbyteorder("<")
    with doing("read", folder, CorpusError, inside=True):
        for files, split in zip(_files(prepared, folder), (prepared.train, prepared.val), strict=True):
            for path, shard in files:
                if checksum(path, **_SAMPLE) != shard.sampled:
                    raise _damaged(path, folder)
            found.append(Mapped([path for path, _ in files], dtype, split.bytes - split.first))
    return found[0], found[1]


def check_all(prepared: Prepared, folder: Path, progress: Progress | None = None) -> None:
    """Read every byte of every shard. Raises CorpusError that names the first that is not what was written."""
    every = list(chain(*_files(prepared, folder)))
    for done, (path, shard) in enumerate(every, 1):
        with doing("read", path, CorpusError), path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        if digest != shard.sha256:
            raise _damaged(path, folder)
        if progress is not None:
            progress("checking", done / len(every))


def _files(prepared: Prepared, folder: Path) -> list[list[tuple[Path, Shard]]]:
    """The files of training and of validation, each with what it holds.

    Raises CorpusError where the making was broken off, and for a shard that is missing or not of its length.
    """
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


def _damaged(path: Path, folder: Path) -> CorpusError:
    return CorpusError(f"{path} is damaged; copy it there again, or remove {folder} and prepare it again")
