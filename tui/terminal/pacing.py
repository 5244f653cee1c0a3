"""Drawing at the pace of the link: charts wait for the terminal, a stalled terminal stops nothing.

Over SSH the bytes of many frames fit into the buffers between the program and the eyes, and a key then shows only when
all of them have been drawn. So after a frame of charts a cursor-position request follows, and no further frame is drawn
before its answer is back: one frame is under way at a time, whatever the link. Where nothing has changed nothing is
written, and nothing asked.

    class Workbench(Paced, Themed, App[int]):      # Paced: `self.pacer`, tight updates, no drawing while stalled
        def get_driver_class(self): return PacedDriver     # or a subclass of it
    def poll(self):
        if not self.pacer.ready():                 # the frame before is not on the reader's screen yet
            return
        ...show what changed...
        self.call_after_refresh(self.pacer.sent)   # ask behind the frame

A terminal that answers two requests in a row not at all is drawn to once a second, and asked on: one that only stalled
comes back by itself. Without a `PacedDriver` (tests, the browser) `ready()` is always true.
"""

from __future__ import annotations

import asyncio
import queue
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from rich.console import Console, RenderableType
from textual.drivers.linux_driver import LinuxDriver
from textual.events import CursorPosition, Resize
from textual.geometry import Offset, Size
from textual.message import Message
from textual.screen import Screen

from tui.terminal.diff import Shown
from tui.terminal.private import CompositorUpdate, draws, missing, release_strips, writer_queue

if TYPE_CHECKING:
    from textual.app import App

    _Base = App[Any]
else:
    _Base = object

REQUEST = "\x1b[6n"  # DSR: report the cursor's position; Textual's parser knows the answer
TIMEOUT = 2.0  # seconds without an answer after which it is taken as lost
PATIENCE = 2  # lost answers in a row before drawing by the clock
INTERVAL = 0.25  # seconds between frames at least
SLOW_INTERVAL = 1.0  # the same for a terminal that does not answer
CONGESTED = 8  # writes waiting for the terminal (Textual blocks at 30)


