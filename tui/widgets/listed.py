"""What widgets of one line an item share: keys that stand in no footer, and a wheel that moves the cursor."""

from __future__ import annotations

from abc import abstractmethod

from textual import events
from textual.binding import Binding, BindingType

from tui.widgets.paint import Painted


def quiet(*keys: tuple[str, str, str]) -> list[BindingType]:
    """Bindings of (keys, action, meaning)."""
    return [Binding(key, action, about, show=False) for key, action, about in keys]


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
