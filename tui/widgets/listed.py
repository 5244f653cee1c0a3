"""What widgets of one line an item share: a wheel that moves the cursor."""

from __future__ import annotations

from abc import abstractmethod

from textual import events

from tui.widgets.paint import Painted


class Listed(Painted, can_focus=True):
    """Lines with a cursor, which `action_move` moves by so many lines."""

    DEFAULT_CSS = "Listed { height: 1fr; width: 1fr; }"

    @abstractmethod
    def action_move(self, by: int) -> None:
        """Move the cursor."""

    def on_mouse_scroll_down(self, event: events.MouseScrollDown) -> None:
        event.stop()
        self.action_move(1)

    def on_mouse_scroll_up(self, event: events.MouseScrollUp) -> None:
        event.stop()
        self.action_move(-1)
