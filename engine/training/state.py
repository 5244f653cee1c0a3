"""What a trainer saves of itself, and goes on from exactly."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from engine.training.checkpoint import Checkpoint, check_model
from engine.training.evaluate import Evaluation
from engine.training.older import by_name
from engine.training.saving import Contents
from engine.training.schedule import SCHEDULE, lr_multiplier
from engine.training.watch import Watch

if TYPE_CHECKING:
    from engine.training.trainer import Trainer


def contents(trainer: Trainer) -> Contents:
    """All that a checkpoint of this step holds."""
    state = {
        "tokens": trainer.log.tokens(trainer.step),
        "train_seconds": trainer.train_seconds,
        "eval_seconds": trainer.eval_seconds,
        "lr_scale": trainer.lr_scale,
        "rollbacks": trainer.rollbacks,
        "val_loss": trainer.val_loss(),
        "owed": trainer.owed,
        "watch": trainer.watch.to_dict(),
        "environment": trainer.environment(),
    }
    sharded = trainer.crew.sharded  # then each rank writes its part of the tensors
    optimizer = {} if sharded else {**trainer.optimizer.tensors(), **trainer.take_step.scaler.tensors()}
    return Contents(
        step=trainer.step,
        config=trainer.config,
        weights={} if sharded else {name: each.detach() for name, each in trainer.model.named_parameters()},
        optimizer=optimizer,
        state=state,
        tokenizer=trainer.dataset.tokenizer.to_dict(),
        averaged={} if sharded else trainer.optimizer.averaged or {},
    )


def restore(trainer: Trainer, checkpoint: Checkpoint) -> list[str]:
    """Go on exactly from `checkpoint`; returns warnings for what differs from where it was written."""
    _restore_tensors(trainer, checkpoint)
    state = checkpoint.state
    trainer.step = trainer.checkpoint_step = checkpoint.step
    trainer.log.counted = (checkpoint.step, int(state["tokens"]))
    trainer.train_seconds = float(state["train_seconds"])
    trainer.eval_seconds = float(state["eval_seconds"])
    trainer.lr_scale, trainer.rollbacks = _scale_after(trainer, checkpoint), int(state["rollbacks"])
    trainer.batches.salt = trainer.rollbacks  # other ranks hear of it with each step
    trainer.owed = bool(state.get("owed"))
    trainer.watch = Watch.from_dict(state["watch"])
    trainer.evaluation = None
    if (loss := state.get("val_loss")) is not None:
        known = Evaluation(loss, trainer.dataset.bits_per_byte(loss), trainer.evaluates()["val_tokens"], 0.0)
        trainer.evaluation = (checkpoint.step, known)
    before, now = state.get("environment", {}), trainer.environment()
    warnings = [
        f"{key} was {before[key]}, is {now[key]}: from here the numbers can differ in the last bits"
        for key in now
        if key in before and before[key] != now[key] and (key, before[key]) != ("device", "cpu")
    ]
    if trainer.watch.should_stop(trainer.config.train.early_stop):
        trainer.watch.since_best = 0
        warnings.append("it had stopped early: train.early_stop counts anew from here")
    return warnings


def _restore_tensors(trainer: Trainer, checkpoint: Checkpoint) -> None:
    """Weights, optimizer's state and average of all ranks. Raises CheckpointError where they are of another run."""
    if checkpoint.to_be_read:
        trainer.crew.load(checkpoint.path)
        return
    optimizer, weights = trainer.optimizer, checkpoint.weights
    check_model(trainer.model, weights, checkpoint.path)
    saved = by_name(checkpoint.optimizer, trainer.model) if checkpoint.format < 2 else checkpoint.optimizer
    if not optimizer.fits(saved):  # nothing is a fresh state
        saved = {name: torch.zeros(tensor.shape) for name, tensor in optimizer.tensors().items()}
    trainer.take_step.scaler.load(checkpoint.optimizer)
    tensors = {f"model.{name}": each for name, each in weights.items()}
    tensors |= {f"optimizer.{name}": each for name, each in saved.items()}
    for name in optimizer.averaged or {}:  # begun from the weights where there is none yet
        tensors[f"averaged.{name}"] = checkpoint.averaged.get(name, weights[name])
    trainer.crew.put(tensors)


def _scale_after(trainer: Trainer, checkpoint: Checkpoint) -> float:
    """`lr_scale` to go on with: what was set by hand holds for the schedule that it was set in.

    Another peak or shape (a fork's) is a decision of its own. With more steps the same schedule is stretched, and
    then a rate raised late in the old one, where it was low, must not raise the whole of the new one.
    """
    scale, train, before = float(checkpoint.state["lr_scale"]), trainer.config.train, checkpoint.config.train
    if any(getattr(train, name) != getattr(before, name) for name in SCHEDULE):
        return 1.0
    if scale > 1.0 and train.max_steps != before.max_steps:
        then, now = (lr_multiplier(checkpoint.step, each) for each in (before, train))
        return max(1.0, scale * then / now) if now > then else scale
    return scale
