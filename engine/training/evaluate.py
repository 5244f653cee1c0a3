"""Exact evaluation: every target of the validation split is counted once, in consecutive windows of the context."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch

from engine.model.gpt import GPT
from engine.text.dataset import TokenDataset
from engine.training.precision import autocast

TOKENS_PER_BATCH = {"cpu": 2048, "cuda": 65536}


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

    A shorter last window comes by itself, so that no target is left out or counted twice.
    """
    began = time.monotonic()
    rows = max(1, TOKENS_PER_BATCH.get(device.type, 8192) // block_size)
    was_training = model.training
    model.eval()
    total, targets = 0.0, 0
    try:
        with torch.inference_mode(), autocast(precision, device):
            for x, y in dataset.val_batches(block_size, rows):
                if between is not None and between():
                    raise Interrupted
                inputs, wanted = torch.from_numpy(x).to(device), torch.from_numpy(y).to(device)
                total += float(model.loss(inputs, wanted, reduction="sum"))
                targets += y.size
    finally:
        model.train(was_training)
    loss = total / targets
    return Evaluation(loss, dataset.bits_per_byte(loss), targets, time.monotonic() - began)
