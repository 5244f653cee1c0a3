"""A text of any size as pages: any one is read by itself, and nothing before it.

Page number n begins at the first line (or record) that begins at or after byte n * size, and ends where the next one
begins; so the pages lie one after the other, none is empty, and where a page begins is found by one read of `size`
bytes. A line that is longer than a page goes on over the next ones.
"""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import BinaryIO

from engine.errors import CorpusError
from engine.files import reason
from engine.text.corpus import Corpus, Text
from engine.text.render import Recipe, pieces
from engine.text.source import Source

SIZE = 4096  # bytes of a page; of one that ends with a line at most twice that
MOST_RECORD = 1 << 16  # bytes of a record that are shown
REACH = 1 << 24  # bytes to either side in which the ends of a record are looked for
_BLOCK = 1 << 16
LOOKED_THROUGH = 1 << 22  # bytes at a time
AROUND = 400  # bytes of the text to either side


@dataclass(frozen=True)
class Page:
    """Bytes [start, end) of a text; `goes_on` says that it begins inside a line or record."""

    number: int
    start: int
    end: int
    text: str
    goes_on: bool = False


class Pages:
    """The pages of a text, cut at lines, or with `records` at its records. Holds nothing open.

    Raises CorpusError when the file cannot be read or has become shorter.
    """

    def __init__(self, text: Text, size: int = SIZE, records: bool = False) -> None:
        self.text, self.size = text, max(8, size)  # a character has 4 bytes, and no page is empty
        self.mark = text.boundary.encode() if records and text.boundary else b"\n"

    def __len__(self) -> int:
        return max(1, -(-(self.text.n_bytes - 3) // self.size))  # 3: where the last begins, a character may go on

    def page(self, number: int) -> Page:
        """Page `number`, from 0; beyond the ends the first or last."""
        number = max(0, min(number, len(self) - 1))
        with _opened(self.text) as file:
            start, goes_on = self._start(file, number)
            end, _ = self._start(file, number + 1)
            return Page(number, start, end, _read(self.text, file, start, end), goes_on)

    def number_at(self, offset: int) -> int:
        """The number of the page that byte `offset` stands on."""
        number = max(0, min(offset // self.size, len(self) - 1))
        with _opened(self.text) as file:
            return number - (number > 0 and self._start(file, number)[0] > offset)

    def at_percent(self, percent: float) -> Page:
        """The page so far into the text; 100 is the last."""
        return self.page(self.number_at(int(min(max(percent, 0.0), 100.0) / 100 * max(0, self.text.n_bytes - 1))))

    def _start(self, file: BinaryIO, number: int) -> tuple[int, bool]:
        """Where a page begins, and whether that is inside a line."""
        low = number * self.size
        if number == 0 or number >= len(self):
            return (self.text.n_bytes if number else 0), False
        # a mark that ends at `low` or later, so that what follows it is on this page, but not at the text's end
        before = max(0, low - len(self.mark))
        last = min(low + self.size, self.text.n_bytes)
        file.seek(before)
        data = file.read(last - before)
        place = data.find(self.mark)
        start = before + place + len(self.mark)
        if place >= 0 and start < last:
            return start, False
        at = low - before
        while at < len(data) and 0x80 <= data[at] <= 0xBF:  # forward to the next character
            at += 1
        return before + at, True


@dataclass(frozen=True)
class Record:
    """Bytes [start, end) of a text, with what ends them. Of a long one `text` is only the beginning."""

    start: int
    end: int
    text: str
    whole: bool = True


def record_at(text: Text, offset: int) -> Record:
    """The record that byte `offset` stands in; lines where the text has no records.

    The next begins at its end, the one before ends at its start. Ends are looked for within REACH to either side.
    """
    mark = text.boundary.encode() if text.boundary else b"\n"
    offset = max(0, min(offset, text.n_bytes - 1))
    with _opened(text) as file:
        start = _mark_before(file, mark, offset)
        end = _mark_after(file, mark, start, offset, text.n_bytes)
        shown = min(end, start + MOST_RECORD)
        return Record(start, end, _read(text, file, start, shown), shown == end)


def _mark_before(file: BinaryIO, mark: bytes, offset: int) -> int:
    """Where the last mark that ends at or before `offset` ends; 0, or REACH before it, when there is none."""
    high, least = offset, max(0, offset - REACH)
    while high > least:
        low = max(least, high - _BLOCK)
        file.seek(low)
        place = file.read(min(high + len(mark) - 1, offset) - low).rfind(mark)
        if place >= 0:
            return low + place + len(mark)
        high = low
    return least


def _mark_after(file: BinaryIO, mark: bytes, start: int, offset: int, n_bytes: int) -> int:
    """Where the first mark after `start` that ends after `offset` ends; the text's end, or REACH, without one."""
    low, most = max(start, offset - len(mark) + 1), min(n_bytes, offset + REACH)
    while low < most:
        file.seek(low)
        place = file.read(_BLOCK + len(mark) - 1).find(mark)
        if place >= 0:
            return min(n_bytes, low + place + len(mark))
        low += _BLOCK
    return most


@dataclass(frozen=True)
class Place:
    """Bytes [start, end) of a text, which are `passage`, with what stands before and after."""

    start: int
    end: int
    before: str
    passage: str
    after: str


def find_passage(
    text: Text, passage: str, end: int | None = None, cancelled: Callable[[], bool] = lambda: False
) -> Place | None:
    """Where `passage` first stands in the bytes [0, end) of the text; None where it does not, or when `cancelled`.

    Read in blocks: memory does not grow with the text. Raises CorpusError when the file cannot be read.
    """
    wanted = passage.encode("utf-8", "surrogatepass")
    end = text.n_bytes if end is None else end
    if not wanted:
        return None
    with _opened(text) as file:
        for low in range(0, max(1, end - len(wanted) + 1), LOOKED_THROUGH):
            if cancelled():
                return None
            file.seek(low)
            found = file.read(min(LOOKED_THROUGH + len(wanted) - 1, end - low)).find(wanted)
            if found >= 0:
                start, stop = low + found, low + found + len(wanted)
                file.seek(max(0, start - AROUND))
                before = file.read(min(AROUND, start)).decode("utf-8", "ignore")  # less half a character at an end
                file.seek(stop)
                return Place(start, stop, before, passage, file.read(AROUND).decode("utf-8", "ignore"))
    return None


@dataclass(frozen=True)
class Beginning:
    """How the text of a corpus begins; `whole` when that is all of it."""

    text: str
    whole: bool


def beginning(corpus: Corpus, most: int = 1 << 16) -> Beginning:
    """The first `most` characters of a corpus that need not be prepared: unpacked and rendered only so far.

    Parts that are no text are left out, as they will be. Raises CorpusError for what is missing, damaged or made only
    when it is first trained on.
    """
    if corpus.problem is not None:
        raise CorpusError(corpus.problem)
    if corpus.builder is not None:
        raise CorpusError(f"{corpus.name} is made when it is first used: tinytui corpora show {corpus.name}")
    if corpus.url is not None and not corpus.path.is_file():
        raise CorpusError(f"{corpus.name} is not on this machine yet: tinytui corpora fetch {corpus.name}")
    recipe = Recipe(corpus.columns, corpus.chat, corpus.template, corpus.boundary)
    held = bytearray()
    with Source(corpus.path, corpus.format) as source:
        for piece in pieces(source, recipe, Counter(), looked_at=1):
            held += piece or b""
            if len(held) > 4 * most:
                break
    text = held.decode("utf-8", "ignore")  # less half a character at the end
    return Beginning(text[:most], len(text) <= most)


@contextlib.contextmanager
def _opened(text: Text) -> Iterator[BinaryIO]:
    try:
        with text.path.open("rb") as file:
            yield file
    except OSError as error:
        raise CorpusError(f"cannot read {text.path}: {reason(error)}; prepare the corpus again") from None


def _read(text: Text, file: BinaryIO, start: int, end: int) -> str:
    file.seek(start)
    data = file.read(end - start)
    if len(data) < end - start:
        raise CorpusError(f"{text.path} became shorter while it was read; start again")
    return data.decode("utf-8", "replace")  # where a long record was cut, or the file changed
