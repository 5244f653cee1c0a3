"""What was tried on this machine, and is kept for it: the same run computes the same way when it is started again."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from engine.config import Config
from engine.errors import UserError
from engine.files import read_small, write_atomic
from engine.folders import cache_dir
from engine.machine import cpu_model

MOST_KEPT = 200


class Trials:
    """Seconds that each of some ways took, by what they depend on, in a file of the cache."""

    def __init__(self, name: str, ways: tuple[str, ...]) -> None:
        self.name, self.ways = name, ways

    @property
    def path(self) -> Path:
        return cache_dir() / self.name

    def kept(self) -> dict[str, dict[str, float]]:
        """All that were measured; none of a file that is not there yet, or damaged: it is measured again."""
        try:
            tree = json.loads(read_small(self.path, 1 << 20))
        except (UserError, ValueError, RecursionError):
            return {}
        return {key: each for key, each in tree.items() if self.is_one(each)} if isinstance(tree, dict) else {}

    def is_one(self, value: object) -> bool:
        """Whether it says of every way how long that took."""
        return isinstance(value, dict) and all(isinstance(value.get(way), float) for way in self.ways)

    def keep(self, key: str, seconds: dict[str, float]) -> None:
        """Adds what was measured; of many the newest stay."""
        tree = {**self.kept(), key: seconds}
        newest = dict(list(tree.items())[-MOST_KEPT:])
        with suppress(UserError, OSError):  # it will be measured again
            self.path.parent.mkdir(parents=True, exist_ok=True)
            write_atomic(self.path, json.dumps(newest, indent=1).encode(), sync=False)


def key_of(config: Config, vocab_size: int, step: tuple[Any, ...]) -> str:
    """What a trial depends on: machine, threads, torch, the model, and of the `step` what tells it from others."""
    import torch

    where = (cpu_model(), torch.get_num_threads(), torch.__version__)
    return json.dumps([where, config.model.model_dump(mode="json"), vocab_size, step], separators=(",", ":"))


def cpu_seconds(do: Callable[[], object]) -> float:
    """CPU time of it over the threads that share it: a choice that is kept must not be of a busy moment."""
    import torch

    before = time.process_time()
    do()
    return (time.process_time() - before) / torch.get_num_threads()
