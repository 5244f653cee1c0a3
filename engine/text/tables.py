"""A table: the columns to train on (two, one, or a conversation), the text they become, and its first rows."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from engine.errors import CorpusError
from engine.text.chats import chat_key, checked, turns
from engine.text.prepared import is_prepared, no_text
from engine.text.rows import columns_of, rows_of
from engine.text.source import Format, Source
from engine.text.template import Template

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
SEPARATOR = "\n\n"  # between records that have no template
CHAT_END = "\n"  # after the last turn of a conversation
ROWS = 20
CELL = 200  # characters of a value that are shown
MOST_COLUMNS = 200
NAMES, NAME = 12, 40  # columns listed in an error, and characters of each

Columns = tuple[str, ...]  # (prompt, response), or (text,), or what holds a conversation


def choose_columns(source: Source, prompt: str | None = None, response: str | None = None) -> tuple[Columns, bool]:
    """The columns of a table to train on, and whether they hold conversations; see `choose_among`."""
    found, first = columns_of(source, source.parts[0])
    advice = f"tinytui corpora add {source.path} --prompt-column NAME --response-column NAME"
    return choose_among(found, first, source.path.name, prompt, response, advice)


def choose_among(
    found: Sequence[str], first: Mapping[str, Any], name: str, prompt: str | None, response: str | None, advice: str
) -> tuple[Columns, bool]:
    """Which of the columns `found` of a table to train on, and whether they hold conversations; `first` is a row.

    Those named, else a conversation, else guessed from common names: (prompt, response), or (text,) for one. Raises
    CorpusError that lists the columns there are, with `advice` where none is named or usual.
    """
    listed = f"{name} has columns {_names(found)}"
    if prompt is None and response is not None:
        raise CorpusError(f"--response-column {response} needs --prompt-column as well; {listed}")
    if prompt is not None:
        wanted = (prompt,) if response is None else (prompt, response)
        for column in wanted:
            if column not in found:
                raise CorpusError(f"no column {column!r}; {listed}")
        if len(set(wanted)) < len(wanted):
            raise CorpusError(f"prompt and response are both column {prompt!r}; {listed}")
        return wanted, response is None and chat_key({"messages": first.get(prompt)}) is not None
    if (key := chat_key(first)) is not None:
        return (key,), True
    return _guessed(found, f"{listed}; say which to use: {advice}"), False


def _names(columns: Iterable[str]) -> str:
    """The names of columns for an error: a few, and not all of a long one, which may be a whole text by mistake."""
    listed = list(columns)
    shown = [name if len(name) <= NAME else f"{name[:NAME]}..." for name in listed[:NAMES]]
    return ", ".join([*shown, *([f"{len(listed) - NAMES:,} more"] if len(listed) > NAMES else [])]) or "(none)"


def _guessed(found: Sequence[str], otherwise: str) -> Columns:
    by_name = {name.lower(): name for name in reversed(found)}
    for names in (*PAIRS, *((name,) for name in SINGLES)):
        if all(name in by_name for name in names):
            return tuple(by_name[name] for name in names)
    raise CorpusError(otherwise)


def rendered_records(
    source: Source, columns: Columns, template: Template | None, separator: str, chat: bool, left_out: Counter[str]
) -> Iterator[str]:
    """Every record of every part as training text; records of only blanks are left out.

    Two columns, and each turn of a conversation, stand in `template`; a single column ends with `separator`. Raises
    CorpusError naming the line of what is damaged or no text; what is left out of conversations is counted.
    """
    for part in source.parts:
        for where, row in rows_of(source, part, columns):
            if record := record_of(row, where, columns, template, chat, left_out):
                yield record if template is not None else record + separator


def record_of(
    row: Mapping[str, Any], where: str, columns: Columns, template: Template | None, chat: bool, left_out: Counter[str]
) -> str:
    """The training text of one row, a single column without what would end it; "" for one of only blanks."""
    values = [_value(row, name, where) for name in columns]
    if chat and template is not None:
        said = turns(values[0], where, left_out)
        return "".join(template.record(*turn) for turn in said) + CHAT_END if said else ""
    texts = [_text(value, name, where) for value, name in zip(values, columns, strict=True)]
    if not any(text.strip() for text in texts):
        return ""
    return template.record(*texts) if template is not None else texts[0]


def _value(row: Mapping[str, Any], name: str, where: str) -> Any:
    if name not in row:
        raise CorpusError(f"{where}: no {name!r}; there is {_names(row)}")
    return row[name]


def _text(value: Any, name: str, where: str) -> str:
    if isinstance(value, str):
        return checked(value, where)
    if value is None:
        return ""
    if isinstance(value, bytes):
        raise CorpusError(f"{where}: {name!r} is bytes, not text")
    if isinstance(value, (dict, list)):
        raise CorpusError(f"{where}: {name!r} is a {type(value).__name__}, not text")
    return json.dumps(value) if isinstance(value, (bool, int, float)) else checked(str(value), where)


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
