"""Is this file text? One streamed pass that also takes its hash, remembered so that a large file is read once."""

from __future__ import annotations

import codecs
import contextlib
import hashlib
import json
import os
import stat
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any, BinaryIO

from pydantic import ConfigDict
from pydantic.dataclasses import dataclass

from engine.errors import CorpusError, UserError
from engine.files import reading, write_cached
from engine.text.magic import HEAD
from engine.text.utf8 import Decoder, refuse_no_text

Progress = Callable[[str, float], None]
BLOCK = 1 << 20
RACY_NS = 2_000_000_000  # a file touched this recently may change again without its time changing


@dataclass(frozen=True, config=ConfigDict(strict=True))
class Scan:
    """What one pass over a file found: SHA-256 of its bytes, a UTF-8 byte order mark, and CR LF line ends."""

    n_bytes: int
    sha256: str
    bom: bool
    crlf: bool


@contextlib.contextmanager
def opened(path: Path) -> Iterator[BinaryIO]:
    """A file of a corpus, to be read. Raises CorpusError, also for what fails inside."""
    with reading(path, CorpusError, gone="prepare the corpus again"), path.open("rb") as file:
        yield file


def check_file(path: Path) -> int:
    """The size in bytes of a regular file that can be read and holds something; otherwise CorpusError."""
    try:
        with reading(path, CorpusError):
            status = path.stat()
    except ValueError as error:
        raise CorpusError(f"cannot read {path}: {error}") from None
    if stat.S_ISDIR(status.st_mode):
        raise CorpusError(f"{path} is a directory; name a .txt, .csv or .jsonl file")
    if not stat.S_ISREG(status.st_mode):
        raise CorpusError(f"{path} is not a regular file; copy its content into one first")
    with opened(path):
        pass
    if status.st_size == 0:
        raise CorpusError(f"{path} is empty; a corpus needs text")
    return status.st_size


def scan(path: Path, progress: Progress | None = None) -> Scan:
    """Reads `path` once in blocks of 1 MiB. Raises CorpusError for a NUL byte or invalid UTF-8, naming where."""
    size = check_file(path)
    digest, decoder, done = hashlib.sha256(), Decoder(str(path)), 0
    bom = crlf = ended_in_cr = False
    with opened(path) as file:
        while block := file.read(BLOCK):
            digest.update(block)
            if done == 0:
                bom = block.startswith(codecs.BOM_UTF8)
                refuse_no_text(block[:HEAD], str(path))
            decoder.feed(block)
            crlf = crlf or b"\r\n" in block or (ended_in_cr and block.startswith(b"\n"))
            ended_in_cr = block.endswith(b"\r")
            done += len(block)
            if progress is not None:
                progress("checking", min(1.0, done / size))
    decoder.feed(b"", last=True)
    if done == 3 and bom:
        raise CorpusError(f"{path} is empty but for a byte order mark; a corpus needs text")
    return Scan(done, digest.hexdigest(), bom, crlf)


def remembered_scan(path: Path, cache: Path, progress: Progress | None = None, ours: bool = False) -> Scan:
    """`scan`, or what it found before when the file's size, time of change and inode are the same.

    One in the cache is `ours`: never changed in place, so remembered at once.
    """
    check_file(path)
    place = path.resolve()
    status = place.stat()
    key = [str(place), status.st_size, status.st_mtime_ns, status.st_ino]
    changed = 0 if ours else status.st_mtime_ns
    found = remembered("scan", place, key, changed, cache, lambda: asdict(scan(path, progress)))
    try:
        return Scan(**found)
    except (TypeError, ValueError):  # what was remembered is damaged
        return scan(path, progress)


def remembered(what: str, place: Path, key: object, changed: int, cache: Path, find: Callable[[], Any]) -> Any:
    """What `find` gives for what lies at `place` in the state `key`, or gave before for the same.

    What `changed` (nanoseconds) within the last two seconds is looked at but not remembered: it could change again
    unseen.
    """
    memory = cache / "checked" / f"{hashlib.sha256(os.fsencode(place)).hexdigest()[:32]}-{what}.json"
    try:
        record = json.loads(memory.read_bytes())
        if record["file"] == key:
            return record[what]
    except (OSError, ValueError, TypeError, KeyError):
        pass  # nothing remembered, or damaged: look again
    found = find()
    if time.time_ns() - changed > RACY_NS:
        with contextlib.suppress(UserError):  # a cache that cannot be written costs time, not the run
            write_cached(memory, json.dumps({"file": key, what: found}).encode())
    return found
