"""Where a corpus' bytes lie: one file, plain or compressed, a zip archive, or a folder of files.

A source is a list of parts. A part is a file, or a member of an archive, that may hold text or a table; which of the
two goes by its name. Hidden files and folders, and what the name of a file says is no text, are left out, and said.
"""

from __future__ import annotations

import hashlib
import lzma
import os
import stat
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import accumulate
from pathlib import Path, PurePosixPath
from typing import Literal
from zipfile import BadZipFile, ZipFile

from engine.errors import CorpusError
from engine.files import reason
from engine.text.magic import HEAD, PACKED_SUFFIXES, document_in_zip, is_parquet, is_plain, is_zip, packing
from engine.text.scan import Progress, check_file, opened
from engine.text.unpack import ALWAYS, BLOCK, TIMES, too_much, unpacked
from engine.text.utf8 import utf8

Format = Literal["text", "csv", "jsonl", "parquet"]
FORMATS: dict[str, Format] = {
    ".csv": "csv", ".tsv": "csv", ".jsonl": "jsonl", ".ndjson": "jsonl", ".json": "jsonl", ".parquet": "parquet",
}  # fmt: skip
MOST_PARTS = 200_000  # files in a folder or members of an archive
MEMBER = 256  # bytes that a member takes in an archive's directory, with a long name
BESIDE_TABLES = ("readme", "license", "licence", "dataset_info", "changelog", "citation")


@dataclass(frozen=True)
class Part:
    """One file or archive member. `name` is what errors call it, `inner` its path within the source, with slashes."""

    name: str
    inner: str
    format: Format
    n_bytes: int
    """On the disk; of an archive's member, what the archive says that it unpacks to."""
    path: Path
    stamp: tuple[int, int] = (0, 0)
    """When it changed last, and its inode: what tells a changed file from the same one."""

    @property
    def tabs(self) -> bool:
        """Whether the values of a table are parted by tabs."""
        return _suffix(self.inner) == ".tsv"


