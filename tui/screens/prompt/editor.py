"""Where a prompt is written: many lines, undo, selection, paste of any size."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from textual import events
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.message import Message
from textual.widgets import TextArea

from tui.actions import ACTIONS, bindings
from tui.text import clean
from tui.widgets.pane import Pane

_OURS = {key for action in ACTIONS if action.scope == "editor" for key in action.keys} | {"ctrl+y"}


def _textuals() -> list[BindingType]:
    """Textual's own keys for editing, where none of ours stands in their place."""
    found: list[BindingType] = []
    for each in TextArea.BINDINGS:
        assert isinstance(each, Binding)
        if keys := [key for key in each.key.split(",") if key not in _OURS]:
            found.append(Binding(",".join(keys), each.action, each.description, show=False))
    return found


class Editor(TextArea, inherit_bindings=False):
    """`enter` posts Sent; what is pasted is cleaned; above the first line and below the last the history begins."""

    scope = "editor"
    BINDINGS: ClassVar[list[BindingType]] = [*bindings("editor"), *_textuals()]

    @dataclass
    class Sent(Message):
        """Enter was pressed."""

        editor: Editor

        @property
        def control(self) -> Editor:
            return self.editor

    @dataclass
    class Turned(Message):
        """The prompt `by` places further in the history is wanted."""

        by: int

    def __init__(self, *, id: str | None = None, history: bool = True) -> None:
        super().__init__(id=id, compact=True, highlight_cursor_line=False, placeholder="type a prompt")
        self.cursor_blink = False
        self.untouched = True
        """Whether it holds what was put there, which may be left for another."""
        self._history = history

    def put(self, text: str) -> None:
        """Show `text` with the cursor at its end; what was there is not to be undone to."""
        self.load_text(clean(text))
        self.move_cursor(self.document.end)

    async def _on_key(self, event: events.Key) -> None:
        if event.key == "enter":
            event.stop()
            event.prevent_default()
            self.post_message(self.Sent(self))
            return
        await super()._on_key(event)

    async def _on_paste(self, event: events.Paste) -> None:
        event.stop()
        event.prevent_default()
        if result := self._replace_via_keyboard(clean(event.text), *self.selection):
            self.move_cursor(result.end_location)

    def action_paste(self) -> None:
        if result := self._replace_via_keyboard(clean(self.app.clipboard), *self.selection):
            self.move_cursor(result.end_location)

    def action_new_line(self) -> None:
        self._replace_via_keyboard("\n", *self.selection)

    def action_older(self) -> None:
        """The line above; on the first one the prompt before, once the cursor is at its start or nothing was typed."""
        first = (
            self.get_cursor_up_location() == (0, 0)
            and self.wrapped_document.location_to_offset(self.cursor_location).y == 0
        )
        if self._history and first and (self.untouched or self.cursor_at_start_of_text):
            self.post_message(self.Turned(-1))
        else:
            self.action_cursor_up()

    def action_newer(self) -> None:
        """The line below; on the last one the prompt after."""
        here = self.wrapped_document.location_to_offset(self.cursor_location).y
        last = here >= self.wrapped_document.height - 1
        if self._history and last and (self.untouched or self.cursor_at_end_of_text):
            self.post_message(self.Turned(1))
        else:
            self.action_cursor_down()


class EditorPane(Pane):
    """Where the prompt is written."""

    title = "prompt"
    about: ClassVar[str] = (
        "Asks the weights that are training now, without stopping them, or "
        "any checkpoint (ctrl+o). ⏎ sends, alt+⏎ makes a line, esc stops. "
        "↑ above the first line recalls what was asked before; what you "
        "type and do not send stays at its place, also after a restart. "
        "ctrl+g lists your prompts, examples and the history of all runs. "
        "ctrl+b compares two answers, ctrl+r nine; f4 is a chat, where the "
        "corpus has prompts and answers. "
        "Every prompt is kept with its settings in the run's prompts.jsonl."
    )

    def __init__(self) -> None:
        super().__init__(id="ask-pane")
        self.editor = Editor(id="editor")

    def compose(self) -> ComposeResult:
        yield self.editor

    def focus_target(self) -> None:
        self.editor.focus()
