"""Reading files that other programs wrote: bounded, checked, and never waited for."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from engine.errors import UserError
from engine.reading import read_small

MOST_SETTINGS = 1 << 24  # bytes of config.json and the like; the list of a large model's weights is some 2 MB


def read_json(path: Path, most: int = MOST_SETTINGS, kind: type[UserError] = UserError) -> dict[str, Any]:
    """The JSON object in a file of at most `most` bytes. Raises `kind` when it cannot be read or is none."""
    try:
        tree = json.loads(read_small(path, most, kind))
    except (ValueError, RecursionError):
        raise kind(f"{path} is not valid JSON; is the folder complete?") from None
    if not isinstance(tree, dict):
        raise kind(f"{path} does not hold settings by name")
    return tree


def said(error: ValidationError) -> str:
    """The first thing that pydantic found wrong: `model.vocab: Input should be a valid dictionary`."""
    first = error.errors(include_url=False, include_input=False)[0]
    where = ".".join(plain(part, 40) for part in first["loc"])
    return plain(f"{where}: {first['msg'][0].lower()}{first['msg'][1:]}")


def plain(found: object, most: int = 150) -> str:
    """What was found in a file, for a line of a message: short, and nothing in it but what can be printed."""
    return "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in str(found)[:most])
