"""The worst passages to choose from, and a text to type."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from textual.app import ComposeResult

from tui.screens.dialogs.dialogue import Box, Dialogue
from tui.screens.prompt.editor import Editor
from tui.state.inspector import Inspector
from tui.text import Part, clean, fit, fmt_loss
from tui.widgets.menu import Menu
from tui.widgets.rows import Rows

if TYPE_CHECKING:
    from engine.inspect.losses import Passage


class WorstScreen(Dialogue[Any]):
    """The worst passages as they are found; returns the one chosen. Closing it ends the search."""

    def __init__(self, inspector: Inspector) -> None:
        super().__init__()
        self._inspector = inspector
        self._listed: tuple[Passage, ...] = ()

    def compose(self) -> ComposeResult:
        with Box("the worst held-out passages", "⏎ look   esc close"):
            yield Rows(id="said")
            yield Menu(empty="looking …", id="worst")

    def on_mount(self) -> None:
        self._inspector.find_worst()
        self.call_after_refresh(self.tick)

    def on_unmount(self) -> None:
        self._inspector.leave_worst()

    def on_resize(self) -> None:
        self.call_after_refresh(self.tick)

    def tick(self) -> None:
        """Show what has been found by now; called at every poll of the app."""
        inspector, menu = self._inspector, self.query_one(Menu)
        worst = inspector.worst
        self.query_one("#said", Rows).show([self._progress()])
        if inspector.worst_problem:
            menu.empty = "nothing to choose from"
            menu.set_items([])
        elif worst is not None:
            width = max(10, menu.size.width - 2)
            texts = zip(worst.passages, inspector.worst_texts, strict=True)
            lines = [_line(passage.loss, text, width) for passage, text in texts]
            under = self._listed[menu.cursor] if menu.cursor < len(self._listed) else None
            self._listed = worst.passages  # the cursor is a passage: it stays on it when worse ones are found
            menu.set_items(lines, self._listed.index(under) if menu.cursor and under in self._listed else None)

    def _progress(self) -> list[Part]:
        inspector = self._inspector
        worst = inspector.worst
        if inspector.worst_problem:
            return [(f"✖ {clean(inspector.worst_problem, keep_newlines=False)}", "alarm")]
        if worst is None:
            return [("looking at the held-out text …", "dim")]
        percent = f"{100 * worst.looked_at / max(1, worst.wanted):.0f}%"
        looked: list[Part] = [("looked at ", "dim"), (f"{worst.looked_at:,}", "bright"), (" tokens", "dim")]
        if worst.looked_at < worst.wanted:
            looked.append((f"  {percent}", "accent"))
        if worst.sampled:
            looked.append((f"  an even sample of {worst.split:,}", "dim"))
        return looked

    def on_menu_chosen(self, event: Menu.Chosen) -> None:
        self.dismiss(self._listed[event.index])


def _line(loss: float, text: str, width: int) -> list[Part]:
    return [(fmt_loss(loss), "val"), ("  ", ""), (fit(text, max(4, width - 8)), "foreground")]


class TypeScreen(Dialogue[str]):
    """A text of the person's own, many lines of it; returns it."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self._typed = text

    def compose(self) -> ComposeResult:
        with Box("a text to look at", "⏎ look   alt+⏎ new line   esc close"):
            editor = Editor(id="typed", history=False)
            editor.placeholder = "type or paste a text"
            yield editor

    def on_mount(self) -> None:
        editor = self.query_one(Editor)
        editor.put(self._typed)
        editor.focus()

    def on_editor_sent(self, event: Editor.Sent) -> None:
        if event.editor.text:
            self.dismiss(event.editor.text)
