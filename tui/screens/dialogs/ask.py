"""Ask for one value in one line, with its bounds in sight and what is wrong with it beside it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from textual.app import ComposeResult
from textual.widgets import Input

from engine.errors import UserError
from tui.screens.dialogs.dialogue import Box, Dialogue
from tui.text import clean
from tui.widgets.oneline import OneLine
from tui.widgets.rows import Rows, wrapped


class AskScreen(Dialogue[Any]):
    """Returns `parse(text)` of what was typed, or None. `parse` raises UserError in one line."""

    CSS_PATH = "ask.tcss"

    def __init__(self, title: str, about: str, value: str, parse: Callable[[str], Any]) -> None:
        super().__init__()
        self._title, self._about, self._value, self._parse = title, about, value, parse

    def compose(self) -> ComposeResult:
        with Box(self._title, "⏎ set   esc close"):
            yield OneLine(self._value, id="value")
            yield Rows(id="said")

    def on_mount(self) -> None:
        self.on_resize()

    def on_resize(self) -> None:
        self.call_after_refresh(lambda: self._check(self.query_one(Input).value))

    def _say(self, text: str, look: str) -> None:
        said = self.query_one(Rows)
        rows = wrapped([(text, look)], said.size.width or 20)
        said.styles.height = len(rows)
        said.show(rows)

    def on_input_changed(self, event: Input.Changed) -> None:
        self._check(event.value)

    def on_input_submitted(self, event: Input.Submitted) -> None:
        value = self._check(event.value)
        if value is not None:
            self.dismiss(value)

    def _check(self, text: str) -> Any:
        try:
            value = self._parse(text)
        except UserError as error:
            self._say(f"✖ {clean(str(error), keep_newlines=False)}", "alarm")
            return None
        self._say(self._about, "dim")
        return value
