"""The lines of the list of corpora: which columns fit, and a corpus in them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from tui.state.corpuswork import Entry
from tui.text import MISSING, Part, Row, fit, fmt_bytes, fmt_count

if TYPE_CHECKING:
    from engine.text.statistics import Statistics

# name, width, right-aligned, rank: the highest ranks leave first as the terminal narrows
COLUMNS = (
    ("corpus", 20, False, 0),
    ("where", 8, False, 1),
    ("size", 8, True, 2),
    ("characters", 10, True, 3),
    ("distinct", 8, True, 6),
    ("records", 7, True, 4),
    ("licence", 14, False, 5),
    ("title", 40, False, 7),
)
GAP = 2
WHERE_LOOKS = {"yours": "accent", "shipped": "foreground", "to fetch": "dim", "damaged": "alarm"}


def columns_for(width: int) -> list[tuple[str, int, bool, int]]:
    """The columns that fit `width`; the last takes what is over."""
    for most in range(len(COLUMNS) - 1, -1, -1):
        kept = [column for column in COLUMNS if column[3] <= most]
        need = sum(size + GAP for _, size, _, _ in kept) - GAP - (20 if kept[-1][0] == "title" else 0)
        if need <= width or most == 0:
            *others, (title, size, right, rank) = kept
            over = width - sum(each[1] + GAP for each in others)
            return [*others, (title, size if right else max(6, over), right, rank)]
    return []


def heading(columns: Sequence[tuple[str, int, bool, int]]) -> str:
    """The names of the columns."""
    return (" " * GAP).join(f"{name:>{size}}" if right else f"{name:<{size}}" for name, size, right, _ in columns)


def line_of(entry: Entry, told: Statistics | None, columns: Sequence[tuple[str, int, bool, int]]) -> Row:
    """A corpus as a row; `told` is what was counted of it, where that is known."""
    corpus = entry.corpus
    texts = {
        "corpus": (corpus.name, "bright" if entry.where != "to fetch" else "foreground"),
        "where": (entry.where, WHERE_LOOKS[entry.where]),
        "size": (fmt_bytes(entry.size), "foreground"),
        "characters": (fmt_count(told.characters) if told else MISSING, "foreground"),
        "distinct": (f"{told.distinct_characters:,}" if told else MISSING, "foreground"),
        "records": (fmt_count(told.records) if told and told.records else MISSING, "foreground"),
        "licence": (corpus.license or MISSING, "dim"),
        "title": (corpus.problem or corpus.title, "alarm" if corpus.problem else "dim"),
    }
    row: list[Part] = []
    for name, size, right, _ in columns:
        text, look = texts[name]
        row += [(" " * GAP, "")] if row else []
        row.append((fit(text, size, "right" if right else "left"), look))
    return row
