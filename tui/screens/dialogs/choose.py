"""Choose one of many by typing a part of it: the command palette, the prompts to recall, the weights to ask."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from rich.cells import cell_len
from textual import events
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.widgets import Input

from tui.actions import bindings
from tui.screens.dialogs.dialogue import Box, Dialogue
from tui.text import Part, clean, fit
from tui.widgets.menu import Menu
from tui.widgets.oneline import OneLine

SHORT, LEAST = 10, 6
"""Cells up to which what stands beside a choice is kept, as a key or a loss is; and how many of more tell anything."""


@dataclass(frozen=True)
class Choice:
    """One line of the list: `text`, and `aside` dim at the right. `words` are searched too; `value` is returned."""

    text: str
    value: Any
    aside: str = ""
    words: str = ""


class ChooseScreen(Dialogue[Any]):
    """Returns the `value` of what was chosen, or None."""

    CSS_PATH = "choose.tcss"
    AUTO_FOCUS = "#filter"
    BINDINGS: ClassVar[list[BindingType]] = bindings("choose")

    def __init__(
        self, title: str, choices: Sequence[Choice], *, empty: str = "nothing matches", cursor: int = 0
    ) -> None:
        super().__init__()
        self._title, self._choices, self._empty, self._cursor = title, list(choices), empty, cursor
        self._shown = self._choices

    def compose(self) -> ComposeResult:
        with Box(self._title, "⏎ choose   ↑↓ move   esc close"):
            yield OneLine(placeholder="type to search", id="filter")
            yield Menu(empty=self._empty, id="choices")

    def on_mount(self) -> None:
        self.query_one(Menu).can_focus = False
        self.box.styles.height = min(max(1, len(self._choices)) + 4, 22)
        self._list(self._cursor)  # at once: the next key may choose already
        self.call_after_refresh(self._list)

    def on_resize(self, event: events.Resize) -> None:
        self.call_after_refresh(self._list)

    def set_choices(self, choices: Sequence[Choice]) -> None:
        """Other choices, some of which had to be read first; what is typed goes on choosing among them."""
        self._choices = list(choices)
        if self.built:
            self.box.styles.height = min(max(1, len(self._choices)) + 4, 22)
            self._filter(self.query_one(Input).value)
            self._list()
            self.call_after_refresh(self._list)

    def on_input_changed(self, event: Input.Changed) -> None:
        self._filter(event.value)
        self._list(0)

    def _filter(self, typed: str) -> None:
        words = typed.lower().split()
        self._shown = [
            each for each in self._choices if all(word in f"{each.text} {each.words}".lower() for word in words)
        ]

    def on_input_submitted(self) -> None:
        self._choose(self.query_one(Menu).cursor)  # now: what is typed by the next message may leave other choices

    def on_menu_chosen(self, event: Menu.Chosen) -> None:
        self._choose(event.index)

    def _choose(self, index: int) -> None:
        if index < len(self._shown):
            self.dismiss(self._shown[index].value)

    def action_move(self, by: int) -> None:
        self.query_one(Menu).action_move(by)

    def _list(self, cursor: int | None = None) -> None:
        menu = self.query_one(Menu)
        width = max(10, menu.size.width - 4)
        menu.set_items([_line(choice, width) for choice in self._shown], cursor)


def _line(choice: Choice, width: int) -> list[Part]:
    """The choice, whole where there is room, and in what is left what stands beside it; what is short has room."""
    text, aside = clean(choice.text, keep_newlines=False), clean(choice.aside, keep_newlines=False)
    size = cell_len(aside)
    left = max(width - cell_len(text) - 2, size if size <= SHORT else 0)
    if size > left:
        aside, size = (fit(aside, left).rstrip(), left) if left >= LEAST else ("", 0)
    return [(fit(text, max(4, width - size - 1)), "bright"), (" ", ""), (fit(aside, size, "right"), "dim")]
