"""Ask which of a few ways to go, each with a key of its own: quitting while training, deleting a run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from textual import events
from textual.app import ComposeResult

from tui.screens.dialogs.dialogue import Box, Dialogue
from tui.text import Row
from tui.widgets.menu import Menu
from tui.widgets.rows import Rows, wrapped


@dataclass(frozen=True)
class Way:
    """One way: its key, its word, what happens then, and the value the dialogue returns."""

    key: str
    word: str
    about: str
    value: Any


class ConfirmScreen(Dialogue[Any]):
    """Returns the `value` of the way taken; None when left with escape."""

    CSS_PATH = "confirm.tcss"

    def __init__(self, title: str, said: Sequence[Row], ways: Sequence[Way], *, first: int = 0) -> None:
        """`first` is the index of the way the cursor stands on."""
        super().__init__()
        self._title, self._said, self._ways, self._first = title, list(said), list(ways), first

    def compose(self) -> ComposeResult:
        with Box(self._title):
            yield Rows(id="said")
            yield Menu(id="ways")

    def on_mount(self) -> None:
        menu = self.query_one(Menu)
        menu.styles.height = len(self._ways)
        width = max(len(way.word) for way in self._ways) + 2
        items: list[Row] = [
            [
                (f"{way.key.replace('escape', 'esc'):<5}", "accent bold"),
                (f"{way.word:<{width}}", "bright"),
                (way.about, "dim"),
            ]
            for way in self._ways
        ]
        menu.set_items(items, self._first)
        self.on_resize()

    def on_resize(self) -> None:
        self.call_after_refresh(self._show)

    def _show(self) -> None:
        said = self.query_one("#said", Rows)
        rows = [line for row in self._said for line in wrapped(row, self.box.size.width or 20)]
        rows = rows[: max(0, self.size.height - 2 - len(self._ways))]  # the ways are always to be seen
        said.display, said.styles.height = bool(rows), len(rows)
        said.show(rows)

    def on_menu_chosen(self, event: Menu.Chosen) -> None:
        self.dismiss(self._ways[event.index].value)

    def on_key(self, event: events.Key) -> None:
        for way in self._ways:
            if event.character == way.key or event.key == way.key:
                event.stop()
                self.dismiss(way.value)
                return
