"""Writing files so that each is whole at every moment: the old one, or the new one, never a piece of either.

The run directory, the corpora, the caches and all that a person names as an output are written through this room; and
what a person names as an input is read through it, in bounds and never waiting for anybody.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import re
import secrets
import shutil
import stat
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from engine.errors import UserError

FORGOTTEN = 86_400.0
"""Seconds after which what a killed process left in a shared folder belongs to nobody."""

MOST_IN_PLACE = 1 << 16
"""Bytes of a file that is written over in place."""

MOST_SETTINGS = 1 << 24
"""Bytes of another program's config.json and the like; the list of a large model's weights is some 2 MB."""

_ADVICE = {
    errno.ENOSPC: "free some space",
    errno.EDQUOT: "free some of your quota",
    errno.EFBIG: "raise the limit on the size of files (ulimit -f)",
    errno.EIO: "the disk gives errors; choose another",
    errno.EACCES: "check its permissions",
    errno.EPERM: "check its permissions",
    errno.EROFS: "choose a folder that can be written",
    errno.EEXIST: "a file of that name is in its place",
    errno.ENOTDIR: "a part of the path is not a folder",
    errno.EISDIR: "choose the name of a file",
    errno.ENOENT: "its folder does not exist",
    errno.ENXIO: "choose the name of a file",
    errno.ELOOP: "its links lead in a circle",
    errno.ENAMETOOLONG: "choose a shorter name",
}
_KINDS = {
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a pipe",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFSOCK: "a socket",
}
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
"""What a person may call a file or folder of ours."""
_STAGING = ".export.*.tmp"
_OWN_STREAM = re.compile(r"/dev/(?:(?P<out>stdout)|stderr|fd/(?P<fd>\d+))|/proc/self/fd/(?P<proc>\d+)")


def reason(error: OSError) -> str:
    """The system's own words for what went wrong, in lower case: `no space left on device`."""
    words = error.strerror or str(error) or type(error).__name__
    return words[0].lower() + words[1:]


def cannot(verb: str, path: Path | str, error: OSError, kind: type[UserError] = UserError) -> UserError:
    """The failure as one line that names the path, the reason and what to do: `cannot write PATH: reason; advice`."""
    advice = _ADVICE.get(error.errno or 0, "")
    return kind(f"cannot {verb} {path}: {reason(error)}" + (f"; {advice}" if advice else ""))


@contextlib.contextmanager
def doing(verb: str, path: Path, kind: type[UserError] = UserError, *, inside: bool = False) -> Iterator[None]:
    """What the system refuses as `kind`, in one line; see `cannot`. What is `inside` of a folder has its own name."""
    try:
        yield
    except OSError as error:
        raise cannot(verb, (inside and error.filename) or path, error, kind) from None


def named_well(name: str, of: str, kind: type[UserError]) -> str:
    """`name` itself when it can name a corpus or a preset, whichever it is `of`; otherwise raises `kind`."""
    if NAME.fullmatch(name) is None:
        raise kind(
            f"{name!r} cannot name a {of}; use letters, digits, dot, dash and underscore, a letter or digit first"
        )
    return name


# -- reading -----------------------------------------------------------------------------------------------------------


def open_regular(path: Path) -> BinaryIO:
    """The regular file at `path`, to be read. What is none is not opened: some wait for a writer, and some never end.

    Raises OSError, for what is no regular file in words: `it is a pipe`.
    """
    return os.fdopen(_descriptor(path), "rb")


def read_regular(path: Path | str, most: int) -> bytes:
    """The first `most` bytes of the regular file at `path`, which may be all; see `open_regular`. Raises OSError.

    For many small files: a file object costs as much as all the rest.
    """
    fd = _descriptor(path)
    try:
        size = os.fstat(fd).st_size
        data = os.read(fd, min(most, size + 1))
        while data and len(data) not in (size, most) and (more := os.read(fd, min(most - len(data), 1 << 16))):
            data += more  # it grows, or its size is not told, or less came than was asked for
        return data
    finally:
        os.close(fd)


def _descriptor(path: Path | str) -> int:
    _check_regular(os.stat(path).st_mode)  # noqa: PTH116 - of text too
    fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        _check_regular(os.fstat(fd).st_mode)  # it may be another one by now
    except OSError:
        os.close(fd)
        raise
    return fd


def _check_regular(mode: int) -> None:
    if not stat.S_ISREG(mode):
        raise OSError(errno.ENXIO, f"it is {_KINDS.get(stat.S_IFMT(mode), 'no file')}")


@contextlib.contextmanager
def reading(path: Path, kind: type[UserError] = UserError, gone: str = "check its name") -> Iterator[None]:
    """What fails as a file is read, in one line that names it; `gone` is the advice when it is not there."""
    with doing("read", path, kind):
        try:
            yield
        except FileNotFoundError:
            raise kind(f"cannot read {path}: it is not there; {gone}") from None


