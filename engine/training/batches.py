"""Batches on the device, as a pure function of (seed, step): nothing to save, nothing to lose on resume."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from engine.config import Config, TrainConfig
from engine.tokenizers.dataset import TokenDataset
from engine.training.device import moved
from engine.training.memory import micro_batch
from engine.training.ranks import ALONE, Ranks


class Batches:
    """Where this rank's batches come from: the memory-mapped corpus. `salt` counts the roll-backs: after one, other
    batches are drawn.

    Sequences are numbered through the whole run: a step has the same ones, however it is parted among ranks and
    micro-batches.
    """

    def __init__(self, dataset: TokenDataset, config: Config, device: torch.device, ranks: Ranks = ALONE) -> None:
        self.dataset, self.device, self.ranks, self.salt = dataset, device, ranks, 0
        self.seed, self.length = config.train.seed, config.model.block_size
        self.part(config.train)

    def part(self, train: TrainConfig) -> None:
        """Cut the global batch into a share for each rank, and that into micro-batches as `train` says."""
        self.whole = train.batch_size * train.grad_accum
        self.share = self.whole // self.ranks.size
        self.size = micro_batch(train.batch_size, self.share)
        self.micros = self.share // self.size

    def get(self, step: int, micro: int) -> tuple[Tensor, Tensor]:
        """Inputs and targets, int64 (B, T), for micro-batch `micro` of the step after `step`.

        Targets that do not count are `answers.LEFT_OUT`.
        """
        x, y = self.dataset.batch(self.seed + self.salt, self.number(step, micro), self.size, self.length)
        later = (step, micro + 1) if micro + 1 < self.micros else (step + 1, 0)
        self.dataset.ahead(self.seed + self.salt, self.number(*later), self.size, self.length)
        return moved(x, self.device), moved(y, self.device)

    def parts(self, step: int, micro: int) -> float:
        """By what that micro-batch's mean loss is divided for its part of the step's, the ranks' parts being averaged.

        By its share of all targets of the step that count: the step's mean is the same however it is parted. nan when
        none counts in the whole step.
        """
        if self.dataset.answers is None:
            return self.micros
        first = self.number(step, 0, 0)
        starts = self.dataset.offsets(self.seed + self.salt, first, self.whole, self.length)
        counted = self.dataset.answers[0].targets(starts, self.length)
        own = self.number(step, micro) - first
        mine, total = int(counted[own : own + self.size].sum()), int(counted.sum())
        if not mine:
            return math.inf if total else math.nan
        return total / (mine * self.ranks.size)

    def offsets(self, step: int, micro: int, rank: int | None = None) -> np.ndarray:
        """Where in the training split the sequences of that micro-batch (of another rank) begin, int64 (B,)."""
        return self.dataset.offsets(self.seed + self.salt, self.number(step, micro, rank), self.size, self.length)

    def number(self, step: int, micro: int, rank: int | None = None) -> int:
        """Of that micro-batch's first sequence."""
        return step * self.whole + (self.ranks.rank if rank is None else rank) * self.share + micro * self.size