class Pacer:
    """Whether the next frame may be drawn. `answered` may be called from any thread, the rest from one."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._write: Callable[[str], None] | None = None
        self._backlog: Callable[[], int] = lambda: 0
        self._asked: float | None = None
        self._last = float("-inf")
        self._lost = 0
        self._drawn = False
        self.round_trip: float | None = None
        """Seconds from the last answered request to its answer: frame, link and terminal."""

    def attach(self, write: Callable[[str], None], backlog: Callable[[], int]) -> None:
        """Pace by a terminal: `write` sends to it, `backlog` counts the writes it has not taken yet."""
        self._write, self._backlog = write, backlog
        self._asked, self._lost = None, 0

    @property
    def answering(self) -> bool:
        """False once the terminal has stopped answering."""
        return self._lost < PATIENCE

    def ready(self) -> bool:
        """Whether the frame before has arrived (or its answer is lost), so that another may be drawn."""
        if self._write is None:
            return True
        if self._backlog():
            return False
        now = self._clock()
        if self._asked is not None and self.answering:
            if now - self._asked < TIMEOUT:
                return False
            self._lost += 1
            self._asked = None
        return now - self._last >= (INTERVAL if self.answering else SLOW_INTERVAL)

    def drew(self) -> None:
        """Cells have been written."""
        self._drawn = True

    def sent(self) -> None:
        """A frame is done: where it wrote anything, ask the terminal to tell when that is there."""
        self._last = self._clock()
        if self._write is not None and self._drawn and not self._backlog_full():
            self._asked, self._drawn = self._last, False
            self._write(REQUEST)

    def _backlog_full(self) -> bool:
        return self._backlog() >= CONGESTED

    def answered(self) -> None:
        """The terminal reported its cursor."""
        asked, self._asked, self._lost = self._asked, None, 0
        if asked is not None:
            self.round_trip = self._clock() - asked


class PacedDriver(LinuxDriver):
    """Takes answers out of the input for the app's pacer, never lets a full output queue block the event loop, and asks
    for buttons and drags of the mouse but not for every movement."""

    lost = False
    """Whether output was dropped, so that the screen must be drawn anew."""

    def start_application_mode(self) -> None:
        super().start_application_mode()  # type: ignore[no-untyped-call]
        if isinstance(self._app, Paced):
            self._app.pacer.attach(self.write, lambda: self.backlog)
            self._app.shown.forget()
        loop = asyncio.get_running_loop()

        def resized(*_: object) -> None:
            with suppress(RuntimeError):  # the loop has just ended
                loop.call_soon_threadsafe(self._resized)

        signal.signal(signal.SIGWINCH, resized)

    def _resized(self) -> None:
        """Tell the app the size that there is now. Textual reads it in the signal's handler, where another signal may
        come in between, and the older size is then told last."""
        if not self._in_band_window_resize:
            size = Size(*self._get_terminal_size())
            self._app.post_message(Resize(size, size))

    @property
    def backlog(self) -> int:
        """Writes that wait for the terminal."""
        waiting = writer_queue(self)
        return waiting.qsize() if waiting is not None else 0

    @property
    def congested(self) -> bool:
        """Whether the terminal takes less than is written."""
        return self.backlog >= CONGESTED

    def write(self, data: str) -> None:
        """Queue `data`; when the queue is full it is dropped and `lost` is set."""
        waiting = writer_queue(self)
        if waiting is None:
            return
        try:
            waiting.put_nowait(data)
        except queue.Full:
            self.lost = True

    def process_message(self, message: Message) -> None:
        """Runs in the input thread."""
        if isinstance(message, CursorPosition):
            if isinstance(self._app, Paced):
                self._app.pacer.answered()
            return
        super().process_message(message)

    def close(self) -> None:
        """End the writer; what a stalled terminal has not taken by then is given up."""
        thread, waiting = self._writer_thread, writer_queue(self)
        if thread is None or waiting is None:
            return
        deadline = time.monotonic() + 1.0
        while thread.is_alive() and waiting.full() and time.monotonic() < deadline:
            time.sleep(0.02)
        while waiting.full():
            waiting.get_nowait()
        waiting.put_nowait(None)
        thread.join(timeout=1.0)

    def _enable_mouse_support(self) -> None:
        if self._mouse:
            self.write("\x1b[?1000h\x1b[?1002h\x1b[?1006h")

    def _disable_mouse_support(self) -> None:
        if self._mouse:
            self.write("\x1b[?1006l\x1b[?1002l\x1b[?1000l")


class Rendered(CompositorUpdate):
    """An update as what is written for it."""

    def __init__(self, text: str) -> None:
        self.text = text

    def render_segments(self, console: Console) -> str:
        return self.text


class Paced(_Base):
    """Mixin for an App: the `pacer`, updates cut to the changed cells, no drawing while the terminal does not read."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.pacer = Pacer()
        self.narrows = not missing()
        release_strips()
        self.shown = Shown()
        self._drawn_size = Size(0, 0)
        self._drawn_cursor = Offset(0, 0)
        self._missed = False
        super().__init__(*args, **kwargs)

    def _display(self, screen: Screen[Any], renderable: RenderableType | None) -> None:
        driver = self._driver
        if isinstance(driver, PacedDriver) and renderable is not None and (driver.congested or driver.lost):
            # The terminal is behind. What would be drawn now is drawn, once and whole, when it has caught up.
            if not self._missed:
                self._missed = True
                self.set_timer(0.1, self._catch_up)
            return
        update: Any = renderable
        if self.narrows and isinstance(update, CompositorUpdate) and draws(self):
            if self._drawn_size != screen.size:
                self.shown.forget()  # a terminal may move its lines when it is resized
                self._drawn_size = screen.size
            text = self.shown.narrow(update).render_segments(self.console)
            if not text and self._drawn_cursor == self.cursor_position:
                return
            update, self._drawn_cursor = Rendered(text), self.cursor_position
        if update is not None:
            self.pacer.drew()
        super()._display(screen, update)

    def _catch_up(self) -> None:
        driver = self._driver
        if isinstance(driver, PacedDriver) and driver.backlog:
            self.set_timer(0.1, self._catch_up)
            return
        if isinstance(driver, PacedDriver):
            driver.lost = False
        self._missed = False
        self.shown.forget()
        self.screen.refresh()
