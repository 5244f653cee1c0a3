"""Bytes as text: any stream of bytes as valid UTF-8 without byte order mark, what is none refused with its place."""

from __future__ import annotations

import codecs
import io
from collections.abc import Iterator
from typing import Any, TextIO

from engine.errors import CorpusError
from engine.text.magic import HEAD, encoding, no_text


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
    decoder = codecs.getincrementaldecoder(coded)()
    for block in _and_then(head, blocks):
        text = _decoded(decoder, block, done, name, coded)
        if "\0" in text:
            raise CorpusError(f"{name} is not text: a NUL byte at offset {_nul(block, done, coded):,}")
        done += len(block)
        yield text.encode()
    _decoded(decoder, b"", done, name, coded, last=True)


def _and_then(head: bytes, blocks: Iterator[bytes]) -> Iterator[bytes]:
    if head:
        yield head
    yield from blocks


def _nul(block: bytes, done: int, coded: str) -> int:
    """The offset of the NUL in the file; for UTF-16 and UTF-32 that of the block it is in."""
    return done + (block.index(0) if coded == "utf-8" else 0)


def _decoded(
    decoder: codecs.IncrementalDecoder, block: bytes, done: int, name: str, coded: str, last: bool = False
) -> str:
    before = decoder.getstate()[0]  # bytes of a character that the last block cut
    try:
        return decoder.decode(block, last)
    except UnicodeDecodeError as error:
        offset = max(0, done - len(before) + error.start)
        if coded == "utf-8":
            raise not_utf8(name, offset, (before + block)[error.start]) from None
        raise CorpusError(
            f"{name} is not the {coded.upper()} text its byte order mark says: {error.reason} near offset {offset:,}; "
            "get it again, or convert it to UTF-8"
        ) from None


def not_utf8(name: str, offset: int, wrong: int) -> CorpusError:
    """What is said of a byte that no UTF-8 text has there."""
    short = name.replace("\\", "/").rsplit("/", 1)[-1]
    return CorpusError(
        f"{name} is not UTF-8 text: byte 0x{wrong:02x} at offset {offset:,}; "
        f"convert it, e.g. iconv -f ISO-8859-1 -t UTF-8 {short} > utf8.txt"
    )


def refuse_no_text(head: bytes, name: str) -> None:
    """Raises CorpusError that says what a file is that begins with `head` and is no text."""
    if (what := no_text(head)) is not None:
        raise CorpusError(f"{name} is {what}, and a corpus is text{_advice(what)}")


def _advice(what: str) -> str:
    if "UTF-16" in what:
        return ""
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
