"""Exact evaluation: every target of the validation split is counted once, in consecutive windows of the context."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from engine.model.gpt import GPT
from engine.text.dataset import TokenDataset
from engine.training.precision import autocast

TOKENS_PER_BATCH = {"cpu": 2048, "cuda": 65536}
QUEUED = 32  # batches whose losses are read together: a GPU waits for none of them, and a stop is never far


class Interrupted(Exception):
    """Evaluation was told to give way (stop, hang-up)."""


@dataclass(frozen=True)
class Evaluation:
    """Mean loss in nats a token over the whole validation split, and what follows from it."""

    loss: float
    bits_per_byte: float
    tokens: int
    seconds: float

    @property
    def perplexity(self) -> float:
        return math.exp(min(self.loss, 700.0))


def evaluate(
    model: GPT,
    dataset: TokenDataset,
    block_size: int,
    device: torch.device,
    precision: str = "fp32",
    between: Callable[[], bool] | None = None,
) -> Evaluation:
    """The exact validation loss. `between` is called between batches; True from it raises Interrupted.

    A shorter last window comes by itself, so that no target is left out or counted twice. Losses are read from the
    device QUEUED batches at a time and added in float64, in the order of the batches.
    """
    began = time.monotonic()
    rows = max(1, TOKENS_PER_BATCH.get(device.type, 8192) // block_size)
    was_training = model.training
    model.eval()
    total, targets = 0.0, 0
    waiting: list[Tensor] = []  # sums of batches, still on the device
    try:
        with torch.inference_mode(), autocast(precision, device):
            for x, y in dataset.val_batches(block_size, rows):
                if between is not None and between():
                    raise Interrupted
                waiting.append(model.loss(_moved(x, device), _moved(y, device), reduction="sum"))
                targets += y.size
                if len(waiting) == QUEUED:
                    total = _added(total, waiting)
            total = _added(total, waiting)
    finally:
        model.train(was_training)
    loss = total / targets
    return Evaluation(loss, dataset.bits_per_byte(loss), targets, time.monotonic() - began)


def _moved(ids: NDArray[np.int64], device: torch.device) -> Tensor:
    """`ids` on the device. Only from pinned memory does a copy not wait for what the device has yet to do."""
    tensor = torch.from_numpy(ids)
    return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor.to(device)


def _added(total: float, sums: list[Tensor]) -> float:
    """`total` and the sums, one after the other in float64 whatever the device has; waits for them and empties them."""
    if sums:
        for value in torch.stack(sums).tolist():
            total += value
        sums.clear()
    return total
