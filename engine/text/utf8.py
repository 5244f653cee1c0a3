"""Bytes as text: any stream of bytes, or a range of one, as UTF-8; what is none is refused with its place."""

from __future__ import annotations

import codecs
import io
import shlex
from collections.abc import Iterator
from itertools import chain
from pathlib import PurePath
from typing import Any, TextIO

from engine.errors import CorpusError
from engine.text.magic import HEAD, PACKED_SUFFIXES, encoding, no_text

_BOM = "\ufeff"
INSIDE = bytes(range(0x80, 0xC0))  # bytes that go on with a character


class Decoder:
    """The bytes of `name` from offset `at` on as characters, block by block."""

    def __init__(self, name: str, at: int = 0, coded: str = "utf-8") -> None:
        self.at = at
        self._name, self._coded = name, coded
        self._decoder = codecs.getincrementaldecoder(coded)()

    def feed(self, data: bytes, last: bool = False) -> str:
        """The characters that end in `data`. Raises CorpusError where a NUL or an invalid byte stands.

        In UTF-16 and UTF-32 a NUL's place is that of the block it is in.
        """
        if self._coded == "utf-8" and b"\0" in data:
            raise self._nul(data.index(0))
        held = self._decoder.getstate()[0]  # bytes of a character that the last block cut
        try:
            text = self._decoder.decode(data, last)
        except UnicodeDecodeError as error:
            offset = max(0, self.at - len(held) + error.start)
            if self._coded == "utf-8":
                raise self._not_utf8((held + data)[error.start], offset) from None
            raise CorpusError(
                f"{self._name} is not the {self._coded.upper()} text its byte order mark says: {error.reason} near "
                f"offset {offset:,}; get it again, or convert it to UTF-8"
            ) from None
        if self._coded != "utf-8" and "\0" in text:
            raise self._nul(0)
        self.at += len(data)
        return text

    def _nul(self, place: int) -> CorpusError:
        return CorpusError(f"{self._name} is not text: a NUL byte at offset {self.at + place:,}{self._if_packed()}")

    def _not_utf8(self, wrong: int, offset: int) -> CorpusError:
        mend = f"; convert it, e.g. iconv -f ISO-8859-1 -t UTF-8 {shlex.quote(self._name)} > utf8.txt"
        said = f"{self._name} is not UTF-8 text: byte 0x{wrong:02x} at offset {offset:,}"
        return CorpusError(said + (self._if_packed() or mend))

    def _if_packed(self) -> str:
        """What to do with a packed file: one that is damaged may unpack to anything, or is not known as one."""
        suffix = PurePath(self._name).suffix.lower()
        packed = suffix in (".zip", *PACKED_SUFFIXES)
        return f"; is the {suffix} file damaged? get it again, or unpack it and convert what is in it" if packed else ""


def utf8(blocks: Iterator[bytes], name: str) -> Iterator[bytes]:
    """`blocks` as valid UTF-8 without byte order mark; UTF-16 and UTF-32 with one are converted.

    Raises CorpusError that says what a file is that is no text, or where a NUL or an invalid byte stands.
    """
    head = b""
    for block in blocks:
        head += block
        if len(head) >= HEAD:
            break
    refuse_no_text(head[:HEAD], name)
    coded, done = encoding(head), 0
    if coded == "utf-8-sig":
        coded, done, head = "utf-8", 3, head[3:]
    decoder = Decoder(name, done, coded)
    for block in chain([head] if head else [], blocks):
        yield decoder.feed(block).encode()
    decoder.feed(b"", last=True)


def characters(blocks: Iterator[bytes], start: int, end: int | None, at: int, name: str) -> Iterator[str]:
    """The bytes [start, end) of a stream whose blocks begin at byte `at`, from character to character."""
    decoder: Decoder | None = None
    for block in blocks:
        low, at = at, at + len(block)
        if at <= start:
            continue
        data = block[max(0, start - low) :]
        if decoder is None:  # the character that is going on belongs to what is before
            data = data.lstrip(INSIDE) if start else data
            if not data:
                continue
            decoder = Decoder(name, at - len(data))
        behind = b"" if end is None else data[max(0, end - at + len(data)) :].lstrip(INSIDE)
        # nothing is behind the end where a character goes on over it, perhaps in the next block
        if text := decoder.feed(data[: len(data) - len(behind)], bool(behind)):
            yield text
        if behind:
            return
    if decoder is not None:
        decoder.feed(b"", last=True)


def decoded(data: bytes, at: int, name: str) -> str:
    """The bytes from offset `at` on as text, without the mark of byte order that a file may begin with."""
    text = Decoder(name, at).feed(data, last=True)
    return text.removeprefix(_BOM) if at == 0 else text


def without_bom(chunks: Iterator[str]) -> Iterator[str]:
    """The same text without such a mark."""
    yield next(chunks, "").removeprefix(_BOM)
    yield from chunks


def refuse_no_text(head: bytes, name: str) -> None:
    """Raises CorpusError that says what a file is that begins with `head` and is no text."""
    if (what := no_text(head)) is not None:
        raise CorpusError(f"{name} is {what}, and a corpus is text{_advice(what)}")


def _advice(what: str) -> str:
    if "UTF-16" in what:
        return ""
    if "NUL bytes" in what:
        return "; get it again"
    if "tar archive" in what or "7z" in what or "RAR" in what:
        return "; unpack it and name its folder"
    if any(word in what for word in ("database", "table", "stream", "HDF5", "NumPy", "Excel")):
        return "; export its text as CSV or JSONL"
    if any(word in what for word in ("PDF", "Word", "document", "EPUB")):
        return "; save it as plain text first"
    return ""


class _Blocks(io.RawIOBase):
    """An iterator of blocks as a file to read."""

    def __init__(self, blocks: Iterator[bytes]) -> None:
        self._blocks, self._rest = blocks, memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._rest:
            try:
                self._rest = memoryview(next(self._blocks))
            except StopIteration:
                return 0
        view = memoryview(buffer).cast("B")
        size = min(len(view), len(self._rest))
        view[:size], self._rest = self._rest[:size], self._rest[size:]
        return size


def as_lines(blocks: Iterator[bytes]) -> TextIO:
    """Blocks of UTF-8 as a text file whose line ends are kept as they are."""
    return io.TextIOWrapper(io.BufferedReader(_Blocks(blocks), 1 << 16), encoding="utf-8", newline="")
