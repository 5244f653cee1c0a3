"""What all panes have: a thin border with the title in it, a scope of actions, and words about themselves."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import ClassVar, Self

from rich.cells import get_character_cell_size
from textual import events
from textual.containers import Vertical
from textual.content import Content
from textual.geometry import Region

from tui.text import Row, printable

TITLE_FROM = 3
"""Cells before the title in the border: the corner, a line, a space."""


class Pane(Vertical):
    """A bordered part of the training screen. `scope` names its actions, `about` is what help says of it."""

    scope: ClassVar[str] = ""
    title: ClassVar[str] = ""
    about: ClassVar[str] = ""
    _said_title: Content = Content("")
    _said_below: Content = Content("")
    _row: tuple[Region, ...] = ()

    def on_mount(self) -> None:
        if not self._said_title:  # a subclass is mounted first, and may have said more
            self.say_title(Content(self.title))

    def say_title(self, title: Content) -> None:
        """Set the border's title; setting the same again repaints nothing."""
        title = _printable(title)
        if title != self._said_title:
            self._said_title = title
            with self._only_row(0):
                self.border_title = title

    def say_below(self, said: Content) -> None:
        """Set the line in the lower border; setting the same again repaints nothing."""
        said = _printable(said)
        if said != self._said_below:
            self._said_below = said
            with self._only_row(self.outer_size.height - 1):
                self.border_subtitle = said

    @contextmanager
    def _only_row(self, row: int) -> Iterator[None]:
        """What asks to be drawn meanwhile is this row of it: Textual would draw the pane, with all that is in it."""
        x, y = self.content_offset
        self._row = (Region(-x, row - y, self.outer_size.width, 1),)
        yield
        self._row = ()

    def refresh(self, *regions: Region, repaint: bool = True, layout: bool = False, recompose: bool = False) -> Self:
        return super().refresh(*(regions or self._row), repaint=repaint, layout=layout, recompose=recompose)

    def on_title(self, event: events.Click) -> bool:
        """Whether a click, on this or on what is inside, is on the border with the title."""
        x, y = int(event.screen_x), int(event.screen_y)
        return y == self.region.y and self.region.x <= x < self.region.right

    def title_at(self, event: events.Click) -> str:
        """What of the title a click is on: ◀ or ▶, where it is on one of these or beside it, or a word; "" else."""
        cells = "".join(character * get_character_cell_size(character) for character in self._said_title.plain)
        at = int(event.screen_x) - self.region.x - TITLE_FROM
        if not self.on_title(event) or not 0 <= at < len(cells):
            return ""
        arrow = next((mark for mark in (cells[at], *cells[max(0, at - 1) : at + 2]) if mark in "◀▶"), "")
        return arrow or cells[: at + 1].split(" ")[-1] + cells[at + 1 :].split(" ")[0]

    def focus_target(self) -> None:
        """Take the focus, or give it to the part of the pane that should have it."""
        self.focus()

    @property
    def help_title(self) -> str:
        return self.title

    def help_lines(self) -> list[Row]:
        """The pane's own words, a row a paragraph."""
        return [[(self.about, "foreground")]] if self.about else []


def _printable(content: Content) -> Content:
    """What can be said in a border; where that could drive a terminal, cleaned and without its styles."""
    return content if content.plain.isprintable() else Content(printable(content.plain))
