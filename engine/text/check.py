"""Is this file text? One streamed pass that also takes its hash, remembered so that a large file is read once."""

from __future__ import annotations

import codecs
import hashlib
import json
import os
import stat
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from engine.errors import CorpusError
from engine.files import open_atomic, reason

Progress = Callable[[str, float], None]
BLOCK = 1 << 20
RACY_NS = 2_000_000_000  # a file touched this recently may change again without its time changing


@dataclass(frozen=True)
class Scan:
    """What one pass over a file found: SHA-256 of its bytes, a UTF-8 byte order mark, and CR LF line ends."""

    n_bytes: int
    sha256: str
    bom: bool
    crlf: bool


def check_file(path: Path) -> int:
    """The size in bytes of a regular file that can be read and holds something; otherwise CorpusError."""
    try:
        status = path.stat()
        if stat.S_ISDIR(status.st_mode):
            raise CorpusError(f"{path} is a directory; name a .txt, .csv or .jsonl file")
        if not stat.S_ISREG(status.st_mode):
            raise CorpusError(f"{path} is not a regular file; copy its content into one first")
        with path.open("rb"):
            pass
    except FileNotFoundError:
        raise CorpusError(f"no file {path}; check the path") from None
    except (OSError, ValueError) as error:
        words = reason(error) if isinstance(error, OSError) else str(error)
        raise CorpusError(f"cannot read {path}: {words}") from None
    if status.st_size == 0:
        raise CorpusError(f"{path} is empty; a corpus needs text")
    return status.st_size


def scan(path: Path, progress: Progress | None = None) -> Scan:
    """Reads `path` once in blocks of 1 MiB. Raises CorpusError for a NUL byte or invalid UTF-8, naming where."""
    size = check_file(path)
    digest = hashlib.sha256()
    done, rest = 0, b""
    bom = crlf = ended_in_cr = False
    with path.open("rb") as file:
        while block := file.read(BLOCK):
            digest.update(block)
            if b"\0" in block:
                raise CorpusError(
                    f"{path} is not text: a NUL byte at offset {done + block.index(0):,}{_utf16_hint(path)}"
                )
            if done == 0:
                bom = block.startswith(codecs.BOM_UTF8)
            data = rest + block
            crlf = crlf or b"\r\n" in block or (ended_in_cr and block.startswith(b"\n"))
            ended_in_cr = block.endswith(b"\r")
            rest = data[_decoded(data, done - len(rest), path) :]
            done += len(block)
            if progress is not None:
                progress("checking", min(1.0, done / size))
    if rest:
        raise _not_utf8(path, done - len(rest), rest[0])
    if done == 3 and bom:
        raise CorpusError(f"{path} is empty but for a byte order mark; a corpus needs text")
    return Scan(done, digest.hexdigest(), bom, crlf)


def _decoded(data: bytes, start: int, path: Path) -> int:
    """How many bytes of `data` are whole characters; `start` is its offset in the file."""
    try:
        return codecs.utf_8_decode(data, "strict", False)[1]
    except UnicodeDecodeError as error:
        raise _not_utf8(path, start + error.start, data[error.start]) from None


def _not_utf8(path: Path, offset: int, byte: int) -> CorpusError:
    hint = _utf16_hint(path) or f"; convert it, e.g. iconv -f ISO-8859-1 -t UTF-8 {path.name} > utf8.txt"
    return CorpusError(f"{path} is not UTF-8 text: byte 0x{byte:02x} at offset {offset:,}{hint}")


def _utf16_hint(path: Path) -> str:
    with path.open("rb") as file:
        if file.read(2) not in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE):
            return ""
    return f"; it looks like UTF-16: iconv -f UTF-16 -t UTF-8 {path.name} > utf8.txt"


def remembered_scan(path: Path, cache: Path, progress: Progress | None = None, ours: bool = False) -> Scan:
    """`scan`, or what it found before when the file's size, time of change and inode are the same.

    A file changed within the last two seconds is scanned but not remembered: it could change again unseen. One in the
    cache is `ours`: never changed in place, so remembered at once.
    """
    check_file(path)
    place = path.resolve()
    status = place.stat()
    key = [str(place), status.st_size, status.st_mtime_ns, status.st_ino]
    memory = cache / "checked" / f"{hashlib.sha256(os.fsencode(place)).hexdigest()[:32]}.json"
    try:
        record = json.loads(memory.read_bytes())
        if record["file"] == key:
            return Scan(**record["scan"])
    except (OSError, ValueError, TypeError, KeyError):
        pass  # nothing remembered, or damaged: look again
    found = scan(path, progress)
    if ours or time.time_ns() - status.st_mtime_ns > RACY_NS:
        try:
            with open_atomic(memory, parents=True, kind=CorpusError) as file:
                file.write(json.dumps({"file": key, "scan": asdict(found)}).encode())
        except CorpusError:
            pass  # a cache that cannot be written costs time, not the run
    return found
