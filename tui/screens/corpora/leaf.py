"""Text and figures that are scrolled by lines, with the same keys."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Sequence
from typing import ClassVar

from textual import events
from textual.binding import BindingType

from tui.actions import bindings
from tui.state.corpora import Shelf
from tui.text import Part, Row, clean, wrap
from tui.widgets.paint import Painted
from tui.widgets.rows import cut, wrapped


class Leaf(Painted, can_focus=True):
    """Lines of which some are in sight."""

    DEFAULT_CSS = "Leaf { height: 1fr; width: 1fr; }"
    BINDINGS: ClassVar[list[BindingType]] = bindings("leaf")
    scope = "leaf"

    @abstractmethod
    def action_scroll(self, by: int) -> None:
        """Go so many lines on."""

    @abstractmethod
    def action_edge(self, end: int) -> None:
        """Go to the beginning, or the end."""

    def action_page(self, by: int) -> None:
        self.action_scroll(by * max(1, self.size.height - 1))

    def on_mouse_scroll_down(self, event: events.MouseScrollDown) -> None:
        event.stop()
        self.action_scroll(3)

    def on_mouse_scroll_up(self, event: events.MouseScrollUp) -> None:
        event.stop()
        self.action_scroll(-3)


class TextLeaf(Leaf):
    """The text under the cursor, of any size: the pages in sight are read, and the two beside them."""

    def __init__(self, shelf: Shelf, empty: Callable[[], Row]) -> None:
        super().__init__()
        self._shelf, self._empty = shelf, empty
        self._lines: dict[tuple[str, int, int], list[str]] = {}

    def lines_of(self, number: int) -> list[str] | None:
        """A page's lines at this width; None while it is not there."""
        reading = self._shelf.reading
        page = self._shelf.page(number)
        if reading is None or (page is None and (reading.found.text is not None or number or not reading.beginning)):
            return None
        text, width = reading.beginning if page is None else page.text, max(1, self.size.width)
        whose = reading.found.text.sha256 if page is not None and reading.found.text is not None else text
        key = whose, number, width
        if key not in self._lines:
            if len(self._lines) > 16:
                self._lines.clear()
            shown = clean(text.removesuffix("\n"))
            self._lines[key] = [shown[start:end] for start, end in wrap(shown, width)]
        return self._lines[key]

    def action_scroll(self, by: int) -> None:
        reading = self._shelf.reading
        if reading is None:
            return
        reading.top += by
        while reading.top < 0 and reading.number > 0:
            before = self.lines_of(reading.number - 1)
            if before is None:
                break
            reading.number -= 1
            reading.top += len(before)
        while (here := self.lines_of(reading.number)) is not None and reading.top >= len(here):
            if reading.number + 1 >= reading.count:
                break
            reading.number += 1
            reading.top -= len(here)
        reading.top = max(0, reading.top)
        self._fill_from_below()
        self.repaint()

    def _fill_from_below(self) -> None:
        """No blank lines below the last one while there are others above it."""
        reading = self._shelf.reading
        if reading is None:
            return
        short = self.size.height - len(self._sight()[0])
        if short <= 0 or not self._sight()[1]:
            return
        reading.top -= short
        while reading.top < 0 and reading.number > 0 and (before := self.lines_of(reading.number - 1)) is not None:
            reading.number -= 1
            reading.top += len(before)
        reading.top = max(0, reading.top)

    def _sight(self) -> tuple[list[str], bool]:
        """The lines in sight, and whether the text ends with them."""
        reading = self._shelf.reading
        if reading is None:
            return [], False
        number, top, found = reading.number, reading.top, list[str]()
        while len(found) < self.size.height:
            lines = self.lines_of(number)
            if lines is None:
                return found, False
            found += lines[top:]
            number, top = number + 1, 0
            if number >= max(1, reading.count):
                return found[: self.size.height], len(found) <= self.size.height
        return found[: self.size.height], False

    def action_edge(self, end: int) -> None:
        self.go_to(max(0, (self._shelf.reading.count if self._shelf.reading else 1) - 1) if end else 0, bool(end))

    def go_to(self, number: int, end: bool = False) -> None:
        """Show page `number` from its beginning, or from its end."""
        reading = self._shelf.reading
        if reading is None:
            return
        reading.number, reading.top = number, 1 << 30 if end else 0
        lines = self.lines_of(number)
        if lines is not None:
            reading.top = max(0, min(reading.top, len(lines) - 1))
            self._fill_from_below()
        self.repaint()

    def settle(self) -> None:
        """A page that was waited for may have come."""
        reading = self._shelf.reading
        if reading is not None:
            lines = self.lines_of(reading.number)
            if lines is not None and reading.top >= len(lines):
                reading.top = max(0, len(lines) - 1)
                self._fill_from_below()
        self.repaint()

    def paint(self, width: int, height: int) -> list[list[Part]]:
        lines, _ = self._sight()
        return [[(line, "foreground")] for line in lines] or wrapped(self._empty(), width)[:height]


class FactsLeaf(Leaf):
    """Rows that are given, scrolled; the line at the top is the reading's."""

    def __init__(self, shelf: Shelf, rows: Callable[[int], Sequence[Row]]) -> None:
        super().__init__()
        self._shelf, self._make = shelf, rows

    def action_scroll(self, by: int) -> None:
        reading = self._shelf.reading
        if reading is not None:
            reading.scrolled = max(0, min(reading.scrolled + by, len(self._make(self.size.width)) - self.size.height))
            self.repaint()

    def action_edge(self, end: int) -> None:
        self.action_scroll(1_000_000 if end else -1_000_000)

    def paint(self, width: int, height: int) -> list[list[Part]]:
        rows = self._make(width)
        reading = self._shelf.reading
        top = max(0, min(reading.scrolled, len(rows) - height)) if reading is not None else 0
        shown = [cut(row, width) for row in rows[top : top + height]]
        left = len(rows) - top - height
        if left > 0 and height > 1:
            shown[-1] = [(f"↓ {left + 1:,} more lines", "accent")]
        return shown
