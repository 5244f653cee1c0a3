"""Keys, pastes and clicks take effect in the order in which they come, however many of them one read brings.

Textual gives text to the widget with the focus at once, and looks for what a key is bound to when nobody on its way up
to the app has taken it. Of what comes in one read, as over a slow link, a letter overtakes the bound key before it, and
goes where the focus was before that key moved it. Here each waits until all that the one before brought about is done.
"""

from __future__ import annotations

import asyncio
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
else:
    _Base = object

ROUNDS = 2
"""Ways from the focus up to the app: behind the key itself, and behind the messages that were sent for it."""
MOST_ROUNDS = 12
"""Where the focus does not come to rest."""
PATIENCE = 0.5
"""Seconds for one key. A queue on its way may be closed with the word still in it, and must not hold all other keys."""


class InOrder(_Base):
    """Mixin for an App: gives on what is typed and clicked one after the other."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._inputs: deque[events.Event] = deque()
        self._turn: _Turn | None = None
        """The input that is under way: what is left of one that was given up says nothing any more."""
        self._rounds = self._left = 0
        self._place: tuple[Screen[Any], Widget | None] | None = None
        self._way: Iterator[MessagePump] = iter(())
        super().__init__(*args, **kwargs)

    @property
    def all_taken(self) -> bool:
        """Whether all that came has taken effect."""
        return not self._inputs and self._turn is None

    async def on_event(self, event: events.Event) -> None:
        if isinstance(event, events.InputEvent | events.Paste) and not event.is_forwarded and self.screen_stack:
            self._inputs.append(event)
            await self._give_on()
        else:
            await super().on_event(event)

    async def _give_on(self) -> None:
        while self._inputs and self._turn is None:
            event = self._inputs.popleft()
            turn = self._turn = None if isinstance(event, events.MouseMove) else _Turn(self)
            if turn is not None:
                asyncio.get_running_loop().call_later(PATIENCE, self._late, turn)
            await super().on_event(event)
            if turn is not None and turn is self._turn:
                self._rounds, self._left = ROUNDS, MOST_ROUNDS
                self._follow(turn)

    def _late(self, turn: _Turn) -> None:
        if turn is self._turn:
            self.post_message(events.Callback(callback=turn.done))

    def _follow(self, turn: _Turn) -> None:
        """Go from queue to queue the way that keys go, once more, and yet again where that has led elsewhere."""
        self._rounds, self._left = self._rounds - 1, self._left - 1
        self._place = self.screen, self.screen.focused
        self._way = iter((self._place[1] or self._place[0]).ancestors_with_self)
        self._hop(turn)

    def _hop(self, turn: _Turn) -> None:
        """On to the next queue that is not closed; the app's own is the last."""
        if turn is not self._turn:
            return
        for node in self._way:
            if node is not self and node.post_message(events.Callback(callback=turn.hop)):
                return
        self.post_message(events.Callback(callback=turn.back))

    async def _back(self, turn: _Turn) -> None:
        if turn is not self._turn:
            return
        if not self.screen_stack:
            await self._done(turn)
            return
        if self._place != (self.screen, self.screen.focused):
            self._rounds = ROUNDS
        if self._rounds and self._left:
            self._follow(turn)
        else:
            await self._done(turn)

    async def _done(self, turn: _Turn) -> None:
        if turn is self._turn:
            self._turn = None
            await self._give_on()


class _Turn:
    """One input on its way. Its methods and no partials: of each of these Textual would read the signature anew."""

    def __init__(self, app: InOrder) -> None:
        self._app = app

    def hop(self) -> None:
        self._app._hop(self)

    async def back(self) -> None:
        await self._app._back(self)

    async def done(self) -> None:
        await self._app._done(self)
