"""The files of folders that other programs read."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from safetensors.torch import save
from torch import Tensor

from engine.files import write_atomic


def write_json(path: Path, tree: dict[str, Any]) -> None:
    """Raises UserError when it cannot be written."""
    write_atomic(path, (json.dumps(tree, indent=2) + "\n").encode())


def write_tensors(path: Path, tensors: dict[str, Tensor]) -> None:
    """A safetensors file, marked as PyTorch's as transformers wants it. Raises UserError when it cannot be written."""
    write_atomic(path, save(tensors, metadata={"format": "pt"}))
