"""Rows out of the parts of a source: CSV, JSON (an object a line, or a list of objects) and Parquet, one at a time."""

from __future__ import annotations

import contextlib
import csv
import json
import re
from collections.abc import Iterator, Sequence
from itertools import chain
from typing import Any, TextIO

from engine.errors import CorpusError
from engine.text.magic import HEAD
from engine.text.source import Part, Source
from engine.text.utf8 import as_lines

LONGEST = 1 << 24  # characters in one line, field or object; more is a missing quote or not a table at all
csv.field_size_limit(LONGEST)  # the csv module's own limit of 128 KiB is less than some honest documents
WIDEST = 10_000  # columns of a table
_PIECE = 1 << 20
_PARQUET_ROWS = 1000  # read at once
_BETWEEN = {",": "commas", ";": "semicolons", "\t": "tabs"}  # values; the first that the header has
_SPACE = re.compile(r"[ \t\r\n]*")

Row = tuple[str, dict[str, Any]]  # where it stands (`faq.csv, line 3`), and its values by column


def rows_of(source: Source, part: Part, columns: tuple[str, ...] = ()) -> Iterator[Row]:
    """The rows of a table; of a Parquet table only `columns`, where named. A row of an empty line is left out.

    Raises CorpusError naming the line of a ragged row, an unclosed quote or an invalid object.
    """
    if part.format == "parquet":
        with _parquet(part) as table:
            of = max(1, table.metadata.num_rows)
            for number, row in enumerate(_batched(table, columns), 1):
                yield f"{part.name}, row {number}", row
                source.at(part, number / of)
        return
    read = _csv_rows if part.format == "csv" else _objects_of_list if is_list(source, part) else _objects_of_lines
    with as_lines(source.blocks(part)) as file:
        yield from read(file, part)


def columns_of(source: Source, part: Part) -> tuple[list[str], dict[str, Any]]:
    """The names of a table's columns, and its first row; both empty when there is none."""
    if part.format == "csv":
        with as_lines(source.blocks(part)) as file:
            return _table(file, part)[1], {}
    first = next(rows_of(source, part), ("", {}))[1]
    if part.format == "parquet":
        with _parquet(part) as table:
            return [str(name) for name in table.schema_arrow.names], first
    return [str(key) for key in first], first


def _lines(file: TextIO, part: Part) -> Iterator[str]:
    """The lines of a file, none longer than memory should hold."""
    number = 0
    while line := file.readline(LONGEST + 1):
        number += 1
        if len(line) > LONGEST:
            raise CorpusError(f"{part.name}, line {number}: {_too_long('a line')}")
        yield line


def _too_long(what: str) -> str:
    return f"{what} of over {LONGEST:,} characters; part it, or train on it as a text file"


def _table(file: TextIO, part: Part) -> tuple[Any, list[str], str]:
    """A reader of the rows of a CSV file, its header, and what stands between values."""
    lines = _lines(file, part)
    first = next(lines, "")
    delimiter = "\t" if part.tabs else next((mark for mark in _BETWEEN if mark in first), ",")
    rows = csv.reader(chain([first], lines), delimiter=delimiter, strict=True)
    try:
        header = [name.strip() for name in next(rows, [])]
    except csv.Error as error:
        raise CorpusError(f"{part.name}, line 1: {error}; is a quote missing?") from None
    if len(header) > WIDEST:
        raise CorpusError(f"{part.name} has {len(header):,} columns in its first line; is it a table?")
    return rows, header, delimiter


def _csv_rows(file: TextIO, part: Part) -> Iterator[Row]:
    rows, header, delimiter = _table(file, part)
    line = rows.line_num + 1
    # of equal names the first counts
    distinct = [name if header.index(name) == place else f"{name} {place}" for place, name in enumerate(header)]
    try:
        for row in rows:
            where = f"{part.name}, line {line}"
            if row and len(row) != len(header):
                raise CorpusError(
                    f"{where}: {len(row)} values where the header has {len(header)} columns; "
                    f"quote values that contain {_BETWEEN[delimiter]}"
                )
            if row:
                yield where, dict(zip(distinct, row, strict=True))
            line = rows.line_num + 1
    except csv.Error as error:
        raise CorpusError(f"{part.name}, line {rows.line_num}: {error}; is a quote missing?") from None


def is_list(source: Source, part: Part) -> bool:
    """Whether the first thing in a JSON file is a list."""
    with as_lines(source.blocks(part)) as file:
        while piece := file.read(HEAD):
            if begin := piece.lstrip():
                return begin.startswith("[")
    return False


