"""A line of text to type into."""

from __future__ import annotations

from typing import Any

from textual.geometry import Size
from textual.widget import Widget
from textual.widgets import Input


class OneLine(Input):
    """Textual's input as ours are: compact, its cursor still, and of a width that does not hang on the text.

    So the rest of the screen stays where it is. Textual lays all of it out anew at each letter, which was a third of
    what a letter took on the Train screen.
    """

    def __init__(self, value: str = "", **options: Any) -> None:
        super().__init__(value, compact=True, **options)
        self.cursor_blink = False

    def _watch_value(self, value: str) -> None:
        self.set_reactive(Widget.virtual_size, Size(self.content_width, 1))  # so that it changes no more
        super()._watch_value(value)
