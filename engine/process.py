"""Other processes of this very program."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import IO

HOME = Path(__file__).resolve().parents[1]
"""Where `engine` and `tui` lie."""


def command(module: str, *arguments: str) -> list[str]:
    """What runs a module in the Python that runs this one."""
    return [sys.executable, "-m", module, *arguments]


def environment(**more: str) -> dict[str, str]:
    """This process' own, with `more`; the program is found in it from any folder, also when it is not installed."""
    path = os.pathsep.join(filter(None, (str(HOME), os.environ.get("PYTHONPATH"))))
    return {**os.environ, "PYTHONPATH": path, **more}


def start(
    module: str,
    *arguments: str,
    stdin: int = subprocess.DEVNULL,
    stdout: int | IO[bytes] = subprocess.DEVNULL,
    stderr: int | IO[bytes] = subprocess.DEVNULL,
    **more: str,
) -> subprocess.Popen[bytes]:
    """A process of `module`, with `more` in its environment. Raises OSError when there can be none.

    It has a session of its own: signals at this one's terminal are not for it, and it ends with all that it starts.
    """
    return subprocess.Popen(
        command(module, *arguments),
        stdin=stdin,
        stdout=stdout,
        stderr=stderr,
        env=environment(**more),
        start_new_session=True,
    )