def _objects_of_lines(file: TextIO, part: Part) -> Iterator[Row]:
    for number, line in enumerate(_lines(file, part), 1):
        if not line.strip():
            continue
        where = f"{part.name}, line {number}"
        yield where, object_of(line, where)


def object_of(line: str | bytes, where: str) -> dict[str, Any]:
    """The object of one line of JSONL. Raises CorpusError that says where it is none."""
    try:
        value = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise CorpusError(f"{where}: not valid JSON ({_why(error)}); JSONL has one object a line") from None
    if not isinstance(value, dict):
        raise CorpusError(f"{where}: not a JSON object; JSONL has one object a line")
    return value


class _Window:
    """The part of a long text that is looked at: what was passed is let go, more is read as it is needed."""

    def __init__(self, file: TextIO) -> None:
        self._file = file
        self.text, self.place = "", 0

    def more(self) -> bool:
        """Whether there was more to read: as much again as is held."""
        self.text, self.place = self.text[self.place :], 0
        piece = self._file.read(max(_PIECE, len(self.text)))
        self.text += piece
        return bool(piece)

    def next(self) -> str:
        """The next character that is no white space, not passed yet; "" at the end."""
        while True:
            found = _SPACE.match(self.text, self.place)
            self.place = found.end() if found else self.place
            if self.place < len(self.text) or not self.more():
                return self.text[self.place : self.place + 1]


def _objects_of_list(file: TextIO, part: Part) -> Iterator[Row]:
    """The objects of `[{…}, {…}]`, each decoded as soon as it is read."""
    window, number = _Window(file), 0
    window.next()  # the opening bracket
    window.place += 1
    while window.next() != "]":
        number += 1
        where = f"{part.name}, object {number}"
        if number > 1:
            if window.next() != ",":
                raise CorpusError(f"{where}: not valid JSON (there is no comma before it)")
            window.place += 1
        value = _object(window, where)
        if not isinstance(value, dict):
            raise CorpusError(f"{where}: not a JSON object; a corpus is a list of objects, or one object a line")
        yield where, value
    window.place += 1
    if window.next():
        raise CorpusError(f"{part.name}: there is more after the end of its list; JSON has one list a file")


def _object(window: _Window, where: str) -> Any:
    decoder = json.JSONDecoder()
    while True:
        window.next()
        try:
            value, window.place = decoder.raw_decode(window.text, window.place)
            return value
        except (ValueError, RecursionError) as error:
            if len(window.text) - window.place > LONGEST:
                raise CorpusError(f"{where}: not valid JSON, or {_too_long('an object')}") from None
            if isinstance(error, RecursionError) or not window.more():
                raise CorpusError(f"{where}: not valid JSON ({_why(error)})") from None


def _why(error: BaseException) -> str:
    return error.msg if isinstance(error, json.JSONDecodeError) else "it cannot be read"


def row_groups(part: Part) -> list[int]:
    """The bytes of each group of rows of a Parquet table, unpacked: the least that is read of one by itself."""
    with _parquet(part) as table:
        return [int(table.metadata.row_group(group).total_byte_size) for group in range(table.num_row_groups)]


def rows_of_groups(part: Part, columns: tuple[str, ...], groups: Sequence[int]) -> Iterator[Row]:
    """The rows of some groups of a Parquet table, numbered within them."""
    with _parquet(part) as table:
        for number, row in enumerate(_batched(table, columns, list(groups)), 1):
            yield f"{part.name}, row {number} of groups {groups[0]} to {groups[-1]}", row


def _batched(table: Any, columns: tuple[str, ...], groups: list[int] | None = None) -> Iterator[dict[str, Any]]:
    """The rows of a Parquet table, or of some groups of them; so many are in memory at once."""
    for batch in table.iter_batches(_PARQUET_ROWS, groups, list(columns) or None, use_threads=False):
        yield from batch.to_pylist()


@contextlib.contextmanager
def _parquet(part: Part) -> Iterator[Any]:
    """Raises CorpusError when it is damaged, or pyarrow, an extra, is not here."""
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        raise CorpusError(
            f"{part.name} is a Parquet table; to read it: pip install 'tinytui[parquet]', or save it as CSV or JSONL"
        ) from None
    try:
        with pyarrow.parquet.ParquetFile(part.path, memory_map=True) as table:
            yield table
    except (pyarrow.ArrowException, OSError, UnicodeDecodeError) as error:
        words = " ".join(str(error).split())[:200]
        raise CorpusError(f"{part.name} is a damaged Parquet table ({words}); get it again") from None
