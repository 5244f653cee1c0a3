"""Evaluation: every target of the validation split counts once, in consecutive windows of the context; or some do.

With `data.loss = answers` those of answers alone count.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import islice

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from engine.errors import TrainingError, is_out_of_memory
from engine.model.gpt import GPT
from engine.tokenizers.answers import LEFT_OUT
from engine.tokenizers.dataset import TokenDataset
from engine.training.device import autocast, moved
from engine.training.ranks import ALONE, Ranks
from engine.training.sharded import is_sharded
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
    ranks: Ranks = ALONE,
) -> Evaluation:
    """The exact validation loss, or that of about `most` tokens in windows that are the same every time.

    `between` is called between batches; True from it, on rank 0, raises Interrupted, on all ranks. Each of them
    evaluates every so manieth batch, and all have the same result.

    A shorter last window comes by itself, so that no target is left out or counted twice. Losses are read from the
    device QUEUED sums at a time and added in float64, in the order of the text. A batch that does not fit in memory is
    tried in halves, down to one sequence and a few tokens' logits; then the error is raised.
    """
    began = time.monotonic()
    was_training = model.training
    model.eval()
    portion = Portion.fitting(block_size, model.vocab_size, device)
    batches = dataset.val_batches(block_size, portion.rows, most)
    share = _Share(model, device, between, ranks, portion, batches, is_sharded(next(model.parameters())))
    try:
        # a sharded model puts its blocks together anew in training: tensors of inference would be in its way
        with torch.no_grad() if share.sharded else torch.inference_mode(), autocast(precision, device):
            while True:
                said = [row[0] for row in ranks.gather((share.go_on(),))]
                if _FAILED in said:
                    raise share.error or TrainingError("a rank had no memory for its part of an evaluation")
                if _INTERRUPTED in said:
                    raise Interrupted
                if _MORE not in said:
                    break
            rows = ranks.gather((_added(share.total, share.waiting), share.targets))
    finally:
        model.train(was_training)
    targets = sum(int(row[1]) for row in rows)
    loss = sum(row[0] for row in rows) / targets if targets else math.nan
    return Evaluation(loss, dataset.bits_per_byte(loss), targets, time.monotonic() - began)


_MORE, _DONE, _INTERRUPTED, _FAILED = 0.0, 1.0, 2.0, 3.0
ROUND = 32
"""Batches of a rank until it hears how the others are."""


@dataclass
class _Share:
    """A rank's part of an evaluation, as far as it has come."""

    model: GPT
    device: torch.device
    between: Callable[[], bool] | None
    ranks: Ranks
    portion: Portion
    batches: Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]
    sharded: bool
    total: float = 0.0
    targets: int = 0
    waiting: list[Tensor] = field(default_factory=list)
    """Sums of batches, still on the device."""
    error: Exception | None = None

    def go_on(self) -> float:
        """The next ROUND batches, and what to say of them."""
        said = _MORE
        try:
            for _ in range(ROUND):
                each = list(islice(self.batches, self.ranks.size))  # a batch for every rank
                if not each:
                    return max(said, _DONE)
                mine = each[min(self.ranks.rank, len(each) - 1)]
                counts = self.ranks.rank < len(each)
                if (counts or self.sharded) and not self._batch(*mine, counts):
                    said = _INTERRUPTED
                    if not self.sharded:  # else the others wait for this rank's part of the model
                        break
        except Exception as error:
            if not is_out_of_memory(error) or self.sharded:
                raise
            self.error = error
            return _FAILED
        return said

    def _batch(self, x: NDArray[np.int64], y: NDArray[np.int64], counts: bool) -> bool:
        """One batch; False where it is asked to give way, on rank 0."""
        done, goes_on = 0, True
        while done < len(x):
            if self.between is not None and self.between():
                goes_on = False
                if not self.sharded:
                    return False
            part = slice(done, done + self.portion.rows)
            sums = _sums(self.model, x[part], y[part], self.device, self.portion)
            if sums is None:  # too large
                continue
            done += self.portion.rows
            if counts:
                self.waiting += sums
                self.targets += int(np.count_nonzero(y[part] != LEFT_OUT))
                if len(self.waiting) >= QUEUED:
                    self.total = _added(self.total, self.waiting)
        return goes_on


def _sums(
    model: GPT, x: NDArray[np.int64], y: NDArray[np.int64], device: torch.device, portion: Portion
) -> list[Tensor] | None:
    """Sums of the losses of a batch; None when memory ran out, and then `portion` is smaller."""
    try:
        return model.loss_sums(moved(x, device), moved(y, device), portion.tokens)
    except Exception as error:
        if not is_out_of_memory(error) or not portion.halve():
            raise
    free_memory()
    return None


def _added(total: float, sums: list[Tensor]) -> float:
    """`total` and the sums, one after the other in float64 whatever the device has; waits for them and empties them."""
    if sums:
        try:
            values = torch.stack(sums).tolist()
        except Exception as error:
            if not is_out_of_memory(error):
                raise
            free_memory()
            values = [each.item() for each in sums]
        for value in values:
            total += value
        sums.clear()
    return total
