"""Reading a small file that somebody named: a regular one, of a bounded size, and never waiting for anybody."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from engine.errors import UserError
from engine.files import cannot

_KINDS = {
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a pipe",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFSOCK: "a socket",
}


def read_small(path: Path, most: int, kind: type[UserError] = UserError) -> bytes:
    """The bytes of the file `path`. Raises `kind` when it cannot be read, is no regular file or has over `most` bytes.

    What is no regular file is not opened: some wait for a writer, and some never end.
    """
    try:
        check_regular(path.stat(), path, kind)
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(fd, "rb") as file:
            check_regular(os.fstat(fd), path, kind)  # it may be another one by now
            data = file.read(most + 1)
    except FileNotFoundError:
        raise kind(f"cannot read {path}: it is not there; check its name") from None
    except OSError as error:
        raise cannot("read", path, error, kind) from None
    if len(data) > most:
        raise kind(f"{path} is larger than {most / 2**20:g} MiB, the most such a file may have; is it the right one?")
    return data


def check_regular(found: os.stat_result, path: Path, kind: type[UserError] = UserError) -> None:
    """Raises `kind` when what was found at `path` is no regular file."""
    if not stat.S_ISREG(found.st_mode):
        what = _KINDS.get(stat.S_IFMT(found.st_mode), "no file")
        raise kind(f"cannot read {path}: it is {what}; name a file")
