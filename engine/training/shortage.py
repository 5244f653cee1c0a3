"""Too little memory: what is given back, and the next smaller micro-batch."""

from __future__ import annotations

import gc

import torch

from engine.config import Config


class MicroBatchTooLargeError(MemoryError):
    """There was no room for the passes of one micro-batch. Weights and optimizer are as they were."""


def free_memory() -> None:
    """Give back what nobody uses any more. Call it after the `except`: until then the error holds what it ran in."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def smaller_batch(config: Config) -> Config | None:
    """The same global batch in micro-batches of half the size, or of the largest part that divides it; None for 1."""
    train = config.train
    parts = next((n for n in range(2, train.batch_size + 1) if train.batch_size % n == 0), None)
    if parts is None:
        return None
    return config.replace({"train.batch_size": train.batch_size // parts, "train.grad_accum": train.grad_accum * parts})
