"""A one-line input that holds many lines: a newline is shown as ⏎."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from textual import events
from textual.binding import BindingType
from textual.message import Message

from tui.actions import bindings
from tui.text import clean
from tui.widgets.oneline import OneLine

NEWLINE = "⏎"


class PromptInput(OneLine):
    """The prompt being typed. `text` has real newlines."""

    scope = "ask"
    BINDINGS: ClassVar[list[BindingType]] = bindings("ask")

    @dataclass
    class Turned(Message):
        """The prompt `by` places further in the history is wanted."""

        by: int

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(placeholder="type a prompt", id=id, select_on_focus=False)

    @property
    def text(self) -> str:
        return self.value.replace(NEWLINE, "\n")

    @text.setter
    def text(self, text: str) -> None:
        self.value = clean(text).replace("\n", NEWLINE)
        self.cursor_position = len(self.value)

    def action_new_line(self) -> None:
        self.insert_text_at_cursor(NEWLINE)

    def action_turn(self, by: int) -> None:
        self.post_message(self.Turned(by))

    def _on_paste(self, event: events.Paste) -> None:
        event.stop()
        event.prevent_default()
        self.insert_text_at_cursor(clean(event.text).replace("\n", NEWLINE))
