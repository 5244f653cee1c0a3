"""What lies where a path is being typed, to choose from."""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from pathlib import Path, PurePath

from engine.errors import CorpusError
from engine.files import reason

MOST = 200
"""Entries that are listed; and of a folder so many times ten are looked at."""


@dataclass(frozen=True)
class PathEntry:
    """A file or folder: `path` as it would be typed, `shown` its name, `size` of a file in bytes."""

    path: str
    shown: str
    folder: bool
    size: int | None = None


@dataclass(frozen=True)
class Listing:
    """What begins with `typed`; `exact` says that a file or folder lies right there, `more` how many are not listed."""

    typed: str
    entries: tuple[PathEntry, ...]
    exact: bool
    more: int = 0


def list_paths(typed: str) -> Listing:
    """Folders and files that begin as typed, folders first; hidden ones where the name begins with a dot.

    Raises CorpusError where the folder cannot be read.
    """
    head, name = os.path.split(typed)
    folder = Path(head or ".").expanduser()
    if not folder.is_dir():
        return Listing(typed, (), False)
    found = []
    try:
        with os.scandir(folder) as inside:
            for number, each in enumerate(inside):
                if number >= 10 * MOST:
                    break
                if each.name.startswith(name) and (name.startswith(".") or not each.name.startswith(".")):
                    found.append(_entry(head, each))
    except OSError as error:
        raise CorpusError(f"cannot read {folder}: {reason(error)}") from None
    found.sort(key=lambda each: (not each.folder, each.shown.lower()))
    exact = bool(typed.strip()) and Path(typed).expanduser().exists()
    return Listing(typed, tuple(found[:MOST]), exact, max(0, len(found) - MOST))


def _entry(head: str, each: os.DirEntry[str]) -> PathEntry:
    path = str(PurePath(head, each.name))
    try:
        facts = each.stat()
    except OSError:
        return PathEntry(path, each.name, False)
    if stat.S_ISDIR(facts.st_mode):
        return PathEntry(path + "/", each.name + "/", True)
    return PathEntry(path, each.name, False, facts.st_size if stat.S_ISREG(facts.st_mode) else None)
