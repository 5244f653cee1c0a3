"""The last line: the keys that work here, now; a click on one does it."""

from __future__ import annotations

from dataclasses import dataclass

from textual import events
from textual.message import Message

from tui.actions import Action
from tui.text import Part, width_of
from tui.widgets.paint import Painted


class KeyBar(Painted):
    """Shows actions as `key word`, as many as fit: those that stay, and of the others the first of the list."""

    DEFAULT_CSS = "KeyBar { height: 1; padding: 0 1; dock: bottom; }"

    @dataclass
    class Pressed(Message):
        """A key in the line was clicked."""

        action: Action

    def __init__(self) -> None:
        super().__init__()
        self._actions: list[Action] = []
        self._places: list[tuple[int, int, Action]] = []

    def show_keys(self, actions: list[Action]) -> None:
        """Show the keys of these actions."""
        if actions != self._actions:
            self._actions = actions
            self.repaint()

    def on_click(self, event: events.Click) -> None:
        for start, end, action in self._places:
            if start <= event.x < end:
                self.post_message(self.Pressed(action))

    def paint(self, width: int, height: int) -> list[list[Part]]:
        row: list[Part] = []
        self._places = []
        for action in fitting_keys(self._actions, width):
            parts: list[Part] = [(action.key_shown, "accent bold"), (f" {action.label}", "dim")]
            start = width_of(row)
            row += [*parts, ("  ", "")]
            self._places.append((start, start + width_of(parts), action))
        return [row[:-1]]


def fitting_keys(actions: list[Action], width: int) -> list[Action]:
    """As many of `actions` as fit, in order; those that stay are kept to the end."""
    kept = [action for action in actions if action.label]
    while kept and sum(len(action.key_shown) + len(action.label) + 3 for action in kept) - 2 > width:
        optional = [action for action in kept if not action.stays]
        kept.remove(optional[-1] if optional else kept[-1])
    return kept
