"""Too little memory: what is given back, and a step made with smaller micro-batches."""

from __future__ import annotations

import gc
from collections.abc import Callable
from typing import TYPE_CHECKING

import torch

from engine.config import Config
from engine.errors import TrainingError, is_out_of_memory

if TYPE_CHECKING:
    from engine.training.step import Result
    from engine.training.trainer import Trainer


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


def in_room(trainer: Trainer, take: Callable[[], Result]) -> Result:
    """A step, with smaller micro-batches from here on if it has no room otherwise; nothing is lost by that.

    Raises TrainingError where it has none with the smallest, or the update has none.
    """
    freed: set[bool] = set()
    while True:
        try:
            return take()
        except Exception as error:
            if not is_out_of_memory(error):
                raise
            in_update = not isinstance(error, MicroBatchTooLargeError)
        if in_update in freed:  # it was not a prompt that took the room
            if in_update:
                raise TrainingError(
                    f"out of memory in the update of step {trainer.step + 1}; end what else needs memory, resume"
                )
            _shrink(trainer)
        free_memory()
        freed.add(in_update)


def _shrink(trainer: Trainer) -> None:
    config = smaller_batch(trainer.config)
    if config is None:
        raise TrainingError(
            f"out of memory at step {trainer.step + 1} with a micro-batch of one sequence; "
            "lower model.block_size, model.n_embd or model.n_layer in a new run"
        )
    compiled = trainer.take_step.loss_function != trainer.model.loss
    trainer.config = config
    trainer.take_step.shrink(config)
    size, accumulate = config.train.batch_size, config.train.grad_accum
    message = f"out of memory: micro-batch {size} x {accumulate} instead, the global batch is the same"
    message += "; not compiled for it, a resume compiles again" if compiled else ""
    trainer.writer.event("alarm", trainer.step, alarm="memory", message=message)
    trainer.writer.describe(config=config.model_dump(mode="json"))
