"""Which device to train on."""

from __future__ import annotations

import torch

from engine.errors import ConfigError


def choose_device(name: str = "auto") -> torch.device:
    """`auto` (a GPU when there is one), `cpu`, `cuda` or `cuda:1`. Raises ConfigError when it is not here."""
    if name == "auto":
        return torch.device("cuda", 0) if torch.cuda.is_available() else torch.device("cpu")
    if name == "cpu":
        return torch.device("cpu")
    kind, _, index = name.partition(":")
    if kind != "cuda" or (index and not index.isdigit()):
        raise ConfigError(f"no device {name!r}; use auto, cpu, cuda or cuda:0")
    if not torch.cuda.is_available():
        raise ConfigError("no CUDA device here; use --device cpu, and see tinytui doctor")
    if int(index or 0) >= torch.cuda.device_count():
        raise ConfigError(f"there is no {name}; this machine has {torch.cuda.device_count()} CUDA device(s)")
    return torch.device("cuda", int(index or 0))
