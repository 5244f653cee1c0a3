"""Any part of a large text by itself: the characters of a range of bytes, what begins in it between two marks."""

from __future__ import annotations

import codecs
from collections.abc import Iterator

from engine.errors import CorpusError
from engine.text.rows import LONGEST
from engine.text.source import Part, reading
from engine.text.utf8 import not_utf8

_BLOCK = 1 << 20
_BOM = "\ufeff"
_INSIDE = bytes(range(0x80, 0xC0))  # bytes that go on with a character


def raw(part: Part, start: int, before: int = 0) -> Iterator[bytes]:
    """A part's own bytes from `start` on, and up to so many before them."""
    with reading(part.path), part.path.open("rb") as file:
        file.seek(max(0, start - before))
        while block := file.read(_BLOCK):
            yield block


def characters(blocks: Iterator[bytes], start: int, end: int | None, at: int, name: str) -> Iterator[str]:
    """The bytes [start, end) of a stream whose blocks begin at byte `at`, from character to character."""
    decoder = codecs.getincrementaldecoder("utf-8")()
    begun = False
    for block in blocks:
        low, at = at, at + len(block)
        if at <= start:
            continue
        data = block[max(0, start - low) :]
        if not begun:  # the character that is going on belongs to what is before
            data = data.lstrip(_INSIDE) if start else data
            begun = bool(data)
        low = at - len(data)
        over = False
        if end is not None and at > end:
            behind = data[max(0, end - low) :].lstrip(_INSIDE)  # empty where a character goes on in the next block
            data, over = data[: len(data) - len(behind)], bool(behind)
        if text := _decode(decoder, data, low, name, over):
            yield text
        if over:
            return
    if text := _decode(decoder, b"", at, name, True):
        yield text


def without_bom(chunks: Iterator[str]) -> Iterator[str]:
    yield next(chunks, "").removeprefix(_BOM)
    yield from chunks


def _decode(decoder: codecs.IncrementalDecoder, data: bytes, at: int, name: str, last: bool) -> str:
    held = decoder.getstate()[0]
    try:
        text = decoder.decode(data, last)
    except UnicodeDecodeError as error:
        raise not_utf8(name, at - len(held) + error.start, (held + data)[error.start]) from None
    return _without_nul(text, data, at, name)


def decoded(data: bytes, at: int, name: str) -> str:
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        raise not_utf8(name, at + error.start, data[error.start]) from None
    return _without_nul(text.removeprefix(_BOM) if at == 0 else text, data, at, name)


def _without_nul(text: str, data: bytes, at: int, name: str) -> str:
    if "\0" in text:
        raise CorpusError(f"{name} is not text: a NUL byte at offset {at + data.index(0):,}")
    return text


def between_marks(
    blocks: Iterator[bytes], mark: bytes, start: int, end: int | None, name: str
) -> Iterator[tuple[bytes, int]]:
    """What stands between marks and begins in [start, end) of a text, each with the mark that ends it and its place.

    `blocks` begin as many bytes before `start` as the mark has, or at 0. A mark that overlaps the next one ends
    nothing (of three line ends the last two are the blank line): so it is known without all that is before.
    """
    base = max(0, start - len(mark))  # where `held` begins
    held = bytearray()
    begin = 0 if start == 0 else None  # in `held`, where the document begins; None before the first
    look = 0
    for block in _then_none(blocks):
        held += block or b""
        while (found := held.find(mark, look)) >= 0:
            after = found + len(mark)
            if block is not None and after + len(mark) - 1 > len(held):
                break  # whether another one overlaps it is not seen yet
            if (other := held.find(mark, found + 1, after + len(mark) - 1)) >= 0:
                look = other
                continue
            if begin is not None:
                yield bytes(held[begin:after]), base + begin
            begin = look = after
            if end is not None and base + begin >= end:
                return
        if found < 0:
            look = max(look, len(held) - len(mark) + 1)
        done = look if begin is None else begin
        if len(held) - done > 4 * LONGEST:
            raise CorpusError(
                f"{name}: no {mark.decode()!r} for over {LONGEST:,} characters; is that what ends a document?"
            )
        del held[:done]
        base, look, begin = base + done, look - done, None if begin is None else 0
    if begin is not None and held and (end is None or base < end):
        yield bytes(held), base


def _then_none(blocks: Iterator[bytes]) -> Iterator[bytes | None]:
    yield from blocks
    yield None
