"""A process that can only look: whatever its code tries, it changes no file, starts no process and commands no trainer.

The read-only screen offers nothing that changes something; this stands behind it, for what a screen forgets. Python
tells an audit hook of every such call before it is made, and a hook can never be taken away again.
"""

from __future__ import annotations

import errno
import os
import socket
import sys
from typing import Any

from engine.control import client
from engine.errors import RunError

WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND

CHANGES = frozenset(
    {
        "os.chflags", "os.chmod", "os.chown", "os.exec", "os.fork", "os.forkpty", "os.link", "os.mkdir", "os.remove",
        "os.posix_spawn", "os.removexattr", "os.rename", "os.rmdir", "os.setxattr", "os.spawn", "os.startfile",
        "os.symlink", "os.system", "os.truncate", "os.utime", "pty.spawn", "socket.bind", "sqlite3.connect",
        "subprocess.Popen",
    }
)  # fmt: skip

HARMLESS = frozenset({"prompt", "ping"})
"""Commands to a trainer that leave its training as it is."""


def seal() -> None:
    """From here on this process only looks. What it tries beyond that raises OSError (EROFS), a command RunError."""
    os.environ["PYTHONDONTWRITEBYTECODE"] = "1"
    sys.dont_write_bytecode = True
    client.refuse = refuse
    sys.addaudithook(_watch)


def refuse(command: str) -> None:
    """Raises RunError for a command that would change a training."""
    if command not in HARMLESS:
        raise RunError("this screen only looks; tinytui serve --allow-control lets it change something")


def _watch(event: str, arguments: tuple[Any, ...]) -> None:
    if event == "open":
        path, mode, flags = arguments
        changes = bool((flags or 0) & WRITES) or (isinstance(mode, str) and not {*mode}.isdisjoint("wax+"))
        if changes and not isinstance(path, int) and path not in (os.devnull, os.fsencode(os.devnull)):
            raise _only_looks(path)
    elif event in CHANGES:
        raise _only_looks(arguments[0] if arguments else None)
    elif event in ("os.kill", "os.killpg"):
        if arguments[1]:  # 0 only asks whether it lives
            raise _only_looks(None)
    elif event == "socket.connect" and arguments[0].family != socket.AF_UNIX:
        raise _only_looks(None)


def _only_looks(what: Any) -> OSError:
    name = what if isinstance(what, str | bytes | os.PathLike) else None
    return OSError(errno.EROFS, "this screen only looks", name)
