"""The files of folders that other programs read, and reading theirs: bounded, checked, and never waited for."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict

from engine.errors import UserError
from engine.files import read_small, write_atomic

if TYPE_CHECKING:
    from torch import Tensor

MOST_SETTINGS = 1 << 24  # bytes of config.json and the like; the list of a large model's weights is some 2 MB


class Told(BaseModel):
    """What is asked of a file's settings; of the others there may be any."""

    model_config = ConfigDict(strict=True)


def write_json(path: Path, tree: dict[str, Any]) -> None:
    """Raises UserError when it cannot be written."""
    write_atomic(path, (json.dumps(tree, indent=2) + "\n").encode())


def write_tensors(path: Path, tensors: dict[str, Tensor]) -> None:
    """A safetensors file, marked as PyTorch's as transformers wants it. Raises UserError when it cannot be written."""
    from safetensors.torch import save

    write_atomic(path, save(tensors, metadata={"format": "pt"}))


def read_json(path: Path, most: int = MOST_SETTINGS, kind: type[UserError] = UserError) -> dict[str, Any]:
    """The JSON object in a file of at most `most` bytes. Raises `kind` when it cannot be read or is none."""
    try:
        tree = json.loads(read_small(path, most, kind))
    except (ValueError, RecursionError):
        raise kind(f"{path} is not valid JSON; is the folder complete?") from None
    if not isinstance(tree, dict):
        raise kind(f"{path} does not hold settings by name")
    return tree


def plain(found: object, most: int = 150) -> str:
    """What was found in a file, for a line of a message: short, and nothing in it but what can be printed."""
    return "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in str(found)[:most])
