"""What all panes have: a thin border with the title in it, a scope of actions, and words about themselves."""

from __future__ import annotations

from typing import ClassVar

from rich.cells import get_character_cell_size
from textual import events
from textual.containers import Vertical
from textual.content import Content

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

    def on_mount(self) -> None:
        if not self._said_title:  # a subclass is mounted first, and may have said more
            self.say_title(Content(self.title))

    def say_title(self, title: Content) -> None:
        """Set the border's title; setting the same again repaints nothing (Textual alone would repaint the pane)."""
        title = _printable(title)
        if title != self._said_title:
            self._said_title = title
            self.border_title = title

    def say_below(self, said: Content) -> None:
        """Set the line in the lower border; setting the same again repaints nothing."""
        said = _printable(said)
        if said != self._said_below:
            self._said_below = said
            self.border_subtitle = said

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