def read_small(path: Path, most: int, kind: type[UserError] = UserError) -> bytes:
    """The bytes of a file. Raises `kind` when it cannot be read, is no regular file or has over `most` bytes."""
    with reading(path, kind):
        data = read_regular(path, most + 1)
    if len(data) > most:
        raise kind(f"{path} is larger than {most / 2**20:g} MiB, the most such a file may have; is it the right one?")
    return data


def read_json(path: Path, most: int = MOST_SETTINGS, kind: type[UserError] = UserError) -> dict[str, Any]:
    """The JSON object in a file of another program. Raises `kind` when it cannot be read or is none."""
    try:
        tree = json.loads(read_small(path, most, kind))
    except (ValueError, RecursionError):
        raise kind(f"{path} is not valid JSON; is the folder complete?") from None
    if not isinstance(tree, dict):
        raise kind(f"{path} does not hold settings by name")
    return tree


# -- writing -----------------------------------------------------------------------------------------------------------


def sync(path: Path) -> None:
    """Makes a file, or a folder with all in it, last through a power loss. Raises OSError."""
    if path.is_dir():
        for inner in path.iterdir():
            sync(inner)
        sync_folder(path)
        return
    with path.open("rb+") as file:
        os.fsync(file.fileno())


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


def stands_at(fd: int, path: Path) -> bool:
    """Whether the open file `fd` is still the one at `path`, not removed or replaced since."""
    try:
        return os.path.samestat(os.fstat(fd), path.stat())
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError:
        return True  # nobody knows; writing will tell


def beside(path: Path, ending: str = "tmp") -> Path:
    """A free name in the folder of `path` for what is not whole yet: `.NAME.1f2e3d4c.tmp`; see `sweep`."""
    return path.with_name(f".{path.name[:40]}.{secrets.token_hex(4)}.{ending}")


def sweep(folder: Path, *patterns: str, older_than: float = 0.0) -> None:
    """Removes files and folders that killed writers left in `folder`: those that match, last changed long enough ago.

    Only the one writer of a folder may sweep what is new. What cannot be removed stays for the next time.
    """
    for pattern in patterns or (".*.tmp", ".*.partial"):
        for left in folder.glob(pattern):
            with contextlib.suppress(OSError):
                if older_than and time.time() - left.lstat().st_mtime < older_than:
                    continue
                if left.is_dir() and not left.is_symlink():
                    shutil.rmtree(left, ignore_errors=True)
                else:
                    left.unlink()


@contextlib.contextmanager
def open_atomic(path: Path, *, sync: bool = True, kind: type[UserError] = UserError) -> Iterator[BinaryIO]:
    """A file to write that becomes `path` when the block ends well, and is gone when it does not.

    Temporary file beside it, synced, renamed over it, folder synced. `sync=False` leaves out both syncs: still never
    half a file for a reader, but the old one may come back after a power loss. Raises `kind` naming the path and the
    reason (disk full, permission); the old file is then intact.
    """
    temp = beside(path)
    try:
        with doing("write", path, kind):
            with temp.open("xb") as file:
                yield file
                file.flush()
                if sync:
                    os.fsync(file.fileno())
            temp.replace(path)
            if sync:
                sync_folder(path.parent)
    finally:
        with contextlib.suppress(OSError):
            temp.unlink(missing_ok=True)


def write_atomic(path: Path, data: bytes, *, sync: bool = True, kind: type[UserError] = UserError) -> None:
    """Replaces the content of `path` by `data`, whole or not at all; see `open_atomic`."""
    with open_atomic(path, sync=sync, kind=kind) as file:
        file.write(data)


@contextlib.contextmanager
def open_cached(path: Path, kind: type[UserError] = UserError) -> Iterator[BinaryIO]:
    """`open_atomic` in a cache: its folder is made, and what killed processes left there long ago is swept."""
    sweep(make_folder(path.parent, kind), older_than=FORGOTTEN)
    with open_atomic(path, kind=kind) as file:
        yield file


def write_cached(path: Path, data: bytes, kind: type[UserError] = UserError) -> None:
    """`write_atomic` in a cache; see `open_cached`."""
    with open_cached(path, kind) as file:
        file.write(data)


@contextlib.contextmanager
def open_folder(target: Path) -> Iterator[Path]:
    """A folder to fill that becomes `target` when the block ends well, all in it synced, and is gone when it does not.

    Raises OSError; FileExistsError where something is at `target` by then.
    """
    staging = beside(target)
    staging.mkdir()
    try:
        yield staging
        sync(staging)
        try:
            staging.rename(target)
        except OSError:
            if os.path.lexists(target):
                raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST)) from None
            raise
        try:
            sync_folder(target.parent)
        except OSError:
            target.rename(staging)
            raise
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def remove_folder(folder: Path) -> None:
    """Removes a folder, out of sight in one step, so that no half of it is ever seen. Raises OSError."""
    gone = beside(folder)
    folder.rename(gone)
    shutil.rmtree(gone)


