"""What all dialogues have: they close with escape, ctrl+c and ctrl+q, and closing one decides nothing.

The keys come before those of whatever has the focus, so that no input and no second ctrl+c takes them for something
else. The screen behind goes on being drawn.
"""

from __future__ import annotations

from typing import ClassVar, TypeVar

from textual.await_complete import AwaitComplete
from textual.binding import BindingType
from textual.screen import ModalScreen

from tui.actions import bindings

Answer = TypeVar("Answer")


class Dialogue(ModalScreen[Answer]):
    """A screen over the screen that gives its answer to who asked; None when closed."""

    BINDINGS: ClassVar[list[BindingType]] = bindings("dialog")
    _said_below = ""

    @property
    def built(self) -> bool:
        """Whether its parts are there: not yet on the way in, no more on the way out."""
        return bool(self.query("#box"))

    def say_below(self, said: str) -> None:
        """Set the line in the box's lower border; the same again repaints nothing (Textual alone would repaint all)."""
        if said != self._said_below:
            self._said_below = said
            self.query_one("#box").border_subtitle = said

    def dismiss(self, result: Answer | None = None) -> AwaitComplete:
        """As Textual's. A second answer, by keys that came faster than the first could close it, is none."""
        return super().dismiss(result) if self.is_active else AwaitComplete()

    def action_close(self) -> None:
        """End without an answer."""
        self.dismiss(None)
