"""Files that are there whole or not at all."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from engine.errors import CorpusError


def reason(error: OSError) -> str:
    """The system's own words for what went wrong, in lower case: `no space left on device`."""
    words = error.strerror or type(error).__name__
    return words[0].lower() + words[1:]


def sync_dir(path: Path) -> None:
    """Makes a rename inside `path` survive a power cut."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextlib.contextmanager
def whole_file(path: Path) -> Iterator[BinaryIO]:
    """A binary file to write to that becomes `path` only when the block ends without an error.

    Written beside `path` under a temporary name, synced, then renamed; on an error the temporary file is removed and
    what stood at `path` before stands there still. Raises CorpusError when it cannot be written (full disk, no rights).
    """
    temporary: Path | None = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".partial", dir=path.parent)
        temporary = Path(name)
        with os.fdopen(handle, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.chmod(0o644)
        temporary.replace(path)
        temporary = None
        sync_dir(path.parent)
    except OSError as error:
        raise CorpusError(f"cannot write {path}: {reason(error)}") from None
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)
