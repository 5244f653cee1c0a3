"""Batches on the device, as a pure function of (seed, step): nothing to save, nothing to lose on resume."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod

import numpy as np
import torch
from torch import Tensor

from engine.config import Config, TrainConfig
from engine.errors import is_out_of_memory
from engine.tokenizers.answers import LEFT_OUT
from engine.tokenizers.dataset import TokenDataset
from engine.training.device import moved
from engine.training.memory import micro_batch
from engine.training.ranks import ALONE, Ranks
from engine.training.shortage import free_memory

RESIDENT_BYTES, RESIDENT_SHARE = 8 << 30, 1 / 8
"""A corpus up to this size and this share of the GPU's memory lives there as a whole."""


class Batches(ABC):
    """Where this rank's batches come from. `salt` counts the roll-backs: after one, other batches are drawn.

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

    @abstractmethod
    def get(self, step: int, micro: int) -> tuple[Tensor, Tensor]:
        """Inputs and targets, int64 (B, T), for micro-batch `micro` of the step after `step`.

        Targets that do not count are LEFT_OUT.
        """

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


class HostBatches(Batches):
    """Gathered from the memory-mapped corpus by the CPU, then copied to the device."""

    def get(self, step: int, micro: int) -> tuple[Tensor, Tensor]:
        x, y = self.dataset.batch(self.seed + self.salt, self.number(step, micro), self.size, self.length)
        later = (step, micro + 1) if micro + 1 < self.micros else (step + 1, 0)
        self.dataset.ahead(self.seed + self.salt, self.number(*later), self.size, self.length)
        return moved(x, self.device), moved(y, self.device)


class ResidentBatches(Batches):
    """The training split lives on the device; a batch is one gather of offsets drawn on the host."""

    def __init__(self, dataset: TokenDataset, config: Config, device: torch.device, ranks: Ranks = ALONE) -> None:
        super().__init__(dataset, config, device, ranks)
        wide = dataset.train.dtype.itemsize > 2
        ids = torch.from_numpy(dataset.train.astype("int32" if wide else "uint16"))
        self.ids = ids.to(torch.int32).to(device) if wide else ids.view(torch.int16).to(device)
        self.mask = 0xFFFFFFFF if wide else 0xFFFF
        self.window = torch.arange(config.model.block_size + 1, device=device)

    def get(self, step: int, micro: int) -> tuple[Tensor, Tensor]:
        starts, answers = self.offsets(step, micro), self.dataset.answers
        offsets = moved(starts, self.device)
        left_out = None if answers is None else moved(~answers[0].mask(starts, self.length), self.device)
        tokens = self.ids[offsets[:, None] + self.window].long() & self.mask
        x, y = tokens[:, :-1].contiguous(), tokens[:, 1:].contiguous()
        return x, y if left_out is None else y.masked_fill_(left_out, LEFT_OUT)


def make_batches(dataset: TokenDataset, config: Config, device: torch.device, ranks: Ranks = ALONE) -> Batches:
    """From the device's own memory where the corpus has room there, else from the host's."""
    room = 0.0
    if device.type == "cuda":
        room = min(RESIDENT_BYTES, RESIDENT_SHARE * torch.cuda.get_device_properties(device).total_memory)
    if dataset.train.nbytes <= room:
        try:
            return ResidentBatches(dataset, config, device, ranks)
        except Exception as error:
            if not is_out_of_memory(error):
                raise
        free_memory()
    return HostBatches(dataset, config, device, ranks)