class Source:
    """The parts of what lies at a path. To be closed, or used in a `with`.

    `single` is its only part where the path is a file that is no archive; its format is the one that is given, or that
    its name and beginning tell; `plain` says that it is neither compressed nor to be converted. `skipped` are (inner
    path, why) of what is left out, and grows when parts turn out to be no text. Raises CorpusError for what is missing
    or cannot be read.
    """

    def __init__(self, path: Path, format: Format | None = None) -> None:
        self.path = path
        self._given = format
        self.skipped: list[tuple[str, str]] = []
        self.hidden = 0
        self.done = 0  # bytes read, as progress counts them: those of the parts before, and of this one
        self._zip: ZipFile | None = None
        self._unpacked = 0
        self.single: Part | None = None
        self.plain = False
        if path.is_dir():
            self.parts = self._in_folder()
        else:
            self.packed_bytes = check_file(path)
            with opened(path) as file:
                head = file.read(HEAD)
            if is_zip(head):
                self.parts = self._in_zip()
            else:
                self.plain = is_plain(head)
                self.single = self._file(path, head)
                self.parts = [self.single]
        sizes = [part.n_bytes for part in self.parts]
        self._before = dict(zip((part.inner for part in self.parts), accumulate([0, *sizes]), strict=False))
        self.n_bytes = sum(sizes)

    def __enter__(self) -> Source:
        return self

    def __exit__(self, *error: object) -> None:
        if self._zip is not None:
            self._zip.close()

    @property
    def format(self) -> Format:
        """What all parts are; `text` when they are not all tables of one kind."""
        found = {part.format for part in self.parts}
        return found.pop() if len(found) == 1 else "text"

    @property
    def fraction(self) -> float:
        """How much of it was read."""
        return min(1.0, self.done / max(1, self.n_bytes))

    def at(self, part: Part, fraction: float) -> None:
        """Says how far a part is read, for one that is not read through `blocks`."""
        self.done = self._before[part.inner] + int(fraction * part.n_bytes)

    def state(self) -> list[object]:
        """What tells whether it changed, without reading it: equal for the same files, unchanged."""
        if self.path.is_dir():
            return [os.fspath(self.path.resolve()), *([part.inner, part.n_bytes, *part.stamp] for part in self.parts)]
        status = self.path.stat()
        return [os.fspath(self.path.resolve()), status.st_size, *_stamp(status)]

    def again(self) -> list[object]:
        """Its `state` as it is now, which differs when something changed since."""
        with Source(self.path, self._given) as now:
            return now.state()

    def newest(self) -> int:
        """When any of its files changed last, in nanoseconds."""
        if self.path.is_dir():
            return max(part.stamp[0] for part in self.parts)
        return self.path.stat().st_mtime_ns

    def digest(self, progress: Progress | None = None) -> str:
        """SHA-256 of the file's bytes; of a folder, of the paths and bytes of all its parts."""
        if not self.path.is_dir():
            return self._sha256(self.path, 0, progress).hexdigest()
        whole, done = hashlib.sha256(), 0
        for part in self.parts:
            whole.update(os.fsencode(part.inner) + b"\0" + self._sha256(part.path, done, progress).digest())
            done += part.n_bytes
        return whole.hexdigest()

    def _sha256(self, path: Path, done: int, progress: Progress | None) -> hashlib._Hash:
        digest = hashlib.sha256()
        with opened(path) as file:
            while block := file.read(BLOCK):
                digest.update(block)
                done += len(block)
                if progress is not None:
                    progress("checking", min(1.0, done / max(1, self.n_bytes)))
        return digest

    def blocks(self, part: Part) -> Iterator[bytes]:
        """The part's content as valid UTF-8. Raises CorpusError when it is damaged or no text."""
        return utf8(self._raw(part), part.name)

    def _raw(self, part: Part) -> Iterator[bytes]:
        before = self.done = self._before[part.inner]
        if self._zip is not None:
            yield from self._member(self._zip, part)
        else:
            with opened(part.path) as file:
                head = file.read(HEAD)
                file.seek(0)
                for block in unpacked(file, packing(head), part.name, part.n_bytes):
                    self.done = before + file.tell()
                    yield block
        self.done = before + part.n_bytes

    def _member(self, archive: ZipFile, part: Part) -> Iterator[bytes]:
        most = max(ALWAYS, TIMES * self.packed_bytes)
        try:
            with archive.open(part.inner) as file:
                for block in unpacked(file, packing(file.peek(HEAD)), part.name, self.packed_bytes):  # type: ignore[arg-type,attr-defined]
                    self._unpacked += len(block)
                    self.done += len(block)
                    if self._unpacked > 2 * most:  # every member is read twice, and they may all be the same bytes
                        raise too_much(str(self.path), self.packed_bytes, most)
                    yield block
        except RuntimeError:
            raise CorpusError(f"{part.name} is encrypted; unpack it yourself and name its folder") from None
        except (BadZipFile, OSError, EOFError, zlib.error, lzma.LZMAError) as error:
            raise CorpusError(
                f"{part.name} is damaged ({' '.join(str(error).split())}); get the archive again"
            ) from None

    def _file(self, path: Path, head: bytes) -> Part:
        status = path.stat()
        format = "parquet" if is_parquet(head) else self._given or _format(path.name)
        if format == "parquet" and not is_parquet(head):
            raise CorpusError(f"{path} is not the Parquet table that its name says; get it again")
        return Part(str(path), path.name, format, status.st_size, path, _stamp(status))

    def _in_zip(self) -> list[Part]:
        if _directory_bytes(self.path) > MOST_PARTS * MEMBER:  # it would all be held in memory
            raise self._too_many()
        try:
            self._zip = ZipFile(self.path)
        except (BadZipFile, OSError, NotImplementedError, ValueError) as error:
            raise CorpusError(
                f"{self.path} is a damaged zip archive ({' '.join(str(error).split())}); get it again"
            ) from None
        infos = [info for info in self._zip.infolist() if not info.is_dir()]
        if (what := document_in_zip(frozenset(info.filename for info in infos))) is not None:
            raise CorpusError(f"{self.path} is {what}, and a corpus is text; save it as plain text first")
        parts: list[Part] = []
        for info in sorted(infos, key=lambda info: info.filename):
            inner = info.filename
            if self._kept(inner, info.file_size, parts):
                parts.append(Part(f"{self.path}: {inner}", inner, _format(inner), info.file_size, self.path))
        packed = [part for part in parts if part.format == "parquet"]  # read from its end, which here cannot be
        self.skipped += [(part.inner, "a Parquet table; unpack it") for part in packed]
        return self._chosen([part for part in parts if part not in packed])

    def _in_folder(self) -> list[Part]:
        parts: list[Part] = []

        def refused(error: OSError) -> None:
            self.skipped.append((os.path.relpath(error.filename or "", self.path), reason(error)))

        for folder, inside, names in os.walk(self.path, onerror=refused):
            self.hidden += sum(name.startswith(".") for name in inside)
            inside[:] = [name for name in inside if not name.startswith(".")]
            for name in names:
                path = Path(folder) / name
                inner = path.relative_to(self.path).as_posix()
                try:
                    status = path.stat()
                except OSError as error:
                    self.skipped.append((inner, reason(error)))
                    continue
                if not stat.S_ISREG(status.st_mode):
                    self.skipped.append((inner, "no regular file"))
                elif self._kept(inner, status.st_size, parts):
                    parts.append(Part(str(path), inner, _format(inner), status.st_size, path, _stamp(status)))
        return self._chosen(sorted(parts, key=lambda part: part.inner))

    def _too_many(self) -> CorpusError:
        return CorpusError(f"{self.path} holds over {MOST_PARTS:,} files; name a smaller part of it")

    def _kept(self, inner: str, n_bytes: int, parts: list[Part]) -> bool:
        """Whether a file of a folder or archive may be text at all, by its name and size."""
        if len(parts) >= MOST_PARTS:
            raise self._too_many()
        if any(part.startswith(".") or part == "__MACOSX" for part in PurePosixPath(inner).parts):
            self.hidden += 1
            return False
        return n_bytes > 0

    def _chosen(self, parts: list[Part]) -> list[Part]:
        """The tables alone where all but what describes them is tables of one kind; else all that is text."""
        tables = {part.format for part in parts if part.format != "text"}
        others = [part for part in parts if part.format == "text" or _describes(part.inner)]
        main = [part for part in parts if part not in others]
        if len(tables) == 1 and main and all(_describes(part.inner) for part in others):
            self.skipped += [(part.inner, "it stands beside tables") for part in others]
            return main
        self.skipped += [(part.inner, "a Parquet table among texts") for part in parts if part.format == "parquet"]
        kept = [part for part in parts if part.format != "parquet"]
        if not kept:
            raise self.nothing()
        return [replace(part, format="text") for part in kept]

    def left_out(self, counted: Mapping[str, int]) -> str:
        """What was counted and what was skipped, in words: `3 system messages, logo.png (a PNG image), 2 hidden`."""
        said = in_words(counted)
        said += [f"{inner} ({why})" for inner, why in self.skipped[:4]]
        if len(self.skipped) > 4:
            said.append(f"{len(self.skipped) - 4:,} more")
        if self.hidden:
            said.append(f"{self.hidden:,} hidden")
        return ", ".join(said)

    def nothing(self, what: str = "text") -> CorpusError:
        """What is said where nothing is in it that can be trained on."""
        left_out = self.left_out({})
        return CorpusError(
            f"no {what} in {self.path}{f'; left out: {left_out}' if left_out else ''}; a corpus needs text"
        )


