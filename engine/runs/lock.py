"""One trainer a run: an flock on RUN/lock, with a line in the file that says whose it is.

The kernel drops the lock when its holder dies, however it dies, so a stale lock file never needs clearing away.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import socket
import time
import weakref
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from engine.errors import LockedError, RunError
from engine.files import cannot

_held: weakref.WeakSet[RunLock] = weakref.WeakSet()

PATIENCE = 0.5
"""Seconds a trainer tries to get the lock: a reader's probe holds it for some microseconds."""


class RunLock:
    """The exclusive lock of a run directory, as a context manager; held until `release` or the process' death.

    Children never hold it: the descriptor closes on exec, and a forked child drops its copy.
    """

    def __init__(self, folder: Path, *, socket: str = "") -> None:
        self.path = folder / "lock"
        self.socket = socket
        self._fd = -1

    def acquire(self) -> Self:
        """Raises LockedError naming the owner, RunError when the run is gone, UserError when it cannot be written."""
        try:
            self._fd = self._open()
        except FileNotFoundError:
            raise RunError(f"{self.path.parent} is gone; see tinytui runs list") from None
        except OSError as error:
            raise cannot("lock", self.path, error) from None
        _held.add(self)
        try:
            self.say(self.socket)
        except BaseException:
            self.release()
            raise
        return self

    def _open(self) -> int:
        give_up = time.monotonic() + PATIENCE
        while True:
            fd = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o666)
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if os.path.samestat(os.fstat(fd), os.stat(self.path)):  # noqa: PTH116 - pairs with fstat
                    return fd
                os.close(fd)  # the run was removed and made anew between open and flock
            except OSError as error:
                os.close(fd)
                if error.errno not in (errno.EWOULDBLOCK, errno.EACCES):
                    raise
                if time.monotonic() > give_up:
                    raise self._locked() from None
            time.sleep(0.01)

    def _locked(self) -> LockedError:
        owner = read_owner(self.path)
        name = self.path.parent.name
        who = f"process {owner.get('pid', '?')} on {owner.get('host', '?')}" if owner else "another process"
        return LockedError(f"run {name} is being trained by {who}; open it with tinytui open {name}")

    def say(self, socket: str) -> None:
        """Writes whose lock this is and the control socket's path; the file is never empty in between."""
        self.socket = socket
        owner = {"pid": os.getpid(), "host": hostname(), "socket": socket, "started": round(time.time(), 3)}
        line = json.dumps(owner).encode() + b"\n"
        try:
            os.pwrite(self._fd, line, 0)
            os.ftruncate(self._fd, len(line))
        except OSError as error:
            raise cannot("write", self.path, error) from None

    @property
    def held(self) -> bool:
        return self._fd >= 0

    def release(self) -> None:
        """Gives the lock back; harmless when it is not held."""
        if self._fd >= 0:
            with contextlib.suppress(OSError):
                fcntl.flock(self._fd, fcntl.LOCK_UN)  # also for a child that was forked this moment
        self.drop()

    def drop(self) -> None:
        """Closes this process' hold on the lock; where a fork shares it, the other process keeps it."""
        fd, self._fd = self._fd, -1
        _held.discard(self)
        if fd >= 0:
            os.close(fd)

    def __enter__(self) -> Self:
        return self.acquire()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()


def _drop_in_child() -> None:
    """The lock is the parent's alone, and free when the parent dies, whatever its children do."""
    for lock in list(_held):
        with contextlib.suppress(OSError):
            lock.drop()


os.register_at_fork(after_in_child=_drop_in_child)


def is_locked(path: Path) -> bool | None:
    """Whether a process of this machine holds the lock file `path`; None when that cannot be told."""
    try:
        fd = os.open(path, os.O_RDONLY)
    except FileNotFoundError:
        return False
    except OSError:
        return None
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError as error:
        return True if error.errno in (errno.EWOULDBLOCK, errno.EACCES) else None
    finally:
        os.close(fd)
    return False


def read_owner(path: Path) -> dict[str, Any]:
    """{pid, host, socket, started} of the last holder of the lock file `path`; {} when there was none."""
    try:
        owner = json.loads(path.read_bytes().split(b"\n", 1)[0])
    except (OSError, ValueError):
        return {}
    return owner if isinstance(owner, dict) else {}


def hostname() -> str:
    return socket.gethostname()
