"""What all panes have: a thin border with the title in it, a scope of actions, and words about themselves."""

from __future__ import annotations

from typing import ClassVar

from textual.containers import Vertical

from tui.rows import Row


class Pane(Vertical):
    """A bordered part of the training screen. `scope` names its actions, `about` is what help says of it."""

    scope: ClassVar[str] = ""
    title: ClassVar[str] = ""
    about: ClassVar[tuple[str, ...]] = ()

    def on_mount(self) -> None:
        self.border_title = self.title

    def focus_target(self) -> None:
        """Take the focus, or give it to the part of the pane that should have it."""
        self.focus()

    def help_lines(self) -> list[Row]:
        """The pane's own words, one row a line."""
        return [[(line, "foreground")] for line in self.about]
