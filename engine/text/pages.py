"""Looking at a text of any size, no more of it read than is shown: its pages, its beginning, the first rows of a table.

Page number n begins at the first line that begins at or after byte n * size, and ends where the next one
begins; so the pages lie one after the other, none is empty, and where a page begins is found by one read of `size`
bytes. A line that is longer than a page goes on over the next ones.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO

from engine.errors import CorpusError
from engine.text.corpus import Corpus, Text
from engine.text.prepared import is_prepared, no_text
from engine.text.render import pieces
from engine.text.rows import columns_of, rows_of
from engine.text.scan import opened
from engine.text.source import Format, Source
from engine.text.tables import choose_columns

ROWS = 20  # of a table
CELL = 200  # characters of a value that are shown
MOST_COLUMNS = 200
SIZE = 4096  # bytes of a page; of one that ends with a line at most twice that
LOOKED_THROUGH = 1 << 22  # bytes at a time
AROUND = 400  # bytes of the text to either side


@dataclass(frozen=True)
class Page:
    """Bytes [start, end) of a text."""

    number: int
    start: int
    end: int
    text: str


class Pages:
    """The pages of a text. Holds nothing open.

    Raises CorpusError when the file cannot be read or has become shorter.
    """

    def __init__(self, text: Text, size: int = SIZE) -> None:
        self.text, self.size = text, max(8, size)  # a character has 4 bytes, and no page is empty

    def __len__(self) -> int:
        return max(1, -(-(self.text.n_bytes - 3) // self.size))  # 3: where the last begins, a character may go on

    def page(self, number: int) -> Page:
        """Page `number`, from 0; beyond the ends the first or last."""
        number = max(0, min(number, len(self) - 1))
        with opened(self.text.path) as file:
            start, end = self._start(file, number), self._start(file, number + 1)
            file.seek(start)
            data = file.read(end - start)
        if len(data) < end - start:
            raise CorpusError(f"{self.text.path} became shorter while it was read; start again")
        # replaced: where a long record was cut, or the file changed
        return Page(number, start, end, data.decode("utf-8", "replace"))

    def _start(self, file: BinaryIO, number: int) -> int:
        """Where a page begins."""
        low = number * self.size
        if number == 0 or number >= len(self):
            return self.text.n_bytes if number else 0
        # a line end at `low` - 1 or later, so that what follows it is on this page, but not at the text's end
        before = max(0, low - 1)
        last = min(low + self.size, self.text.n_bytes)
        file.seek(before)
        data = file.read(last - before)
        start = before + data.find(b"\n") + 1
        if before < start < last:
            return start
        at = low - before
        while at < len(data) and 0x80 <= data[at] <= 0xBF:  # forward to the next character
            at += 1
        return before + at


@dataclass(frozen=True)
class Place:
    """Bytes [start, end) of a text, which are `passage`, with what stands before and after."""

    start: int
    end: int
    before: str
    passage: str
    after: str


def find_passage(text: Text, passage: str, cancelled: Callable[[], bool] = lambda: False) -> Place | None:
    """Where `passage` first stands in the text; None where it does not, or when `cancelled`.

    Read in blocks: memory does not grow with the text. Raises CorpusError when the file cannot be read.
    """
    wanted = passage.encode("utf-8", "surrogatepass")
    if not wanted:
        return None
    with opened(text.path) as file:
        for low in range(0, max(1, text.n_bytes - len(wanted) + 1), LOOKED_THROUGH):
            if cancelled():
                return None
            file.seek(low)
            found = file.read(LOOKED_THROUGH + len(wanted) - 1).find(wanted)
            if found >= 0:
                start, stop = low + found, low + found + len(wanted)
                file.seek(max(0, start - AROUND))
                before = file.read(min(AROUND, start)).decode("utf-8", "ignore")  # less half a character at an end
                file.seek(stop)
                return Place(start, stop, before, passage, file.read(AROUND).decode("utf-8", "ignore"))
    return None


def beginning(corpus: Corpus, most: int) -> str:
    """The first `most` characters of a corpus that need not be prepared: unpacked and rendered only so far.

    Parts that are no text are left out, as they will be. Raises CorpusError for what is missing, damaged or made only
    when it is first trained on.
    """
    corpus.check()
    if corpus.builder is not None:
        raise CorpusError(f"{corpus.name} is made when it is first used: tinytui corpora show {corpus.name}")
    held = bytearray()
    with Source(corpus.path, corpus.format) as source:
        for piece in pieces(source, corpus.recipe, Counter(), looked_at=1):
            held += piece or b""
            if len(held) > 4 * most:
                break
    return held.decode("utf-8", "ignore")[:most]  # less half a character at the end


@dataclass(frozen=True)
class TablePreview:
    """The columns of a table and its first rows, values as texts ("" where a row has none), cut to CELL characters.

    `chosen` are the columns that would be trained on, the prompt's and the response's or one, and `chat` says that it
    holds conversations; nothing is chosen where no name is a usual one. `more_columns` are not shown. `problem` says
    what is wrong with the row after the last that is shown.
    """

    format: Format
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    chosen: tuple[str, ...]
    chat: bool
    more_columns: int = 0
    problem: str = ""


def preview_table(path: Path, rows: int = ROWS) -> TablePreview | None:
    """The beginning of the table at `path`, read only so far; None for what is text.

    Raises CorpusError for what is missing, damaged, needs an extra, or is tokens.
    """
    if is_prepared(Path(path).expanduser()):
        raise CorpusError(no_text(path))
    with Source(Path(path).expanduser()) as source:
        if source.format == "text":
            return None
        part = source.parts[0]
        names, _ = columns_of(source, part)
        found: list[dict[str, Any]] = []
        problem = ""
        try:
            for _, row in islice(rows_of(source, part), rows):
                found.append(row)
        except CorpusError as error:
            problem = str(error)
        try:
            chosen, chat = choose_columns(source)
        except CorpusError:
            chosen, chat = (), False
        columns = list(dict.fromkeys([*names, *(str(key) for row in found for key in row)]))
        shown = [*chosen, *(name for name in columns if name not in chosen)] if len(columns) > MOST_COLUMNS else columns
        return TablePreview(
            source.format,
            tuple(shown[:MOST_COLUMNS]),
            tuple(tuple(_cell(row.get(name)) for name in shown[:MOST_COLUMNS]) for row in found),
            chosen,
            chat,
            max(0, len(columns) - MOST_COLUMNS),
            problem,
        )


def _cell(value: Any) -> str:
    """A value in a few words: of a conversation what was said first."""
    if value is None:
        return ""
    if isinstance(value, list) and value and isinstance(value[0], dict):
        first = value[0]
        said = first.get("content", first.get("value", ""))
        value = f"{len(value)} messages: {said}"
    return str(value)[:CELL]
