"""The loop: steps, evaluations, samples, checkpoints, and obedience to commands between them.

The trainer appends to the run directory and reads its command queue. It knows no screen and waits for nobody.
"""

from __future__ import annotations

import math
import time
from typing import Any, NoReturn

from engine.control import CommandQueue
from engine.errors import TrainingError, is_out_of_memory
from engine.machine import keep_freed_memory, memory_now, memory_peak
from engine.runs.writer import RunWriter
from engine.training import state
from engine.training.beside import Samples
from engine.training.checkpoint import newest_good
from engine.training.crew import Crew
from engine.training.evaluate import Evaluation, Interrupted
from engine.training.live import LiveWeights
from engine.training.memory import activations_by_part, memory_split
from engine.training.schedule import is_evaluated, lr_multiplier
from engine.training.shortage import in_room
from engine.training.state import Saves, restore, settle, unsaved, until
from engine.training.step import Result
from engine.training.watch import Watch

MAX_ROLLBACKS = 3

IDLE_SECONDS = 1.0
"""Other ranks hear this often that they are waited with, and it is seen whether they live."""


class Trainer:
    """Trains the crew's model as its config says, from `step` 0 or from a restored checkpoint.

    `run` returns how it ended: "finished" or "stopped". Raises TrainingError for a loss that is not finite, and then a
    checkpoint of the last good weights stands.
    """

    def __init__(self, writer: RunWriter, crew: Crew, commands: CommandQueue, live: LiveWeights) -> None:
        self.writer, self.crew, self.commands, self.live = writer, crew, commands, live
        self.config, self.dataset, self.device = crew.config, crew.dataset, crew.device
        self.model, self.optimizer = crew.model, crew.optimizer
        self.batches, self.take_step = crew.batches, crew.take_step
        keep_freed_memory()
        self.step, self.lr_scale, self.rollbacks = 0, 1.0, 0
        self.train_seconds, self.eval_seconds = 0.0, 0.0
        self.watch = Watch()
        self.evaluation: tuple[int, Evaluation] | None = None
        self.owed = False
        """Whether the evaluation of this step gave way to a stop: a resume begins with it."""
        self.checkpoint_step: int | None = None
        self.paused = False
        self.stop: dict[str, Any] | None = None
        self._ended = ""
        self.wanted: list[str] = []
        self.tokens_per_s = 0.0
        self.counted = (0, 0)
        """A step and the tokens trained on up to it; from there on each step has as many as the settings say."""
        self.samples, self.saves = Samples(self), Saves(self)
        self._idled = 0.0

    # -- the loop ----------------------------------------------------------------------------------------------------

    def run(self) -> str:
        """Train to the last step, or until told to stop."""
        train = self.config.train
        self._say_memory()
        if train.compile and self.step < train.max_steps:
            self._compile()
        self.report(state="running", phase="training")
        if self.owed:
            self._keep_up()
        while self.step < train.max_steps and self.stop is None and not self.obey():
            self._one_step()
            self.live.serve(self.step, self.crew.weights)
            self._keep_up()
        return self._end()

    def _compile(self) -> None:
        self.writer.status(state="running", phase="compiling")
        began = time.monotonic()
        found = self.crew.compile(self.step)
        if found.on:
            told = {"why": found.why} if found.why else {}
            self.writer.event("compiled", self.step, seconds=round(time.monotonic() - began, 1), **told)
        else:
            message = f"training goes on without torch.compile: {found.why}"
            self.writer.event("alarm", self.step, alarm="compile", message=message)

    def _one_step(self) -> None:
        """One optimizer step and its record; a spike in the loss may send training back from it."""
        began = time.perf_counter()
        multiplier = self.multiplier(self.step)
        result = in_room(self, lambda: self.crew.step(self.step, multiplier))
        seconds = time.perf_counter() - began
        self.train_seconds += seconds
        if result.bad:
            self._stop_before(result)
        self.step += 1
        if not self._spike(self.step, result.loss):
            self.watch.trained(result.loss)
            self.tokens_per_s = self.config.tokens_per_step / seconds if seconds > 0 else 0.0
            self.writer.metric(
                step=self.step,
                tokens=self.tokens,
                time_s=self.train_seconds,
                loss=result.loss,
                lr=multiplier * self.config.train.learning_rate,
                grad_norm=result.grad_norm,
                tokens_per_s=self.tokens_per_s,
                mem_bytes=memory_now(self.device),
            )
            self.report()

    def _keep_up(self) -> None:
        """What is due after a step: evaluation, sample, checkpoint."""
        train = self.config.train
        last = self.step >= train.max_steps
        self.samples.write_made()
        if self.crew.writing is not None and self.crew.writing.done:
            self.saves.finish()
        evaluated = is_evaluated(self.step, train)
        better = evaluated and self.evaluate()
        if self.stop is None and (last or better or self.step % train.checkpoint_every == 0):
            self.checkpoint(sample=True)
        if evaluated and self.stop is None and self.watch.should_stop(train.early_stop):
            self.writer.event(
                "early_stop", self.step, best_val_loss=self.watch.best_loss, best_step=self.watch.best_step
            )
            self.stop = {"reason": "early_stop"}

    def _end(self) -> str:
        early = self.stop is not None and self.stop.get("reason") == "early_stop"
        wanted = (self.stop or {}).get("checkpoint", True)
        self.saves.finish()
        if wanted and not self.saved:
            self.checkpoint()
            self.saves.finish()
        self.samples.wait()
        done = self.step >= self.config.train.max_steps and not self.owed
        self._ended = "finished" if early or done else "stopped"
        self.writer.event(self._ended, self.step)
        self.report(state=self._ended, phase="")
        if self.writer.stuck and (why := until(self, self.writer.retry, state.RETRY_SECONDS)):
            raise unsaved(self, why)
        if wanted and not self.saved:  # the folder was taken away at the last moment, and written again
            self.checkpoint()
            self.saves.finish()
            self.report(state=self._ended, phase="")
        self.saves.prune()  # what could not be removed before
        return self._ended

    def multiplier(self, step: int) -> float:
        """Learning rates over their peaks for the update after `step`: the schedule, times what a person set."""
        return lr_multiplier(step, self.config.train) * self.lr_scale

    @property
    def tokens(self) -> int:
        """Trained on up to this step: counted, since a fork may go on with another batch size."""
        begun, before = self.counted
        return before + (self.step - begun) * self.config.tokens_per_step

    @property
    def learning_rate(self) -> float:
        """AdamW's rate in force: that of the next update."""
        return self.multiplier(self.step) * self.config.train.learning_rate

    # -- records -----------------------------------------------------------------------------------------------------

    def _stop_before(self, result: Result) -> NoReturn:
        """The step was not finite: the weights are those before it. Says which batch it was."""
        bad, loss, train = self.step + 1, result.loss, self.config.train
        what = f"the loss is {loss}" if not math.isfinite(loss) else f"the gradient norm is {result.grad_norm}"
        micros, ranks = self.batches.micros, self.crew.ranks
        found = (0, 0) if micros == ranks.size == 1 else self.crew.which(self.step)
        rank, micro = found or (0, 0)
        offsets = self.batches.offsets(self.step, micro, rank).tolist()
        number = None if found is None else rank * micros + micro
        self.writer.event("not_finite", bad, what=what, micro_batch=number, batch_offsets=offsets[:64])
        starts = ", ".join(map(str, offsets[:4])) + (", …" if len(offsets) > 4 else "")
        if number is None:  # each is finite by itself, their sum is not
            which = f"{micros * ranks.size} micro-batches, the first"
        elif micros * ranks.size == 1:
            which = "batch"
        else:
            which = f"micro-batch {number + 1} of {micros * ranks.size}" + ("" if ranks.alone else f" (rank {rank})")
        raise TrainingError(
            f"step {bad}: {what}; stopped before the update, {which} at training tokens {starts}; "
            f"lower train.learning_rate ({train.learning_rate:g}) or raise train.warmup_steps ({train.warmup_steps})"
        )

    def report(self, **fields: Any) -> None:
        """Say in the status how training stands, with `fields` beside."""
        train, watch = self.config.train, self.watch
        left = (train.max_steps - self.step) * (self.train_seconds / self.step) if self.step else None
        if self.evaluation is not None:
            last = self.evaluation[1]
            known = math.isfinite(last.loss)
            fields |= {
                "last_val_loss": last.loss if known else None,
                "last_val_bpb": last.bits_per_byte if known else None,
            }
        if pace := self.take_step.pace:
            fields["parallel"] = self.crew.parallel
            fields["ranks"] = [
                {"rank": each.rank, "host": each.host, "pid": each.pid, "device": each.device, **said._asdict()}
                for each, said in zip(self.crew.ranks.members, pace, strict=True)
            ]
        self.writer.status(
            step=self.step,
            steps=train.max_steps,
            tokens=self.tokens,
            learning_rate=self.learning_rate,
            lr_scale=self.lr_scale,
            tokens_per_s=round(self.tokens_per_s, 1),
            eta_s=None if left is None else round(left, 1),
            train_seconds=round(self.train_seconds, 3),
            eval_seconds=round(self.eval_seconds, 3),
            best_val_loss=watch.best_loss,
            best_val_step=watch.best_step,
            peak_memory_bytes=memory_peak(self.device),
            **fields,
        )

    def _say_memory(self) -> None:
        """Say what the memory is for; activations as measured by one pass, where there is room for it."""
        activations = 0
        try:
            if self.crew.sharded:  # the others would have to go along
                raise MemoryError
            by_part = activations_by_part(self.model, *self.batches.get(0, 0), self.config.train.precision)
            activations = sum(by_part.values())
        except Exception as error:
            if not is_out_of_memory(error):
                raise
        split = memory_split(self.optimizer, activations)
        params = sum(parameter.numel() for parameter in self.model.parameters())
        self.writer.status(memory=split, params=params, device=str(self.device))

    # -- evaluation, samples, checkpoints ----------------------------------------------------------------------------

    def between(self) -> bool:
        """Called inside long work: prompts are served, and True asks it to give way."""
        if not (self.crew.evaluating or self.crew.lost) and time.monotonic() - self._idled > IDLE_SECONDS:
            self._idled = time.monotonic()
            self.crew.idle()
        if not (self.crew.evaluating and self.crew.sharded):
            self.live.serve(self.step, self.crew.weights)
        self.writer.status()
        for command in self.commands.drain():
            self.carry_out(command)
        return self.stop is not None

    def evaluate(self) -> bool:
        """Validation loss of this step; True when it is the best so far. Gives way to a stop."""
        self.owed = False
        self.writer.status(phase="evaluating")
        try:
            result = self.crew.evaluate(self.between)
        except Interrupted:
            self.owed = True
            return False
        except Exception as error:
            if not is_out_of_memory(error):
                raise
            message = "no memory for an evaluation, not even of one sequence; it is left out, training goes on"
            self.writer.event("alarm", self.step, alarm="memory", message=message)
            self.writer.status(phase="training")
            return False
        self.eval_seconds += result.seconds
        self.evaluation = (self.step, result)
        better = self.watch.evaluated(self.step, result.loss, result.tokens)
        self.writer.metric(
            step=self.step,
            tokens=self.tokens,
            time_s=self.train_seconds,
            val_loss=result.loss,
            val_bpb=result.bits_per_byte,
            eval_s=result.seconds,
        )
        if not math.isfinite(result.loss):
            message = f"the validation loss is {result.loss}; it never counts as the best, lower train.learning_rate"
            self.writer.event("alarm", self.step, alarm="validation", message=message)
        if self.watch.alarm():
            self.writer.event(
                "alarm",
                self.step,
                alarm="overfitting",
                best_val_loss=self.watch.best_loss,
                best_step=self.watch.best_step,
                val_loss=result.loss,
            )
        self.report(phase="training")
        return better

    def checkpoint(self, sample: bool = False) -> None:
        """Write a checkpoint of this step, sample first when asked; see `Saves.make`."""
        if sample:
            self.samples.make()
        self.saves.make()

    @property
    def saved(self) -> bool:
        """Whether the checkpoint of this step stands."""
        return self.checkpoint_step == self.step and self.writer.run.checkpoint(self.step).is_dir()

    @property
    def state(self) -> str:
        """As it stands in the status, but while it waits for a disk."""
        return self._ended or ("paused" if self.paused else "running")

    @property
    def leaving(self) -> bool:
        """Whether a person wants an end: then nothing is waited for any more."""
        return self.stop is not None and self.stop.get("reason") != "early_stop"

    def val_loss(self) -> float | None:
        """Of the weights as they are; None when it was not measured, or is no number."""
        if self.evaluation is None or self.evaluation[0] != self.step:
            return None
        loss = self.evaluation[1].loss
        return loss if math.isfinite(loss) else None

    # -- spikes ------------------------------------------------------------------------------------------------------

    def _spike(self, step: int, loss: float) -> bool:
        """Whether this loss is a spike that sent training back to the last checkpoint, onto other batches."""
        if not self.watch.is_spike(loss, self.config.train.spike_rollback) or self.rollbacks >= MAX_ROLLBACKS:
            return False
        self.saves.finish()
        good, _ = newest_good(self.writer.run, in_parts=not self.crew.ranks.alone)
        if good is None:
            return False
        rollbacks, scale = self.rollbacks + 1, self.lr_scale
        restore(self, good)
        self.rollbacks = self.batches.salt = rollbacks
        self.lr_scale = scale  # what was set by hand since then stays
        self.checkpoint_step = None  # which has other batches before it
        self.writer.rewind(good.step)
        self.writer.event("rollback", step, to=good.step, loss=loss, running=self.watch.running)
        return True

    # -- commands ----------------------------------------------------------------------------------------------------

    def carry_out(self, command: dict[str, Any]) -> None:
        """One command, at a step boundary; each leaves an event."""
        do = command["do"]
        if do == "stop":
            self.stop = command
            self.writer.event("stop", self.step)
        elif do == "pause" and not self.paused:
            self.paused = True
            self.writer.event("paused", self.step)
            self.report(state="paused")
        elif do == "resume" and self.paused:
            self.paused = False
            self.writer.event("unpaused", self.step)
            self.report(state="running")
        elif do == "learning_rate":
            self.set_learning_rate(float(command["value"]))
        elif do in ("checkpoint", "sample"):
            self.wanted.append(do)

    def set_learning_rate(self, value: float) -> None:
        """From here on the schedule is scaled so that AdamW's rate is `value` at the next update.

        The rate in force already changes nothing; where the schedule is at zero an alarm is all that comes of it.
        """
        if math.isclose(value, self.learning_rate, rel_tol=1e-12):
            return
        scheduled = lr_multiplier(self.step, self.config.train) * self.config.train.learning_rate
        scale = value / scheduled if scheduled > 0 else math.inf
        if not math.isfinite(scale):
            message = f"learning rate {value:g} is not set: the schedule is at zero here"
            self.writer.event("alarm", self.step, alarm="learning_rate", message=message)
            return
        before, self.lr_scale = self.learning_rate, scale
        self.checkpoint_step = None  # which has the rate before
        self.writer.event("learning_rate", self.step, value=value, before=before, scale=scale)
        self.report()

    def obey(self) -> bool:
        """Carry out the commands that have come; while paused, wait here for more. True when told to stop."""
        for command in self.commands.drain():
            self.carry_out(command)
        settle(self)
        self._do_wanted()
        while self.paused and self.stop is None:
            self.commands.wait(0.25)
            self.between()
            settle(self)
            self._do_wanted()
        return self.stop is not None

    def _do_wanted(self) -> None:
        while self.wanted and self.stop is None:
            if self.wanted.pop(0) == "sample":
                self.samples.make()
            else:
                self.checkpoint()
            if self.paused:
                self.writer.status(state="paused")
