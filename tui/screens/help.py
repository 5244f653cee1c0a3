"""What the focused pane shows and which keys it takes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical, VerticalScroll
from textual.screen import ModalScreen

from tui.actions import of_scope
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


def help_lines(screen: Any, pane: Any) -> tuple[str, list[Row]]:
    """Title and lines about the focused pane (or the screen): its words, then the keys that work there."""
    owners = [pane] if pane is not None and pane is not screen else []
    owners += [screen, screen.app]
    title = str(getattr(pane, "title", "") or getattr(screen, "help_title", "") or "tinytui")
    lines: list[Row] = [*pane.help_lines(), []] if pane is not None and hasattr(pane, "help_lines") else []
    for owner in owners:
        actions = [action for action in of_scope(getattr(owner, "scope", "")) if action.key]
        for action in actions:
            works = owner.check_action(action.do.split("(")[0], ()) is True
            look = "foreground" if works else "dim"
            lines.append([(f"{action.key_shown:>7}  ", "accent bold" if works else "dim"), (action.about, look)])
        if actions:
            lines.append([])
    while lines and not lines[-1]:
        lines.pop()
    return f"help · {title}", lines
