"""A step where memory is short."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from engine.errors import TrainingError, is_out_of_memory
from engine.training.shortage import MicroBatchTooLargeError, free_memory, smaller_batch

if TYPE_CHECKING:
    from engine.training.step import Result
    from engine.training.trainer import Trainer


def in_room(trainer: Trainer, take: Callable[[], Result]) -> Result:
    """A step, with smaller micro-batches from here on if it has no room otherwise; nothing is lost by that.

    Raises TrainingError where it has none with the smallest, or the update has none.
    """
    freed = False
    while True:
        in_update = False
        try:
            return take()
        except Exception as error:
            if not is_out_of_memory(error):
                raise
            in_update = not isinstance(error, MicroBatchTooLargeError)
        if in_update and freed:
            raise TrainingError(
                f"out of memory in the update of step {trainer.step + 1}; end what else needs memory, resume"
            )
        if freed:  # it was not a prompt that took the room
            _shrink(trainer)
        trainer.live.free()
        free_memory()
        freed = True


def _shrink(trainer: Trainer) -> None:
    config = smaller_batch(trainer.config)
    if config is None:
        raise TrainingError(
            f"out of memory at step {trainer.step + 1} with a micro-batch of one sequence; "
            "lower model.block_size, model.n_embd or model.n_layer in a new run"
        )
    compiled = trainer.take_step.loss_function != trainer.model.loss
    trainer.config = trainer.log.config = config
    trainer.take_step.shrink(config)
    size, accumulate = config.train.batch_size, config.train.grad_accum
    message = f"out of memory: micro-batch {size} x {accumulate} instead, the global batch is the same"
    message += "; not compiled for it, a resume compiles again" if compiled else ""
    trainer.writer.event("alarm", trainer.step, alarm="memory", message=message)
    trainer.writer.describe(config=config.model_dump(mode="json"))
