"""Waiting for a disk: with everything in memory, visibly, until it can be written or the run is to end."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from engine.errors import RunError, UserError

if TYPE_CHECKING:
    from engine.training.trainer import Trainer

DISK_RETRY_SECONDS = 5.0
"""Between two tries at a checkpoint; it is written whole each time."""
RETRY_SECONDS = 0.5
"""Between two tries at records, which lie ready in memory."""


def until(trainer: Trainer, written: Callable[[], str], seconds: float) -> str:
    """Try every `seconds` what says why it could not, until it could or the run is to end; what it said last.

    Meanwhile training waits and says so; prompts and commands are served. Raises RunError when another run has taken
    this one's place.
    """
    writer, began, waited_for = trainer.writer, time.monotonic(), ""
    while (why := written()) and not trainer.leaving:
        if writer.taken:
            raise RunError(writer.taken)
        waited_for = why
        writer.status(state="paused", message=f"{why}; training waits, and goes on by itself")
        deadline = time.monotonic() + seconds
        while not trainer.leaving and time.monotonic() < deadline:
            trainer.commands.wait(min(0.2, seconds))
            trainer.between()
    if waited_for and not why:
        waited = round(time.monotonic() - began, 1)
        writer.event("waited", trainer.step, seconds=waited, message=waited_for)
        writer.status(state=trainer.state, message="")
    return why


def settle(trainer: Trainer) -> None:
    """Wait while a record is not written; a run that was taken away and written again gets its checkpoint again."""
    writer, last = trainer.writer, trainer.checkpoint_step
    if writer.stuck and until(trainer, writer.retry, RETRY_SECONDS):
        return
    gone = last is not None and not writer.run.checkpoint(last).is_dir()
    if (gone or writer.restored) and not trainer.leaving:
        trainer.checkpoint()


def unsaved(trainer: Trainer, why: str) -> UserError:
    """The end of a run that could not be written, in one line: why, and what is lost."""
    lost = [*trainer.writer.unsaved(), *([] if trainer.saved else [f"the checkpoint of step {trainer.step}"])]
    steps = trainer.writer.run.checkpoint_steps()
    last = f"the last checkpoint is of step {steps[-1]}" if steps else "there is no checkpoint"
    return UserError(f"{why}; stopped without saving {', '.join(lost) or 'the status'}; {last}")
