"""What a trainer saves of itself, how it goes on from it exactly, and how it is written.

A disk is waited for with everything in memory, visibly, until it can be written or the run is to end.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch

from engine.errors import RunError, UserError, is_out_of_memory
from engine.machine import cpu_model, version
from engine.training.checkpoint import Checkpoint, check_model
from engine.training.evaluate import Evaluation
from engine.training.optim import by_name, muon_dtype
from engine.training.saving import Contents, prune, write_checkpoint
from engine.training.schedule import SCHEDULE, lr_multiplier
from engine.training.watch import Watch

if TYPE_CHECKING:
    from engine.training.trainer import Trainer

DISK_RETRY_SECONDS = 5.0
"""Between two tries at a checkpoint; it is written whole each time."""
RETRY_SECONDS = 0.5
"""Between two tries at records, which lie ready in memory."""


def contents(trainer: Trainer) -> Contents:
    """All that a checkpoint of this step holds."""
    state = {
        "tokens": trainer.tokens,
        "train_seconds": trainer.train_seconds,
        "eval_seconds": trainer.eval_seconds,
        "lr_scale": trainer.lr_scale,
        "rollbacks": trainer.rollbacks,
        "val_loss": trainer.val_loss(),
        "owed": trainer.owed,
        "watch": trainer.watch.to_dict(),
        "environment": environment(trainer),
    }
    sharded = trainer.crew.sharded  # then each rank writes its part of the tensors
    optimizer = {} if sharded else {**trainer.optimizer.tensors(), **trainer.take_step.scaler.tensors()}
    return Contents(
        step=trainer.step,
        config=trainer.config,
        weights={} if sharded else {name: each.detach() for name, each in trainer.model.named_parameters()},
        optimizer=optimizer,
        state=state,
        tokenizer=trainer.dataset.tokenizer,
        averaged={} if sharded else trainer.optimizer.averaged or {},
    )


def restore(trainer: Trainer, checkpoint: Checkpoint) -> list[str]:
    """Go on exactly from `checkpoint`; returns warnings for what differs from where it was written."""
    _restore_tensors(trainer, checkpoint)
    state = checkpoint.state
    trainer.step = trainer.checkpoint_step = checkpoint.step
    trainer.counted = (checkpoint.step, int(state["tokens"]))
    trainer.train_seconds = float(state["train_seconds"])
    trainer.eval_seconds = float(state["eval_seconds"])
    trainer.lr_scale, trainer.rollbacks = _scale_after(trainer, checkpoint), int(state["rollbacks"])
    trainer.batches.salt = trainer.rollbacks  # other ranks hear of it with each step
    trainer.owed = bool(state.get("owed"))
    trainer.watch = Watch.from_dict(state["watch"])
    trainer.evaluation = None
    if (loss := state.get("val_loss")) is not None:
        known = Evaluation(loss, trainer.dataset.bits_per_byte(loss), evaluates(trainer)["val_tokens"], 0.0)
        trainer.evaluation = (checkpoint.step, known)
    before, now = state.get("environment", {}), environment(trainer)
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


def environment(trainer: Trainer) -> dict[str, Any]:
    """What the numbers depend on besides config and seed; compared on resume."""
    name = torch.cuda.get_device_name(trainer.device) if trainer.device.type == "cuda" else cpu_model()
    return {
        "tinytui": version("tinytui"),
        "torch": torch.__version__,
        "device": name,
        "threads": torch.get_num_threads(),
        "muon_dtype": str(muon_dtype(trainer.device)).removeprefix("torch."),
        "ranks": trainer.crew.ranks.size,
        **({} if trainer.crew.ranks.alone else {"parallel": trainer.crew.parallel}),
    }


def evaluates(trainer: Trainer) -> dict[str, int]:
    """For the log: how many tokens an evaluation is of, and how many there are."""
    whole = trainer.dataset.val_targets(trainer.config.model.block_size)
    return {
        "val_tokens": trainer.dataset.val_targets(trainer.config.model.block_size, trainer.config.data.val_tokens),
        "val_tokens_of": whole,
    }


# -- written, and waited for -------------------------------------------------------------------------------------------


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


class Saves:
    """The trainer's checkpoints: written and waited for; of a sharded model while training goes on."""

    def __init__(self, trainer: Trainer) -> None:
        self.trainer, self.writer, self.crew = trainer, trainer.writer, trainer.crew
        self._retrying = False

    def make(self) -> None:
        """Write a checkpoint of this step, then prune.

        While it cannot be written (the disk is full) training waits, with everything in memory, until it can or a stop.
        Raises UserError that says what is not saved, after a stop.
        """
        self.writer.status(phase="checkpointing")
        if why := until(self.trainer, self._write, DISK_RETRY_SECONDS):
            raise unsaved(self.trainer, why)
        if self.crew.writing is None:
            self._say(self.trainer.step, self.trainer.val_loss())
        self.writer.status(phase="training", message="")

    def _say(self, step: int, val_loss: float | None) -> None:
        self.writer.event("checkpoint", step, path=self.writer.run.checkpoint(step).name, val_loss=val_loss)
        self.prune()

    def prune(self) -> None:
        """Remove all but the newest and the best."""
        best, last = self.trainer.watch.best_step, self.trainer.config.train.keep_last
        prune(self.writer.run, self.trainer.step, set() if best is None else {best}, last)

    def _write(self) -> str:
        """Why no checkpoint, or not the records before it, could be written. On leaving it is written without them."""
        why = ""
        try:
            self.writer.sync()
        except UserError as error:
            why = str(error)
            if self.writer.taken or not self.trainer.leaving:
                return why
        try:
            if self.crew.sharded:
                return self._begin() or why
            write_checkpoint(self.writer.run, contents(self.trainer))
        except Exception as error:
            if isinstance(error, UserError):
                return str(error)
            if not is_out_of_memory(error):
                raise
            return f"no memory to write the checkpoint of step {self.trainer.step}"
        self.trainer.checkpoint_step = self.trainer.step
        self.writer.restored = False
        return why

    # a sharded model: every rank writes its part, and training goes on meanwhile

    def _begin(self) -> str:
        """Have all ranks begin a checkpoint of this step. Raises CheckpointError."""
        self.finish()
        self.crew.begin_checkpoint(self.writer.run, contents(self.trainer))
        return self._sealed()[1] if self.trainer.leaving or self._retrying else ""

    def finish(self) -> None:
        """Wait for the checkpoint that is being written, if one is; where it failed it is written again."""
        if self.crew.writing is None:
            return
        self.writer.status(phase="checkpointing")
        saved, why = self._sealed()
        if why:
            self.writer.event("alarm", saved.step, alarm="checkpoint", message=f"{why}; it is written again")
            self._retrying = True
            try:
                self.make()
            finally:
                self._retrying = False
        else:
            self._say(saved.step, saved.state["val_loss"])
        self.writer.status(phase="training", message="")

    def _sealed(self) -> tuple[Contents, str]:
        """The checkpoint that was under way, and why it does not stand, or nothing."""
        saved, why = self.crew.end_checkpoint(self.writer.run)
        if not why:
            self.trainer.checkpoint_step, self.writer.restored = saved.step, False
        return saved, why
