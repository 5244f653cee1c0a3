"""A trainer whose run is a list: what it would write is told there, and nothing is on any disk."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import torch

from engine.control import CommandQueue
from engine.plan.measure import made_up
from engine.runs.layout import RunDir
from engine.tokenizers.dataset import TokenDataset
from engine.training.crew import Crew
from engine.training.live import LiveWeights
from engine.training.trainer import Trainer

from .conftest import tiny_config

CPU = torch.device("cpu")
SETS = (
    "model.n_layer=1",
    "train.max_steps=10",
    "train.eval_every=5",
    "train.checkpoint_every=4",
    "train.warmup_steps=0",
)


class Writer:
    """Stands for a run's writer: `told` has all that it was given, in order."""

    def __init__(self, folder: Path) -> None:
        self.run, self.told = RunDir(folder), list[Any]()
        self.stuck, self.taken, self.restored = "", "", False
        self.unsynced: Exception | None = None

    def status(self, **fields: Any) -> None:
        self.told.append(("status", fields))

    def event(self, kind: str, step: int, **fields: Any) -> None:
        self.told.append((kind, step, fields))

    def metric(self, **fields: Any) -> None:
        self.told.append(("metric", fields))

    def sample(self, **fields: Any) -> None:
        self.told.append(("sample", fields))

    def describe(self, **fields: Any) -> None:
        self.told.append(("describe", fields))

    def rewind(self, step: int) -> None:
        self.told.append(("rewind", step))

    def retry(self) -> str:
        return self.stuck

    def unsaved(self) -> list[str]:
        return []

    def sync(self) -> None:
        if self.unsynced is not None:
            raise self.unsynced


@cache
def tokens() -> TokenDataset:
    return made_up(tiny_config(), 20, CPU)


def telling(folder: Path, *sets: str) -> tuple[Trainer, list[Any]]:
    """A trainer at its beginning, and what it tells from now on."""
    writer: Any = Writer(folder)
    crew = Crew(tiny_config(*SETS, *sets), tokens(), CPU)
    return Trainer(writer, crew, CommandQueue(), LiveWeights()), writer.told


def said(told: list[Any], *kinds: str) -> list[Any]:
    """Of it the events and records of these kinds, in order."""
    return [each for each in told if each[0] in kinds]
