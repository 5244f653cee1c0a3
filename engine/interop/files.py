"""Writing folders that other programs read: every file whole or not at all."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from safetensors.torch import save
from torch import Tensor

from engine.errors import UserError
from engine.files import cannot, write_atomic


def make_folder(folder: Path) -> Path:
    """The folder, made when it is not there. Raises UserError when it cannot be."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise cannot("make", folder, error) from None
    return folder


def write_json(path: Path, tree: dict[str, Any]) -> None:
    write_atomic(path, (json.dumps(tree, indent=2) + "\n").encode())


def write_tensors(path: Path, tensors: dict[str, Tensor]) -> None:
    """A safetensors file, marked as PyTorch's as transformers wants it."""
    write_atomic(path, save(tensors, metadata={"format": "pt"}))


def read_json(path: Path) -> dict[str, Any]:
    """Raises UserError when the file is not there or is not a JSON object."""
    try:
        tree = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise cannot("read", path, error) from None
    except ValueError:
        raise UserError(f"{path} is not valid JSON; is the folder complete?") from None
    if not isinstance(tree, dict):
        raise UserError(f"{path} does not hold settings by name")
    return tree
