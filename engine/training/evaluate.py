"""Evaluation: every target of the validation split counts once, in consecutive windows of the context; or some do."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from engine.errors import is_out_of_memory
from engine.model.gpt import GPT
from engine.tokenizers.dataset import TokenDataset
from engine.training.device import autocast
from engine.training.shortage import free_memory

TOKENS_PER_BATCH = {"cpu": 2048, "cuda": 65536}
LOGITS_BYTES = {"cpu": 256 << 20, "cuda": 2 << 30}
"""Most memory for logits and the softmax over them: two float32 a token and entry of the vocabulary."""
QUEUED = 32  # sums whose losses are read together: a GPU waits for none of them, and a stop is never far
FEWEST = 16  # tokens that logits are made of together, when nothing else fits


class Interrupted(Exception):
    """Evaluation was told to give way (stop, hang-up)."""


@dataclass(frozen=True)
class Evaluation:
    """Mean loss in nats a token over so many of the validation split, and what follows from it."""

    loss: float
    bits_per_byte: float
    tokens: int
    seconds: float

    @property
    def perplexity(self) -> float:
        return math.exp(min(self.loss, 700.0))


@dataclass
class Portion:
    """How much is computed together: sequences that go through the model, tokens whose logits are made."""

    rows: int
    tokens: int

    @classmethod
    def fitting(cls, block_size: int, vocab_size: int, device: torch.device) -> Portion:
        """What the bounds of this module allow."""
        rows = max(1, TOKENS_PER_BATCH.get(device.type, 8192) // block_size)
        room = LOGITS_BYTES.get(device.type, 1 << 30) // (8 * vocab_size)
        return cls(rows, max(FEWEST, min(rows * block_size, room)))

    def halve(self) -> bool:
        """Go on with half; False when it is the least already."""
        if self.rows == 1 and self.tokens == FEWEST:
            return False
        self.rows, self.tokens = max(1, self.rows // 2), max(FEWEST, self.tokens // 2)
        return True


def evaluate(
    model: GPT,
    dataset: TokenDataset,
    block_size: int,
    device: torch.device,
    precision: str = "fp32",
    between: Callable[[], bool] | None = None,
    most: int | None = None,
) -> Evaluation:
    """The exact validation loss, or that of about `most` tokens in windows that are the same every time.

    `between` is called between batches; True from it raises Interrupted.

    A shorter last window comes by itself, so that no target is left out or counted twice. Losses are read from the
    device QUEUED sums at a time and added in float64, in the order of the text. A batch that does not fit in memory is
    tried in halves, down to one sequence and a few tokens' logits; then the error is raised.
    """
    began = time.monotonic()
    portion = Portion.fitting(block_size, model.vocab_size, device)
    was_training = model.training
    model.eval()
    total, targets = 0.0, 0
    waiting: list[Tensor] = []  # sums of batches, still on the device
    try:
        with torch.inference_mode(), autocast(precision, device):
            for x, y in dataset.val_batches(block_size, portion.rows, most):
                done = 0
                while done < len(x):
                    if between is not None and between():
                        raise Interrupted
                    part = slice(done, done + portion.rows)
                    sums = _sums(model, x[part], y[part], device, portion)
                    if sums is None:  # too large
                        continue
                    waiting += sums
                    targets += y[part].size
                    done += portion.rows
                    if len(waiting) >= QUEUED:
                        total = _added(total, waiting)
            total = _added(total, waiting)
    finally:
        model.train(was_training)
    loss = total / targets
    return Evaluation(loss, dataset.bits_per_byte(loss), targets, time.monotonic() - began)


def _sums(
    model: GPT, x: NDArray[np.int64], y: NDArray[np.int64], device: torch.device, portion: Portion
) -> list[Tensor] | None:
    """Sums of the losses of a batch; None when memory ran out, and then `portion` is smaller."""
    try:
        return model.loss_sums(_moved(x, device), _moved(y, device), portion.tokens)
    except Exception as error:
        if not is_out_of_memory(error) or not portion.halve():
            raise
    free_memory()
    return None


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
