"""Finding a learning rate and a micro-batch by trying them on the real model and corpus. Nothing is written."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch

from engine.config import Config
from engine.errors import is_out_of_memory
from engine.plan.forecast import forecast
from engine.plan.measure import time_steps
from engine.telemetry import available_memory
from engine.tokenizers.dataset import TokenDataset
from engine.training.step import make_step

SMOOTHING = 0.9
DIVERGED = 4.0
"""A smoothed loss this many times the best ends a range test."""

TRIAL_SECONDS = 0.4
"""Time given to the steps of one micro-batch."""


@dataclass(frozen=True)
class Rate:
    """One step of a range test."""

    scale: float
    learning_rate: float
    loss: float


def learning_rate_range(
    config: Config,
    dataset: TokenDataset,
    device: torch.device,
    *,
    steps: int = 100,
    low: float = 1e-3,
    high: float = 30.0,
) -> Iterator[Rate]:
    """The range test of Smith (2017): a step at each of `steps` rates from `low` to `high` times the config's own.

    Yields the rate and the smoothed, debiased loss; ends early when the loss diverges. All learning rates of the
    config (AdamW's, Muon's) are scaled alike.
    """
    step = make_step(config, dataset, device)
    average, best = 0.0, math.inf
    for number in range(steps):
        scale = low * (high / low) ** (number / max(1, steps - 1))
        loss, norm, _ = step(number, scale)
        if not (math.isfinite(loss) and math.isfinite(norm)):
            return
        average = SMOOTHING * average + (1.0 - SMOOTHING) * loss
        smooth = average / (1.0 - SMOOTHING ** (number + 1))
        best = min(best, smooth)
        yield Rate(scale, scale * config.train.learning_rate, smooth)
        if smooth > DIVERGED * best:
            return


def suggest(rates: list[Rate]) -> Rate | None:
    """A third of the rate with the lowest smoothed loss: fast, with room before the edge. None for too few rates."""
    if len(rates) < 10:
        return None
    lowest = min(rates, key=lambda rate: rate.loss)
    return min(rates, key=lambda rate: abs(math.log(rate.scale / (lowest.scale / 3.0))))


@dataclass(frozen=True)
class Trial:
    """One micro-batch size: seconds a token, or why it did not work."""

    batch_size: int
    grad_accum: int
    tokens_per_second: float
    problem: str = ""


def batch_sizes(config: Config, dataset: TokenDataset, device: torch.device) -> Iterator[Trial]:
    """Speed of every micro-batch that divides the global batch, from 1 up, until one does not fit.

    The global batch (batch_size x grad_accum) stays what it is, so that every choice trains alike.
    """
    whole = config.train.batch_size * config.train.grad_accum
    for size in (size for size in range(1, whole + 1) if whole % size == 0):
        changed = config.replace({"train.batch_size": size, "train.grad_accum": whole // size})
        room, _ = available_memory()
        need = forecast(changed, dataset.tokenizer.vocab_size, gpu=device.type == "cuda")
        if room is not None and need.memory > room:
            yield Trial(size, whole // size, 0.0, "does not fit in memory")
            return
        try:
            step = make_step(changed.replace({"train.grad_accum": 1}), dataset, device)
            seconds = time_steps(step, TRIAL_SECONDS)
        except Exception as error:
            if not is_out_of_memory(error):
                raise
            yield Trial(size, whole // size, 0.0, "out of memory")
            return
        yield Trial(size, whole // size, size * config.model.block_size / seconds)