def in_words(counted: Mapping[str, int]) -> list[str]:
    """How many of what: `3 system messages`."""
    return [f"{count:,} {what}{'s' if count > 1 else ''}" for what, count in counted.items()]


def _format(name: str) -> Format:
    return FORMATS.get(_suffix(name), "text")


def _suffix(name: str) -> str:
    return PurePosixPath(_without_packing(name)).suffix.lower()


def _without_packing(name: str) -> str:
    """The name without `.gz` and the like: what the file is when it is unpacked."""
    lower = name.lower()
    return next((name[: -len(suffix)] for suffix in PACKED_SUFFIXES if lower.endswith(suffix)), name)


def stem(path: Path) -> str:
    """The name of a corpus made of `path`: without `.gz`, `.zip` and without the format's own suffix."""
    if path.is_dir():
        return path.resolve().name
    return PurePosixPath(_without_packing(path.name)).stem


def known_suffix(path: Path) -> bool:
    """Whether a word ends like the name of a file that can be a corpus."""
    return path.suffix.lower() in (".txt", ".zip", *FORMATS, *PACKED_SUFFIXES)


def _describes(inner: str) -> bool:
    name = PurePosixPath(inner).name.lower()
    return name.endswith(".md") or name.startswith(BESIDE_TABLES)


def _stamp(status: os.stat_result) -> tuple[int, int]:
    return status.st_mtime_ns, status.st_ino


def _directory_bytes(path: Path) -> int:
    """How long the list of members is that ends a zip archive; 0 when it says nothing that is understood."""
    with opened(path) as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - (1 << 16) - 100))
        tail = file.read()
        place = tail.rfind(b"PK\x05\x06")
        if place < 0 or len(tail) < place + 16:
            return 0
        length = int.from_bytes(tail[place + 12 : place + 16], "little")
        if length == 0xFFFFFFFF and tail[place - 20 : place - 16] == b"PK\x06\x07":  # a 64-bit archive says it before
            file.seek(min(size, int.from_bytes(tail[place - 12 : place - 4], "little")))
            length = int.from_bytes(file.read(48)[40:48], "little")
        return length


def raw(part: Part, start: int, before: int = 0) -> Iterator[bytes]:
    """A part's own bytes from `start` on, and up to so many before them."""
    with opened(part.path) as file:
        file.seek(max(0, start - before))
        while block := file.read(BLOCK):
            yield block
