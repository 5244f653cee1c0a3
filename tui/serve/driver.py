"""The driver of a workbench in a browser: packets on stdin and stdout in the place of a terminal.

It differs from Textual's own for browsers where that would leave a process behind, cut a write short, or take the
signals that see to a training; and frames are paced by the page's answers as by a terminal's.
"""

from __future__ import annotations

import os
from typing import Any, Protocol, runtime_checkable

from textual import events
from textual.drivers import web_driver
from textual.drivers.web_driver import WebDriver
from textual.events import CursorPosition
from textual.geometry import Size
from textual.message import Message

from tui.serve.protocol import PRELUDE
from tui.terminal.pacing import Paced
from tui.terminal.private import read_pastes_as_text


class BrowserDriver(WebDriver):
    """Ends the app once its page has gone: told so, or by the end of stdin, which is also the server's death."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._write = self._write_whole  # type: ignore[assignment]
        self._gone = False

    def _write_whole(self, data: bytes) -> None:
        """All of `data`: a signal may cut a write in two, and what follows would be read as another packet's."""
        left = memoryview(data)
        while left and not self._gone:
            try:
                left = left[os.write(self.fileno, left) :]
            except OSError:
                self._leave()

    def start_application_mode(self) -> None:
        """Announce a Textual app, then draw; signals stay with the process' own handlers."""
        self._write(PRELUDE)
        self.write("\x1b[?1049h")  # the other screen
        self.write("\x1b[?1000h\x1b[?1002h\x1b[?1006h")  # the mouse: clicks and drags, not every movement
        self.write("\x1b[?25l")  # no cursor
        size = Size(80, 24) if self._size is None else Size(*self._size)
        self._app.post_message(
            events.Resize(size, size)
        )  # at once: the page may have another by now, which comes later
        self._request_terminal_sync_mode_support()
        self._enable_bracketed_paste()
        if isinstance(self._app, Paced):
            self._app.pacer.attach(self.write, lambda: 0)
        self._key_thread.start()

    def run_input_thread(self) -> None:
        read_pastes_as_text(web_driver)
        super().run_input_thread()
        if not self.exit_event.is_set():
            self._leave()

    def process_message(self, message: Message) -> None:
        """Runs in the input thread."""
        if isinstance(message, CursorPosition):
            if isinstance(self._app, Paced):
                self._app.pacer.answered()
            return
        super().process_message(message)

    def on_meta(self, packet_type: str, payload: dict[str, object]) -> None:
        """Runs in the input thread."""
        if packet_type == "quit":
            self._leave()
        elif packet_type in ("resize", "focus", "blur"):
            super().on_meta(packet_type, payload)

    def _leave(self) -> None:
        """End the app, once; from any thread."""
        if self._gone:
            return
        self._gone = True
        loop = self._app._loop
        if loop is not None:
            try:
                loop.call_soon_threadsafe(self._end_app)
            except RuntimeError:  # it has just ended
                return

    def _end_app(self) -> None:
        if isinstance(self._app, KnowsPages):
            self._app.page_gone()
        else:
            self._app.exit()


@runtime_checkable
class KnowsPages(Protocol):
    """An app that has something to see to when its page has gone."""

    def page_gone(self) -> None: ...
