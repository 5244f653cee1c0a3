"""`Painted`: a widget made of rows of (text, look) runs that repaints only the cells that changed.

A subclass implements `paint(width, height)` and calls `repaint()` whenever its data changed. The new rows are compared
with those on the screen and only the differing span of each row is refreshed: bytes over a slow link, and time taken
from a training thread under the same interpreter lock, are what a workbench must not waste.

A look is a short string: a colour of the theme (`train`, `dim`, `bright`; see tui/theme.py), then any of `bold`,
`reverse`, `underline`, `strike`, and `on COLOUR`: `"bright bold on select"`. `""` is the widget's own style.
"""

from __future__ import annotations

from collections.abc import Sequence

from rich.cells import cell_len, get_character_cell_size
from rich.segment import Segment
from rich.style import Style
from textual.app import App
from textual.color import Color, ColorParseError
from textual.geometry import Region
from textual.strip import Strip
from textual.widget import Widget

from tui.theme import DEFAULT_VARIABLES

Run = tuple[str, str]
"""Clean text and its look."""
Row = list[Run]

_ATTRIBUTES = {"bold", "reverse", "underline", "strike", "italic"}


def look_style(app: App[object], look: str) -> Style:
    """The Rich style of `look` under the app's present theme."""
    colors: dict[str, object] = {}
    attributes: dict[str, bool] = {}
    words = iter(look.split())
    for word in words:
        if word in _ATTRIBUTES:
            attributes[word] = True
            continue
        name, key = (next(words), "bgcolor") if word == "on" else (word, "color")
        value = app.theme_variables.get(name) or DEFAULT_VARIABLES[name]
        try:
            color = Color.parse(value)
        except ColorParseError:
            continue
        colors[key] = color.rich_color
    return Style(**colors, **attributes)  # type: ignore[arg-type]


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


class Painted(Widget):
    """Base of the drawn widgets; see the module's text."""

    def __init__(self, *, id: str | None = None, classes: str | None = None) -> None:
        super().__init__(id=id, classes=classes)
        self._rows: list[Row] = []
        self._strips: dict[int, Strip] = {}
        self._looks: dict[str, Style] = {}
        self._painted_size = (-1, -1)

    def paint(self, width: int, height: int) -> list[Row]:
        """The rows to show, at most `height` of them, each at most `width` cells."""
        raise NotImplementedError

    def repaint(self) -> None:
        """Paint anew and refresh what differs from the last picture; nothing when hidden or not yet laid out."""
        width, height = self.size
        if not width or not height or not self.is_mounted:
            return
        rows = self._paint()
        if self._painted_size != (width, height):
            self._rows, self._painted_size = rows, (width, height)
            self._strips.clear()
            self.refresh()
            return
        regions = []
        for y in range(max(len(rows), len(self._rows))):
            old = self._rows[y] if y < len(self._rows) else []
            new = rows[y] if y < len(rows) else []
            if span := changed_span(old, new):
                regions.append(Region(span[0], y, min(span[1], width - span[0]), 1))
                self._strips.pop(y, None)
        self._rows = rows
        if regions:
            self.refresh(*regions)

    def _paint(self) -> list[Row]:
        return self.paint(*self.size)

    def render_line(self, y: int) -> Strip:
        if self._painted_size != tuple(self.size):
            self._rows, self._painted_size = self._paint(), (self.size.width, self.size.height)
            self._strips.clear()
        strip = self._strips.get(y)
        if strip is None:
            row = self._rows[y] if y < len(self._rows) else []
            segments = [Segment(text, self._look(look)) for text, look in row if text]
            strip = Strip(segments, row_width(row)).adjust_cell_length(self.size.width)
            self._strips[y] = strip
        return strip

    def _look(self, look: str) -> Style:
        style = self._looks.get(look)
        if style is None:
            style = self._looks[look] = look_style(self.app, look)
        return style

    def notify_style_update(self) -> None:
        super().notify_style_update()
        self._looks.clear()
        self._strips.clear()

    def watch_has_focus(self, has_focus: bool) -> None:
        super().watch_has_focus(has_focus)
        self.repaint()
