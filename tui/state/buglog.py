"""Where the whole of a bug is written, of which the screen says one line: `$XDG_STATE_HOME/tinytui/bugs.txt`."""

from __future__ import annotations

import time
import traceback
from pathlib import Path

from engine.folders import state_dir

MOST = 1 << 20
"""Bytes of the file before it becomes `bugs.1.txt`, in place of the one before."""


def bug_log() -> Path:
    """Where bugs are written; `XDG_STATE_HOME` or `~/.local/state`."""
    return state_dir() / "bugs.txt"


def told(error: BaseException, text: str = "") -> str:
    """A bug in one line, with the file that now holds its traceback, where that could be written.

    text: what was found out about it already, such as another process' traceback, instead of the error's own.
    """
    said = f"this is a bug: {' '.join(f'{type(error).__name__}: {error}'.split())}"
    try:
        path = bug_log()
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.exists() and path.stat().st_size > MOST:
            path.replace(path.with_suffix(".1.txt"))
        whole = text or "".join(traceback.format_exception(error))
        with path.open("a", encoding="utf-8", errors="backslashreplace") as log:
            log.write(f"-- {time.strftime('%Y-%m-%d %H:%M:%S')} {said}\n{whole}\n")
    except (OSError, RuntimeError):  # no home, no room: the line is said all the same
        return said
    return f"{said} (all of it is in {path})"
