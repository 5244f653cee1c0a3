"""`Painted`: a widget made of rows of (text, look) runs that repaints only the rows that changed.

A subclass implements `paint(width, height)` and calls `repaint()` whenever its data changed. The new rows are compared
with those on the screen and only rows that differ are refreshed (of them `tui.terminal.diff` writes only the cells that
differ): bytes over a slow link, and time taken from a training thread under the same interpreter lock, are what a
workbench must not waste.

A look is a short string: a colour of the theme (`train`, `dim`, `bright`; see tui/theme.py), then any of `bold`,
`reverse`, `underline`, `strike`, and `on COLOUR`: `"bright bold on select"`. `""` is the widget's own style. A ground
that says how much of something there is has attributes too where it cannot be seen (`tui.theme.doubled`).
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from itertools import groupby
from operator import itemgetter

from rich.segment import Segment
from rich.style import Style
from textual.app import App
from textual.color import Color, ColorParseError
from textual.geometry import Region
from textual.strip import Strip
from textual.widget import Widget

from tui.text import Part, Row, printable
from tui.theme import DEFAULT_VARIABLES, doubled

UNPAINTED = (-1, -1)
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
        if key == "bgcolor":
            attributes |= dict.fromkeys(doubled(app, name), True)
        elif name == "dim" and app.no_color:
            attributes["dim"] = True
        value = app.theme_variables.get(name) or DEFAULT_VARIABLES[name]
        try:
            color = Color.parse(value)
        except ColorParseError:
            continue
        colors[key] = color.rich_color
    return Style(**colors, **attributes)  # type: ignore[arg-type]


def merge(row: Row) -> list[Part]:
    """`row` in as few parts as its looks need: each costs on every step of its way, and bytes to the terminal."""
    parts = (("".join(text for text, _ in same), look) for look, same in groupby(row, key=itemgetter(1)))
    return [part for part in parts if part[0]]


class Painted(Widget):
    """Base of the drawn widgets; see the module's text."""

    def __init__(self, *, id: str | None = None, classes: str | None = None) -> None:
        super().__init__(id=id, classes=classes)
        self._rows: Sequence[Row] = []
        self._strips: dict[int, Strip] = {}
        self._looks: dict[str, Style] = {}
        self._painted_size = UNPAINTED

    @abstractmethod  # for the type checker: a widget's own metaclass leaves no room for ABC's
    def paint(self, width: int, height: int) -> Sequence[Row]:
        """The rows to show, at most `height` of them, each at most `width` cells."""

    def repaint(self) -> None:
        """Paint anew and refresh what differs from the last picture. A hidden widget paints when it is shown."""
        width, height = self.size
        if not width or not height or not self.is_on_screen:
            if self._painted_size != UNPAINTED:
                self._painted_size = UNPAINTED
                self.refresh()
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
            if old != new:
                regions.append(Region(0, y, width, 1))
                self._strips.pop(y, None)
        self._rows = rows
        if regions:
            self.refresh(*regions)

    def _paint(self) -> Sequence[Row]:
        return self.paint(*self.size)

    def render_line(self, y: int) -> Strip:
        if self._painted_size != tuple(self.size):
            self._rows, self._painted_size = self._paint(), (self.size.width, self.size.height)
            self._strips.clear()
        strip = self._strips.get(y)
        if strip is None:
            row = self._rows[y] if y < len(self._rows) else []
            segments = [Segment(printable(text), self._look(look)) for text, look in merge(row)]
            strip = Strip(segments).adjust_cell_length(self.size.width, self._look(""))
            self._strips[y] = strip
        return strip

    def _look(self, look: str) -> Style:
        style = self._looks.get(look)
        if style is None:
            style = self._looks[look] = self.rich_style + look_style(self.app, look)
        return style

    def notify_style_update(self) -> None:
        super().notify_style_update()
        self._looks.clear()
        self._strips.clear()

    def watch_has_focus(self, has_focus: bool) -> None:
        super().watch_has_focus(has_focus)
        self.repaint()
