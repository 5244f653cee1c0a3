"""What is on the terminal, so that only cells that differ are written to it.

Textual repaints the regions that widgets call dirty, from a widget's left edge on. A changed title repaints a whole
pane, a curve that grew by a dot its whole row, and what changes behind a dialogue all of the screen. `Shown` remembers
what was written and cuts every update down to the cells that are new: on a slow link that is the difference between
40 KB and 1 KB a second.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from rich.cells import cell_len, get_character_cell_size
from rich.console import Console
from rich.segment import Segment
from rich.style import Style
from textual.strip import Strip

from tui.terminal.private import ChopsUpdate, CompositorUpdate, LayoutUpdate

GAP = 6
"""Unchanged cells between two changes that are cheaper to write again than to jump over."""

Cell = tuple[str, Style | None]


def _cells(strip: Iterable[Segment]) -> list[Cell]:
    """One entry a cell; the second half of a wide character is empty, a combining mark belongs to the cell before."""
    cells: list[Cell] = []
    for text, style, _ in strip:
        if text.isascii():
            cells += [(character, style) for character in text]
            continue
        for character in text:
            size = get_character_cell_size(character)
            if size == 0 and cells:
                cells[-1] = (cells[-1][0] + character, style)
            else:
                cells += [(character, style)] + [("", style)] * (size - 1)
    return cells


def changed_runs(old: Strip, new: Strip) -> Iterator[tuple[int, int]]:
    """Where `new` differs from `old` of the same width: (first cell, cell after the last), short gaps included."""
    same, before, after = _different(old, new)
    if len(before) != len(after):
        yield 0, new.cell_length
        return
    for start, stop in _runs(before, after):
        yield same + start, same + stop


def _different(old: Strip, new: Strip) -> tuple[int, list[Cell], list[Cell]]:
    """The cells in which two strips may differ, without whole segments at both ends; and how many are before those."""
    before, after = [*old], [*new]
    first, last, most = 0, 0, min(len(before), len(after))
    while first < most and before[first] == after[first]:
        first += 1
    while last < most - first and before[-1 - last] == after[-1 - last]:
        last += 1
    if first == len(before) == len(after):
        return 0, [], []
    while first and _leans(before[first : first + 1] + after[first : first + 1]):
        first -= 1
    while last and _leans(before[len(before) - last : len(before) - last + 1]):
        last -= 1
    same = sum(cell_len(text) for text, _, _ in before[:first])
    return same, _cells(before[first : len(before) - last]), _cells(after[first : len(after) - last])


def _leans(segments: Iterable[Segment]) -> bool:
    """Whether one of them begins with a mark that belongs to the cell before."""
    return any(text and get_character_cell_size(text[0]) == 0 for text, _, _ in segments)


def _runs(before: list[Cell], after: list[Cell]) -> Iterator[tuple[int, int]]:
    start = end = -1
    for index, cell in enumerate(after):
        # A half of a wide character on either side changes with its other half.
        if cell == before[index] and cell[0] and before[index][0]:
            continue
        if not cell[0] and cell == before[index] and end != index:
            continue
        if start >= 0 and index - end > GAP:
            yield start, end
            start = -1
        if start < 0:
            start = index
            while start > 0 and not (after[start][0] and before[start][0]):
                start -= 1
        end = index + 1
        while end < len(after) and not (after[end][0] and before[end][0]):
            end += 1
    if start >= 0:
        yield start, end


class Shown:
    """The strips on the terminal, by row and column."""

    def __init__(self) -> None:
        self._rows: dict[int, dict[int, Strip]] = {}

    def forget(self) -> None:
        """The terminal's content is unknown: the next writes are whole."""
        self._rows.clear()

    def narrow(self, update: CompositorUpdate) -> CompositorUpdate:
        """The update that brings the terminal to the same picture with the least bytes."""
        if isinstance(update, LayoutUpdate):
            return TightLayout(self, update)
        if isinstance(update, ChopsUpdate):
            return TightUpdate(self, update)
        return update

    def replace_row(self, y: int, x: int, strips: Iterable[Strip]) -> Strip | None:
        """Put `strips` side by side from (x, y) on; what was there, if all of it is known and it was just as wide."""
        old, row, end = self._rows.get(y, {}), dict[int, Strip](), x
        for strip in strips:
            row[end] = strip
            end += strip.cell_length
        self._rows[y] = row
        at = x
        for column in sorted(old):
            if column != at:
                return None
            at += old[column].cell_length
        return Strip.join(old[column] for column in sorted(old)) if at == end else None

    def replace(self, y: int, x: int, strip: Strip, cuts: list[int]) -> Strip | None:
        """Put `strip` at (x, y) of a row cut at the columns `cuts`; what was there, if it was just as wide."""
        row = self._rows.setdefault(y, {})
        if any(column not in cuts for column in row):
            row.clear()  # the row is divided otherwise now; its pieces cannot be compared
        old = row.get(x)
        row[x] = strip
        return old if old is not None and old.cell_length == strip.cell_length else None


def _written(console: Console, y: int, x: int, old: Strip | None, new: Strip) -> Iterator[str]:
    """What makes `new` of `old` at (x, y)."""
    for start, stop in [(0, new.cell_length)] if old is None else changed_runs(old, new):
        yield f"\x1b[{y + 1};{x + start + 1}H"
        yield new.crop(start, stop).render(console)


class TightLayout(CompositorUpdate):
    """A `LayoutUpdate` that writes only what `Shown` does not have yet."""

    def __init__(self, shown: Shown, update: LayoutUpdate) -> None:
        self._shown, self._update = shown, update

    def render_segments(self, console: Console) -> str:
        parts: list[str] = []
        x, top = self._update.region.offset
        for y, line in enumerate(self._update.strips, top):
            strips = [*line]
            old, new = self._shown.replace_row(y, x, strips), Strip.join(strips)
            if old != new:
                parts += _written(console, y, x, old, new)
        return "".join(parts)


class TightUpdate(CompositorUpdate):
    """A `ChopsUpdate` that writes only what `Shown` does not have yet."""

    def __init__(self, shown: Shown, update: ChopsUpdate) -> None:
        self._shown, self._update = shown, update

    def render_segments(self, console: Console) -> str:
        parts: list[str] = []
        update = self._update
        for y, x1, x2 in update.spans:
            line = update.chops[y]
            columns = list(line)
            for end, (x, strip) in zip(update.chop_ends[y], line.items(), strict=False):
                if strip is None or x >= x2 or end <= x1:
                    continue
                old = self._shown.replace(y, x, strip, columns)
                if old is not strip:
                    parts += _written(console, y, x, old, strip)
        return "".join(parts)
