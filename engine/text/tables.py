"""A table's first rows, from which a person chooses the columns to train on."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from engine.errors import CorpusError
from engine.text.records import choose_columns
from engine.text.rows import columns_of, rows_of
from engine.text.source import Format, Source

ROWS = 20
CELL = 200  # characters of a value that are shown
MOST_COLUMNS = 200


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

    Raises CorpusError for what is missing, damaged, or needs an extra.
    """
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
