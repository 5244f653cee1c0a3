"""Where a person left the workbench and each run in it: the screen that is begun at the next time."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

NAME = "left_at"
"""In the settings: the path of a run, or nothing for the workbench, to `screen` or `screen pane`."""
MOST = 100
"""Runs that are remembered."""


class Left(NamedTuple):
    """A screen by name, and the pane that was shown alone on it."""

    screen: str
    pane: str = ""


def left_at(kept: Mapping[str, Any], run: Path | None) -> Left | None:
    """Where `run` was left, or the workbench; None where that is not known."""
    found = _found(kept).get(_key(run))
    return Left(*found.partition(" ")[::2]) if found is not None else None


def leaving(kept: Mapping[str, Any], run: Path | None, left: Left) -> dict[str, str] | None:
    """What is to be remembered when the workbench is at this screen, and `run` on it; None where that is known."""
    said, found = " ".join(filter(None, left)), _found(kept)
    keys = dict.fromkeys((_key(None), _key(run)))
    if all(found.get(key) == said for key in keys):
        return None
    for key in keys:
        found.pop(key, None)
        found[key] = said
    return dict([*found.items()][-MOST:])


def _found(kept: Mapping[str, Any]) -> dict[str, str]:
    found = kept.get(NAME)
    return {key: each for key, each in found.items() if isinstance(each, str)} if isinstance(found, dict) else {}


def _key(run: Path | None) -> str:
    return str(run.absolute()) if run is not None else ""
