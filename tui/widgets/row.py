"""Rows of drawn widgets: runs of clean text with a look (see paint.py), and what differs between two of them."""

from __future__ import annotations

from collections.abc import Sequence

from rich.cells import cell_len, get_character_cell_size

Run = tuple[str, str]
"""Clean text and its look."""
Row = list[Run]


def row_width(row: Row) -> int:
    """Cells that `row` takes."""
    return sum(cell_len(text) for text, _ in row)


def _cells(row: Row) -> list[Run]:
    cells: list[Run] = []
    for text, look in row:
        if text.isascii():
            cells.extend([(character, look) for character in text])
            continue
        for character in text:
            size = get_character_cell_size(character)
            if size == 0 and cells:
                cells[-1] = (cells[-1][0] + character, look)
            else:
                cells.extend([(character, look)] + [("", look)] * (size - 1))
    return cells


def changed_span(old: Row, new: Row) -> tuple[int, int] | None:
    """The first cell in which the rows differ and how many cells from there to the last one; None when equal."""
    if old == new:
        return None
    before, after = _cells(old), _cells(new)
    if len(before) != len(after):
        return 0, max(len(before), len(after))
    first, last = 0, len(after) - 1
    while first <= last and before[first] == after[first]:
        first += 1
    while last >= first and before[last] == after[last]:
        last -= 1
    if first > last:
        return None
    while first > 0 and (after[first][0] == "" or before[first][0] == ""):  # never from the middle of a wide character
        first -= 1
    if any(line[last + 1][0] == "" for line in (before, after) if last + 1 < len(line)):
        last += 1
    return first, last - first + 1


def merge(cells: Sequence[Run]) -> Row:
    """Runs from single cells: neighbours of one look joined."""
    row: Row = []
    text: list[str] = []
    look = ""
    for character, this in cells:
        if this != look and text:
            row.append(("".join(text), look))
            text = []
        look = this
        text.append(character)
    if text:
        row.append(("".join(text), look))
    return row
