"""What the focused pane shows and which keys it takes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import zip_longest
from typing import Any, ClassVar

from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import VerticalScroll
from textual.widget import Widget

from tui.actions import Action, bindings, of_scope, written
from tui.screens.dialogs.dialogue import Box, Dialogue
from tui.screens.workscreen import Helpful
from tui.text import Row
from tui.widgets.rows import Rows, wrapped

AROUND = 5
"""Cells of the box that are not its lines: border, padding and the room for a scrollbar."""
WIDTH = 78 - AROUND
"""Of the lines, where the terminal is wide enough: then they are right at the first picture."""


class HelpScreen(Dialogue[None]):
    """Shows `lines` (already wrapped) until any of its keys closes it."""

    CSS_PATH = "help.tcss"
    BINDINGS: ClassVar[list[BindingType]] = bindings("help")

    def __init__(self, title: str, lines: Sequence[Row]) -> None:
        super().__init__()
        self._title, self._lines = title, list(lines)
        self._width = 0

    def compose(self) -> ComposeResult:
        with Box(self._title, "esc close"), VerticalScroll(id="scroll") as scroll:
            yield (lines := Rows(id="lines"))
        self._fill(scroll, lines, min(WIDTH, self.app.size.width * 96 // 100 - AROUND))

    def on_resize(self) -> None:
        self.call_after_refresh(self._show)

    def _show(self) -> None:
        lines = self.query_one(Rows)
        self._fill(self.query_one("#scroll"), lines, lines.size.width)

    def _fill(self, scroll: Widget, lines: Rows, width: int) -> None:
        if width != self._width:
            self._width = width
            shown = [line for row in self._lines for line in wrapped(row, max(10, width))]
            scroll.styles.height = lines.styles.height = len(shown)
            lines.show(shown)


def help_lines(
    owners: Sequence[Any], here: Sequence[Action], keymap: Mapping[str, str] | None = None
) -> tuple[str, list[Row]]:
    """Title and lines about what has the focus: the pane's words, then the keys of each of `owners`, inside first.

    here: the actions whose keys work; those of the others are dim.
    """
    works = {action.id: action for action in here}
    helpful = [owner for owner in owners if isinstance(owner, Helpful)]
    titles = [owner.help_title for owner in helpful if owner.help_title]
    lines: list[Row] = []
    for owner in helpful:
        lines += [*said, []] if (said := owner.help_lines()) else []
    groups = [list(_lines(of_scope(owner.scope, keymap), works)) for owner in owners]
    room = max((len(keys) for group in groups for keys, _, _ in group), default=0)
    for group in groups:
        for keys, about, free in group:
            key, look = ("accent bold", "foreground") if free else ("dim", "dim")
            lines.append([(f"{keys:>{room}}  ", key), (about, look)])
        if group:
            lines.append([])
    while lines and not lines[-1]:
        lines.pop()
    return f"help · {titles[0] if titles else 'tinytui'}", lines


def _lines(actions: Sequence[Action], works: Mapping[str, Action]) -> Iterator[tuple[str, str, bool]]:
    """Of each action with words of its own: all its keys, with those of the one it speaks for; and whether it works."""
    for action, after in zip_longest(actions, actions[1:]):  # of some owners there are none
        if action.key and action.about:
            said = [action, after] if after is not None and not after.about else [action]
            keys = [written(key) for each in said for key in works.get(each.id, each).keys]
            yield " ".join(keys), action.about, action.id in works
