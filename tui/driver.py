"""Textual's Linux driver, as far as a workbench over SSH needs it to differ."""

from __future__ import annotations

from typing import Any

from tui.hangup import TerminalFile
from tui.pacing import PacedDriver


class Terminal(PacedDriver):
    """Output that is paced, waits for a stalled terminal in its own thread only, and is swallowed by a dead one."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._file: Any = TerminalFile(self._file.fileno())

    def abandon(self) -> None:
        """Let nothing wait for the terminal any more; safe in a signal handler."""
        self._file.abandon()
