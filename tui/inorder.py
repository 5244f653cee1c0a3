"""Keys, pastes and clicks take effect in the order in which they come, however many of them one read brings.

Textual gives text to the widget with the focus at once, and looks for what a key is bound to when nobody on its way up
to the app has taken it. Of what comes in one read, as over a slow link, a letter overtakes the bound key before it, and
goes where the focus was before that key moved it. Here each waits until all that the one before brought about is done.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from textual import events
from textual.app import App
from textual.message_pump import MessagePump

if TYPE_CHECKING:
    from textual.screen import Screen
    from textual.widget import Widget

    _Base = App[Any]
    Place = tuple[Screen[Any], Widget | None]
else:
    _Base = object

ROUNDS = 2
"""Ways from the focus up to the app: behind the key itself, and behind the messages that were sent for it."""
MOST_ROUNDS = 12
"""Where the focus does not come to rest."""


class InOrder(_Base):
    """Mixin for an App: gives on what is typed and clicked one after the other."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._inputs: deque[events.Event] = deque()
        self._under_way = False
        super().__init__(*args, **kwargs)

    async def on_event(self, event: events.Event) -> None:
        if isinstance(event, events.InputEvent | events.Paste) and not event.is_forwarded and self.screen_stack:
            self._inputs.append(event)
            await self._give_on()
        else:
            await super().on_event(event)

    async def _give_on(self) -> None:
        while self._inputs and not self._under_way:
            event = self._inputs.popleft()
            self._under_way = not isinstance(event, events.MouseMove)
            await super().on_event(event)
            if self._under_way:
                self._follow(ROUNDS, MOST_ROUNDS)

    def _follow(self, rounds: int, left: int) -> None:
        """Go from queue to queue the way that keys go, so often, and once more wherever that has led elsewhere."""
        place = self.screen, self.screen.focused
        way: list[MessagePump] = [*(place[1] or place[0]).ancestors_with_self]
        self._hop(iter(way), place, rounds - 1, left - 1)

    def _hop(self, way: Iterator[MessagePump], place: Place, rounds: int, left: int) -> None:
        """On to the next queue that is not closed; the app's own is the last."""
        for node in way:
            if node is self:
                break
            if node.call_later(self._hop, way, place, rounds, left):
                return
        self.call_later(self._back, place, rounds, left)

    async def _back(self, place: Place, rounds: int, left: int) -> None:
        if place != (self.screen, self.screen.focused):
            rounds = ROUNDS
        if rounds and left:
            self._follow(rounds, left)
        else:
            self._under_way = False
            await self._give_on()
