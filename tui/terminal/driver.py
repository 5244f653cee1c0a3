"""Textual's Linux driver, as far as a workbench over SSH needs it to differ."""

from __future__ import annotations

import os
import signal
import sys
import termios
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from textual.drivers import linux_driver

from tui.terminal.hangup import TerminalFile, hung_up
from tui.terminal.pacing import PacedDriver
from tui.terminal.private import read_pastes_as_text


class Terminal(PacedDriver):
    """Output that is paced, waits for a stalled terminal in its own thread only, and is swallowed by a dead one.

    SIGTSTP and SIGCONT are only noted by their handlers and seen to in the loop, when there is one: the kernel sends a
    SIGCONT after the SIGHUP of a terminal that closes, and by then the screen may have ended.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._file: Any = TerminalFile(sys.__stdout__.fileno() if sys.__stdout__ is not None else 1)
        self._stopped = self._woken = False

    def run_input_thread(self) -> None:
        read_pastes_as_text(linux_driver)
        super().run_input_thread()

    def abandon(self) -> None:
        """Let nothing wait for the terminal any more; safe in a signal handler."""
        self._file.abandon()

    def _sigtstp_application(self, *_: object) -> None:
        self._woken = False
        if not self._soon(self._stop):
            os.kill(os.getpid(), signal.SIGSTOP)

    def _sigcont_application(self, *_: object) -> None:
        self._woken = True
        if not self._stopped:
            self._soon(self._draw_again)

    def _soon(self, call: Callable[[], None]) -> bool:
        """Have `call` run in the app's loop; False when there is none."""
        loop = self._app._loop
        try:
            if loop is None or not self._app.is_running:
                return False
            loop.call_soon_threadsafe(call)
        except RuntimeError:  # it has just ended
            return False
        return True

    def _stop(self) -> None:
        """Give the terminal back as it was, sleep until SIGCONT, and take it again."""
        self._stopped = True
        self.suspend_application_mode()
        if not self._woken:  # it may have come by now, and nobody would send another
            os.kill(os.getpid(), signal.SIGSTOP)
        self._stopped = False
        self._take_again()

    def _draw_again(self) -> None:
        """After a stop that nobody could see coming (SIGSTOP) the terminal may have been used by others."""
        self.suspend_application_mode()
        self._take_again()

    def _take_again(self) -> None:
        with suppress(OSError, termios.error):
            if os.isatty(self.fileno) and not hung_up(self.fileno):
                self.resume_application_mode()
                self._app.refresh(layout=True)
