"""Lines of labels and numbers, given as rows of (text, look) runs; see `tui.widgets.paint` for looks and repainting."""

from __future__ import annotations

from collections.abc import Iterable

from textual.message import Message

from tui.text import Part, Row, lines_of, width_of, wrap
from tui.widgets.paint import Painted, merge


def spread(left: Row, right: Row, width: int) -> list[Part]:
    """`left` and, flush at `width`, `right`; without `right` where both do not fit."""
    gap = width - width_of(left) - width_of(right)
    return [*left, (" " * gap, ""), *right] if gap >= 1 and right else list(left)


def wrapped(row: Row, width: int) -> list[list[Part]]:
    """`row` in lines of `width` cells, broken at words: what stands before its last run, as a label does, has a column
    of its own where that leaves the run half of the width."""
    if not row or width_of(row) <= width:
        return [list(row)]
    *before, (text, look) = row
    words = text.lstrip(" ")
    before.append((text.removesuffix(words), look))  # a gap that leads the run stays
    indent = width_of(before)
    if 2 * indent > width:
        return _flowing(row, width)
    first, *more = lines_of(words, width - indent) or [""]
    return [[*before, (first, look)], *([(" " * indent, ""), (line, look)] for line in more)]


def _flowing(row: Row, width: int) -> list[list[Part]]:
    """`row` in lines, broken wherever a word of it ends."""
    text = "".join(part for part, _ in row)
    looks = [look for part, look in row for _ in part]
    return [merge(list(zip(text[start:end], looks[start:end], strict=True))) for start, end in wrap(text, width)]


class Rows(Painted):
    """Shows the rows it is given."""

    DEFAULT_CSS = "Rows { height: 1; width: 1fr; }"

    class Resized(Message):
        """It has another width: what was wrapped for it is to be wrapped again."""

    def __init__(self, *, id: str | None = None, classes: str | None = None) -> None:
        super().__init__(id=id, classes=classes)
        self._given: list[list[Part]] = []
        self._width = 0

    def on_resize(self) -> None:
        if self.size.width != self._width:
            self._width = self.size.width
            self.post_message(self.Resized())

    def show(self, rows: Iterable[Row]) -> None:
        """Replace the rows; cells that are as before are not painted again."""
        given = [list(row) for row in rows]
        if given != self._given:
            self._given = given
            self.repaint()

    def paint(self, width: int, height: int) -> list[list[Part]]:
        return [cut(row, width) for row in self._given[:height]]


def cut(row: Row, width: int) -> list[Part]:
    """`row` in at most `width` cells, ended with `…` where it was longer."""
    if width_of(row) <= width:
        return list(row)
    from tui.text import fit

    kept: list[Part] = []
    left = width
    for text, look in row:
        size = width_of([(text, look)])
        if size >= left:
            return [*kept, (fit(text + " ", left), look)]
        kept.append((text, look))
        left -= size
    return kept
