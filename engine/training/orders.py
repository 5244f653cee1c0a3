"""Commands to a trainer, carried out at a step boundary; each leaves an event."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from engine.training.schedule import lr_multiplier, rate_problem

if TYPE_CHECKING:
    from engine.training.trainer import Trainer


def carry_out(trainer: Trainer, command: dict[str, Any]) -> None:
    """One command, at a step boundary; each leaves an event."""
    do = command["do"]
    if do == "stop":
        trainer.stop = command
        trainer.writer.event("stop", trainer.step)
    elif do == "pause" and not trainer.paused:
        trainer.paused = True
        trainer.writer.event("paused", trainer.step)
        trainer.report(state="paused")
    elif do == "resume" and trainer.paused:
        trainer.paused = False
        trainer.writer.event("unpaused", trainer.step)
        trainer.report(state="running")
    elif do == "learning_rate":
        set_learning_rate(trainer, float(command["value"]))
    elif do in ("checkpoint", "sample"):
        trainer.wanted.append(do)


def set_learning_rate(trainer: Trainer, value: float) -> None:
    """From here on the schedule is scaled so that AdamW's rate is `value` at the next update.

    The rate in force already changes nothing. What cannot be set leaves an alarm and the rate as it is.
    """
    if math.isclose(value, trainer.learning_rate, rel_tol=1e-12):
        return
    scheduled = lr_multiplier(trainer.step, trainer.config.train) * trainer.config.train.learning_rate
    scale = value / scheduled if scheduled > 0 else math.inf
    problem = rate_problem(value) or ("" if math.isfinite(scale) else "the schedule is at zero here")
    if problem:
        message = f"learning rate {value:g} is not set: {problem}"
        trainer.writer.event("alarm", trainer.step, alarm="learning_rate", message=message)
        return
    before, trainer.lr_scale = trainer.learning_rate, scale
    trainer.checkpoint_step = None  # which has the rate before
    trainer.writer.event("learning_rate", trainer.step, value=value, before=before, scale=scale)
    trainer.report()