def overwrite(path: Path, data: bytes) -> None:
    """Writes JSON over the file in place, filled up with spaces: for a full disk, where a new file has no room.

    Raises OSError, with the old content in its place, when even that cannot be.
    """
    fd = os.open(path, os.O_RDWR)
    try:
        old = os.pread(fd, MOST_IN_PLACE, 0)
        data = data.rstrip(b"\n").ljust(len(old) - 1) + b"\n"
        if os.pwrite(fd, data, 0) < len(data):
            os.pwrite(fd, old, 0)
            os.ftruncate(fd, len(old))
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    finally:
        os.close(fd)


def make_folder(folder: Path, kind: type[UserError] = UserError) -> Path:
    """The folder, made with all above it when it is not there. Raises `kind` when it cannot be."""
    with doing("make", folder, kind):
        folder.mkdir(parents=True, exist_ok=True)
    return folder


# -- paths that a person names as an output ------------------------------------------------------------------------


@contextlib.contextmanager
def open_output(path: Path, kind: type[UserError] = UserError) -> Iterator[BinaryIO]:
    """What a person named, to be written: only a regular file is ever replaced, whole or not at all.

    A link is followed to what it names, and stays. Devices, FIFOs and this process' own streams (`/dev/stdout`) are
    written into, as `cat` does. Folders and sockets are refused. Raises `kind` in one line; an old file is then intact.
    """
    with doing("write", path, kind):
        fd = _written_into(path)
        if fd is not None:
            with os.fdopen(fd, "wb") as stream:
                yield stream
            return
        target = Path(os.path.realpath(path))
        old = target.stat() if target.exists() else None
        if old is not None and not os.access(target, os.W_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    with open_atomic(target, kind=kind) as file:
        if old is not None:
            with contextlib.suppress(OSError):
                os.fchown(file.fileno(), old.st_uid, old.st_gid)
            with contextlib.suppress(OSError):
                os.fchmod(file.fileno(), stat.S_IMODE(old.st_mode))
        yield file


def check_output(path: Path) -> None:
    """Raises UserError for what `open_output` would refuse, before the work that is to be written."""
    with doing("write", path):
        if _mode(path) is None and not path.is_symlink() and not path.parent.is_dir():
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))


def _mode(path: Path) -> int | None:
    """What is there to be written, if anything. Raises OSError for folders and sockets."""
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        return None
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, "it is a folder")
    if stat.S_ISSOCK(mode):
        raise OSError(errno.ENXIO, "it is a socket")
    return mode


def write_output(path: Path, data: bytes, kind: type[UserError] = UserError) -> None:
    """Writes `data` to what a person named; see `open_output`."""
    with open_output(path, kind) as file:
        file.write(data)


def _written_into(path: Path) -> int | None:
    """A descriptor for what is written into in place; None for a regular file, there or not yet. Raises OSError."""
    if own := _OWN_STREAM.fullmatch(str(path)):
        return os.dup(int(own["fd"] or own["proc"] or (1 if own["out"] else 2)))
    mode = _mode(path)
    if mode is None or (stat.S_ISREG(mode) and os.path.exists(os.path.realpath(path))):  # noqa: PTH110 - with realpath
        return None
    return os.open(path, os.O_WRONLY | os.O_TRUNC)  # also an open file without a name, under /proc/PID/fd


@contextlib.contextmanager
def open_output_folder(folder: Path, *, force: bool = False) -> Iterator[Path]:
    """A folder to put files in, which all appear in `folder` when the block ends well, and not at all otherwise.

    A folder that holds something is refused but by `force`: then files of the same names are replaced, by the rules of
    `open_output`, and all others stay. Raises UserError in one line.
    """
    check_output_folder(folder, force=force)
    staging = beside(folder / "export")
    made = not folder.exists()
    try:
        with doing("write into", folder):
            folder.mkdir(parents=True, exist_ok=True)
            sweep(folder, _STAGING, older_than=FORGOTTEN)
            staging.mkdir()
            yield staging
            files = sorted(staging.iterdir())
            for file in files:
                if (folder / file.name).exists() and not (folder / file.name).is_file():
                    raise UserError(f"cannot write {folder / file.name}: it is no regular file; choose another folder")
            for file in files:
                if (folder / file.name).is_symlink():
                    write_output(folder / file.name, file.read_bytes())
                else:
                    file.replace(folder / file.name)
            sync_folder(folder)
            made = False
    finally:
        shutil.rmtree(staging, ignore_errors=True)
        if made:
            with contextlib.suppress(OSError):
                folder.rmdir()


def check_output_folder(folder: Path, *, force: bool) -> None:
    """Raises UserError for what `open_output_folder` would refuse, before the work that is to be written."""
    with doing("write into", folder):
        if not os.path.lexists(folder):
            return
        if not folder.is_dir():
            raise UserError(f"cannot write into {folder}: it is no folder; choose another name")
        holds = [entry.name for entry in folder.iterdir() if not entry.match(_STAGING)]
    if holds and not force:
        raise UserError(
            f"{folder} is not empty; choose another folder, or add --force: "
            "files of the same names are then replaced, others stay"
        )
