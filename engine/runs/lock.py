"""One trainer a run: an flock on RUN/lock, with a line in the file that says whose it is.

The kernel drops the lock when its holder dies, however it dies, so a stale lock file never needs clearing away.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import time
import weakref
from pathlib import Path
from typing import Any, Self

from engine.errors import LockedError, RunError
from engine.files import cannot, stands_at
from engine.machine import hostname
from engine.runs.schema import DamagedError, Owner, load_line, read_bytes

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
        _held.add(self)  # before there is anything to hold: a fork of another thread may come at any moment
        try:
            self._take()
            self.say(self.socket)
        except FileNotFoundError:
            self.drop()
            raise RunError(f"{self.path.parent} is gone; see tinytui runs list") from None
        except OSError as error:
            self.drop()
            raise cannot("lock", self.path, error) from None
        except BaseException:
            self.release()
            raise
        return self

    def _take(self) -> None:
        give_up = time.monotonic() + PATIENCE
        while True:
            self._fd = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_NONBLOCK, 0o666)
            try:
                fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if os.path.samestat(os.fstat(self._fd), os.stat(self.path)):  # noqa: PTH116 - pairs with fstat
                    return
                # else the run was removed and made anew between open and flock
            except OSError as error:
                if error.errno not in (errno.EWOULDBLOCK, errno.EACCES):
                    raise
                if time.monotonic() > give_up:
                    raise locked(self.path.parent) from None
            self._close()
            time.sleep(0.01)

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

    @property
    def in_place(self) -> bool:
        """Whether the file that is locked is still the one at its path."""
        return stands_at(self._fd, self.path)

    def release(self) -> None:
        """Gives the lock back; harmless when it is not held."""
        if self._fd >= 0:
            with contextlib.suppress(OSError):
                fcntl.flock(self._fd, fcntl.LOCK_UN)  # also for a child that was forked this moment
        self.drop()

    def drop(self) -> None:
        """Closes this process' hold on the lock; where a fork shares it, the other process keeps it."""
        _held.discard(self)
        self._close()

    def _close(self) -> None:
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)

    def __enter__(self) -> Self:
        return self.acquire()

    def __exit__(self, *error: object) -> None:
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
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK)  # of a pipe too
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
    """{pid, host, socket, started} of the last trainer that held the lock file `path`; {} when there was none."""
    try:
        return load_line(read_bytes(path).split(b"\n", 1)[0], Owner)
    except (OSError, ValueError, DamagedError):
        return {}


def locked(folder: Path) -> LockedError:
    """Why nobody else may train the run at `folder` now: its trainer, or whoever else holds its lock, by name."""
    path, name = folder / "lock", folder.name
    owner, found = read_owner(path), holders(path)
    if found and owner.get("pid") not in found and not (owner.get("host") == hostname() and _lives(owner.get("pid"))):
        pid = min(found)
        return LockedError(f"run {name} is locked by process {pid}{_of_user(pid)}, no trainer of ours; end that first")
    who = f"process {owner.get('pid', '?')} on {owner.get('host', '?')}" if owner else "another process"
    return LockedError(f"run {name} is being trained by {who}; open it with tinytui open {name}")


def _lives(pid: int | None) -> bool:
    try:
        os.kill(pid or 0, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        pass
    return bool(pid)


def holders(path: Path) -> set[int]:
    """Processes that hold the file `path` with flock, as the kernel lists them; none where it does not."""
    try:
        facts = path.stat()
        lines = Path("/proc/locks").read_text(encoding="ascii").splitlines()
    except (OSError, ValueError):
        return set()
    place = f"{os.major(facts.st_dev):02x}:{os.minor(facts.st_dev):02x}:{facts.st_ino}"
    fields = [line.split() for line in lines]
    held = [each for each in fields if len(each) == 8 and each[1] == "FLOCK" and each[5] == place]
    return {int(pid) for _, _, _, _, pid, *_ in held if int(pid) > 0}  # 0, -1: in another container


def _of_user(pid: int) -> str:
    import pwd

    try:
        user = Path(f"/proc/{pid}").stat().st_uid
        return f" of {pwd.getpwuid(user).pw_name}"
    except (OSError, KeyError):
        return ""
