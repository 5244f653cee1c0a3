"""Writing a file so that it is whole at every moment: the old one, or the new one, never a piece of either."""

from __future__ import annotations

import contextlib
import errno
import itertools
import os
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from engine.errors import UserError

_serial = itertools.count()

_ADVICE = {
    errno.ENOSPC: "free some space and try again",
    errno.EDQUOT: "free some of your quota and try again",
    errno.EACCES: "check its permissions",
    errno.EPERM: "check its permissions",
    errno.EROFS: "choose a folder that can be written",
    errno.ENOTDIR: "a part of the path is not a folder",
    errno.EISDIR: "choose the name of a file",
    errno.ENOENT: "its folder does not exist",
}


def cannot(verb: str, path: Path | str, error: OSError) -> UserError:
    """The failure as one line that names the path, the reason and what to do: `cannot write PATH: reason; advice`."""
    reason = error.strerror or str(error)
    advice = _ADVICE.get(error.errno or 0, "")
    return UserError(f"cannot {verb} {path}: {reason}" + (f"; {advice}" if advice else ""))


def sync_folder(folder: Path) -> None:
    """Makes a rename inside `folder` last through a power loss; file systems that cannot sync a folder are let be."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise
    finally:
        os.close(fd)


@contextlib.contextmanager
def open_atomic(path: Path, *, sync: bool = True) -> Iterator[BinaryIO]:
    """A file to write that becomes `path` when the block ends well, and is gone when it does not.

    Temporary file beside it, synced, renamed over it, folder synced. `sync=False` leaves out both syncs: still never
    half a file for a reader, but the old one may come back after a power loss. Raises UserError naming the path and
    the reason (disk full, permission); the old file is then intact.
    """
    temp = path.with_name(f".{path.name}.{os.getpid()}-{next(_serial)}.tmp")
    try:
        with temp.open("xb") as file:
            yield file
            file.flush()
            if sync:
                os.fsync(file.fileno())
        temp.replace(path)
        if sync:
            sync_folder(path.parent)
    except OSError as error:
        raise cannot("write", path, error) from None
    finally:
        with contextlib.suppress(OSError):
            temp.unlink(missing_ok=True)


def write_atomic(path: Path, data: bytes, *, sync: bool = True) -> None:
    """Replaces the content of `path` by `data`, whole or not at all; see `open_atomic`."""
    with open_atomic(path, sync=sync) as file:
        file.write(data)


def remove_leftovers(folder: Path) -> None:
    """Unlinks temporary files that killed writers left in `folder`; call it only as the folder's one writer."""
    for temp in folder.glob(".*.tmp"):
        with contextlib.suppress(OSError):
            temp.unlink()
