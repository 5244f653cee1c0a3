"""What the focused pane shows and which keys it takes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical, VerticalScroll
from textual.screen import ModalScreen

from tui.rows import Row, Rows


class HelpScreen(ModalScreen[None]):
    """Shows `lines` (already wrapped) until any of its keys closes it."""

    CSS_PATH = "help.tcss"
    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape,question_mark,f1,q,enter", "dismiss", "close", show=False)]

    def __init__(self, title: str, lines: Sequence[Row]) -> None:
        super().__init__()
        self._title, self._lines = title, list(lines)

    def compose(self) -> ComposeResult:
        with Vertical(id="box") as box:
            box.border_title = self._title
            box.border_subtitle = "esc close"
            with VerticalScroll(id="scroll"):
                yield Rows(id="lines")

    def on_mount(self) -> None:
        lines = self.query_one(Rows)
        lines.styles.height = len(self._lines)
        lines.show(self._lines)
        self.query_one("#scroll").styles.height = len(self._lines)
