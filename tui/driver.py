"""Textual's Linux driver, as far as a workbench over SSH needs it to differ."""

from __future__ import annotations

from typing import Any

from textual.drivers.linux_driver import LinuxDriver

from tui.hangup import TerminalFile


class Terminal(LinuxDriver):
    """Buttons and drags of the mouse without every move of it, and output that survives a stalled or dead terminal."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._file: Any = TerminalFile(self._file.fileno())

    def _enable_mouse_support(self) -> None:
        if self._mouse:
            self.write("\x1b[?1000h\x1b[?1002h\x1b[?1006h")

    def _disable_mouse_support(self) -> None:
        if self._mouse:
            self.write("\x1b[?1006l\x1b[?1002l\x1b[?1000l")

    def abandon(self) -> None:
        """Let nothing wait for the terminal any more; safe in a signal handler."""
        self._file.abandon()
