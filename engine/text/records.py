"""Records out of CSV and JSONL files, one at a time, each mistake named with its line."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, TextIO

from engine.errors import CorpusError
from engine.text.check import check_file, scan

# Pairs of columns that mean a prompt and its response, and single columns that are the text, the surest first.
PAIRS = (
    ("prompt", "response"),
    ("input", "output"),
    ("question", "answer"),
    ("instruction", "output"),
    ("instruction", "response"),
    ("prompt", "completion"),
)
SINGLES = ("text", "content")
LONGEST = 1 << 26  # characters in one line or field; more is a missing quote or not a table at all
csv.field_size_limit(LONGEST)  # the csv module's own limit of 128 KiB is less than some honest documents

Columns = tuple[str, ...]  # (prompt, response), or (text,)


def columns_in(path: Path, format: str) -> list[str]:
    """The column names of a CSV file's header, or the keys of a JSONL file's first object.

    Raises CorpusError when the file is missing, empty or not text.
    """
    check_file(path)
    try:
        if format == "jsonl":
            first = next(_objects(path), None)
            return [] if first is None else [str(key) for key in first[1]]
        with _open(path) as file:
            return [name.strip() for name in next(csv.reader(file, delimiter=_delimiter(path)), [])]
    except UnicodeDecodeError as error:
        scan(path)  # says where, in bytes
        raise CorpusError(f"{path} is not UTF-8 text: {error.reason}") from None
    except csv.Error as error:
        raise CorpusError(f"{path}, line 1: {error}") from None


def choose_columns(path: Path, format: str, prompt: str | None = None, response: str | None = None) -> Columns:
    """Which columns to train on: those named, else guessed from common names; (prompt, response), or (text,) for one.

    Raises CorpusError that lists the columns there are.
    """
    found = columns_in(path, format)
    listed = f"{path.name} has columns {', '.join(found) or '(none)'}"
    if prompt is None and response is not None:
        raise CorpusError(f"--response-column {response} needs --prompt-column as well; {listed}")
    if prompt is not None:
        wanted = (prompt,) if response is None else (prompt, response)
        for name in wanted:
            if name not in found:
                raise CorpusError(f"no column {name!r}; {listed}")
        if len(set(wanted)) < len(wanted):
            raise CorpusError(f"prompt and response are both column {prompt!r}; {listed}")
        return wanted
    by_name = {name.lower(): name for name in reversed(found)}
    for names in (*PAIRS, *((name,) for name in SINGLES)):
        if all(name in by_name for name in names):
            return tuple(by_name[name] for name in names)
    raise CorpusError(
        f"{listed}; say which to use: tinytui corpora add {path} --prompt-column NAME --response-column NAME"
    )


def read_records(path: Path, format: str, columns: Columns) -> Iterator[tuple[str, ...]]:
    """The chosen columns of every record, in the file's order; CR LF becomes LF, records of only blanks are left out.

    Raises CorpusError naming the line of a ragged row, an unclosed quote, an invalid object or a value that is no text.
    """
    rows = _csv_rows(path, columns) if format == "csv" else _jsonl_rows(path, columns)
    for values in rows:
        record = tuple(value.replace("\r\n", "\n") for value in values)
        if any(value.strip() for value in record):
            yield record


def _open(path: Path) -> TextIO:
    return path.open(encoding="utf-8-sig", newline="")


def _delimiter(path: Path) -> str:
    return "\t" if path.suffix.lower() == ".tsv" else ","


def _csv_rows(path: Path, columns: Columns) -> Iterator[Sequence[str]]:
    with _open(path) as file:
        rows = csv.reader(file, delimiter=_delimiter(path), strict=True)
        try:
            header = [name.strip() for name in next(rows, [])]
            places = [_place(name, header, path) for name in columns]
            line = rows.line_num + 1
            for row in rows:
                if row and len(row) != len(header):
                    raise CorpusError(
                        f"{path}, line {line}: {len(row)} values where the header has {len(header)} columns; "
                        "quote values that contain commas"
                    )
                if row:
                    yield [row[place] for place in places]
                line = rows.line_num + 1
        except csv.Error as error:
            raise CorpusError(f"{path}, line {rows.line_num}: {error}; is a quote missing?") from None


def _place(name: str, header: list[str], path: Path) -> int:
    if name not in header:
        raise CorpusError(f"no column {name!r}; {path.name} has columns {', '.join(header)}")
    return header.index(name)


def _objects(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Every object of a JSONL file with its line number; blank lines are passed over."""
    with _open(path) as file:
        number = 0
        while line := file.readline(LONGEST):
            number += 1
            if not line.strip():
                continue
            try:
                value = json.loads(line)
            except (ValueError, RecursionError) as error:
                words = error.msg if isinstance(error, json.JSONDecodeError) else "it cannot be read"
                raise CorpusError(
                    f"{path}, line {number}: not valid JSON ({words}); JSONL has one object a line"
                ) from None
            if not isinstance(value, dict):
                raise CorpusError(f"{path}, line {number}: not a JSON object; JSONL has one object a line")
            yield number, value


def _jsonl_rows(path: Path, columns: Columns) -> Iterator[Sequence[str]]:
    for number, value in _objects(path):
        yield [_text(value, name, f"{path}, line {number}") for name in columns]


def _text(value: dict[str, Any], name: str, where: str) -> str:
    if name not in value:
        raise CorpusError(f"{where}: no {name!r}; the object has {', '.join(map(str, value)) or 'nothing'}")
    inner = value[name]
    if inner is None:
        return ""
    if isinstance(inner, (dict, list)):
        raise CorpusError(f"{where}: {name!r} is a {type(inner).__name__}, not text")
    text = inner if isinstance(inner, str) else json.dumps(inner)
    if "\0" in text or any("\ud800" <= character <= "\udfff" for character in text):
        raise CorpusError(f"{where}: {name!r} holds a NUL or half a surrogate pair, which is no text")
    return text
