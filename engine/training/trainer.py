"""The loop: steps, evaluations, samples, checkpoints, and obedience to commands between them.

The trainer appends to the run directory and reads its command queue. It knows no screen and waits for nobody.
"""

from __future__ import annotations

import math
import time
from typing import Any, NoReturn

import torch

from engine.config import Config
from engine.control import CommandQueue
from engine.errors import TrainingError, UserError, is_out_of_memory
from engine.machine import cpu_model, keep_freed_memory, memory_peak
from engine.model.gpt import GPT
from engine.runs.environment import version
from engine.runs.writer import RunWriter
from engine.sampling.generate import Done, generate
from engine.sampling.settings import SamplingSettings
from engine.tokenizers.dataset import TokenDataset
from engine.training import waiting
from engine.training.batches import make_batches
from engine.training.checkpoint import newest_good
from engine.training.compile import compile_step
from engine.training.copied import CopyCheck
from engine.training.evaluate import Evaluation, Interrupted, evaluate
from engine.training.live import LiveWeights
from engine.training.memory import activations_by_part, memory_split
from engine.training.optim import Optimizer, muon_dtype
from engine.training.orders import carry_out
from engine.training.saving import prune, write_checkpoint
from engine.training.schedule import is_evaluated, lr_multiplier
from engine.training.shortage import in_room
from engine.training.state import contents, restore
from engine.training.step import Result, TrainStep
from engine.training.steplog import StepLog
from engine.training.waiting import settle, unsaved, until
from engine.training.watch import Watch

MAX_ROLLBACKS = 3


class Trainer:
    """Trains `model` on `dataset` as `config` says, from `step` 0 or from a restored checkpoint.

    `run` returns how it ended: "finished" or "stopped". Raises TrainingError for a loss that is not finite, and then a
    checkpoint of the last good weights stands.
    """

    def __init__(
        self,
        writer: RunWriter,
        config: Config,
        dataset: TokenDataset,
        model: GPT,
        device: torch.device,
        commands: CommandQueue,
        live: LiveWeights,
    ) -> None:
        self.writer, self.config, self.dataset, self.device = writer, config, dataset, device
        self.commands, self.live = commands, live
        keep_freed_memory()
        self.model = model.to(device).train()
        self.optimizer = Optimizer(self.model, config.train)
        self.batches = make_batches(dataset, config, device)
        self.take_step = TrainStep(self.model, self.optimizer, self.batches, config)
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
        self.log = StepLog(writer, config, device)
        self.copies = CopyCheck(dataset)

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
        while self.step < train.max_steps and not self.stopping and not self.obey():
            self._one_step()
            self.live.serve(self.step, self.optimizer.weights)
            self._keep_up()
        return self._end()

    def _compile(self) -> None:
        self.writer.status(state="running", phase="compiling")
        began = time.monotonic()
        if why := compile_step(self.take_step, self.step):
            message = f"training goes on without torch.compile: {why}"
            self.writer.event("alarm", self.step, alarm="compile", message=message)
        else:
            self.writer.event("compiled", self.step, seconds=round(time.monotonic() - began, 1))

    def _one_step(self) -> None:
        """One optimizer step and its record; a spike in the loss may send training back from it."""
        began = time.perf_counter()
        multiplier = self.multiplier(self.step)
        result = in_room(self, lambda: self.take_step(self.step, multiplier))
        seconds = time.perf_counter() - began
        self.train_seconds += seconds
        if result.bad:
            self._stop_before(result)
        self.step += 1
        if not self._spike(self.step, result.loss):
            self.watch.trained(result.loss)
            rate = multiplier * self.config.train.learning_rate
            self.log.write(self.step, rate, result, seconds, self.train_seconds)
            self.report()

    def _keep_up(self) -> None:
        """What is due after a step: evaluation, sample, checkpoint."""
        train = self.config.train
        last = self.step >= train.max_steps
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
        if wanted and not self.saved:
            self.checkpoint()
        done = self.step >= self.config.train.max_steps and not self.owed
        self._ended = "finished" if early or done else "stopped"
        self.writer.event(self._ended, self.step)
        self.report(state=self._ended, phase="")
        if self.writer.stuck and (why := until(self, self.writer.retry, waiting.RETRY_SECONDS)):
            raise unsaved(self, why)
        if wanted and not self.saved:  # the folder was taken away at the last moment, and written again
            self.checkpoint()
            self.report(state=self._ended, phase="")
        self._prune()  # what could not be removed before
        return self._ended

    def multiplier(self, step: int) -> float:
        """Learning rates over their peaks for the update after `step`: the schedule, times what a person set."""
        return lr_multiplier(step, self.config.train) * self.lr_scale

    @property
    def learning_rate(self) -> float:
        """AdamW's rate in force: that of the next update."""
        return self.multiplier(self.step) * self.config.train.learning_rate

    # -- records -----------------------------------------------------------------------------------------------------

    def _stop_before(self, result: Result) -> NoReturn:
        """The step was not finite: the weights are those before it. Says which batch it was."""
        bad, loss, train = self.step + 1, result.loss, self.config.train
        what = f"the loss is {loss}" if not math.isfinite(loss) else f"the gradient norm is {result.grad_norm}"
        micro = self.take_step.bad_micro_batch(self.step) if train.grad_accum > 1 else 0
        offsets = self.batches.offsets(self.step, micro or 0).tolist()
        self.writer.event("not_finite", bad, what=what, micro_batch=micro, batch_offsets=offsets[:64])
        starts = ", ".join(map(str, offsets[:4])) + (", …" if len(offsets) > 4 else "")
        if micro is None:  # each is finite by itself, their sum is not
            which = f"{train.grad_accum} micro-batches, the first"
        else:
            which = "batch" if train.grad_accum == 1 else f"micro-batch {micro + 1} of {train.grad_accum}"
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
        self.writer.status(
            step=self.step,
            steps=train.max_steps,
            tokens=self.log.tokens(self.step),
            learning_rate=self.learning_rate,
            lr_scale=self.lr_scale,
            tokens_per_s=round(self.log.tokens_per_s, 1),
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
        self.live.serve(self.step, self.optimizer.weights)
        self.writer.status()
        for command in self.commands.drain():
            carry_out(self, command)
        return self.stop is not None

    def evaluate(self) -> bool:
        """Validation loss of this step; True when it is the best so far. Gives way to a stop."""
        self.owed = False
        self.writer.status(phase="evaluating")
        try:
            with self.optimizer.averaged_weights():
                result = evaluate(
                    self.model,
                    self.dataset,
                    self.config.model.block_size,
                    self.device,
                    self.config.train.precision,
                    self.between,
                    self.config.data.val_tokens,
                )
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
            tokens=self.log.tokens(self.step),
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

    def sample(self) -> None:
        """Write what the model says to each fixed prompt, each with its fixed seed: comparable from step to step."""
        train = self.config.train
        if train.sample_tokens == 0:
            return
        self.writer.status(phase="sampling")
        for number, prompt in enumerate(train.prompts):
            if not self._sample(prompt, (train.seed + number) % 2**31):
                break
        self.writer.status(phase="training")

    def _sample(self, prompt: str, seed: int) -> bool:
        """One sample and how much of it is copied; False when it gave way to a stop."""
        train = self.config.train
        stop = (train.sample_stop,) if train.sample_stop else ()
        settings = SamplingSettings(max_tokens=train.sample_tokens, seed=seed, stop=stop)
        done: Done | None = None
        copied, alarm = None, ""
        try:
            with self.optimizer.averaged_weights():
                for piece in generate(self.model, self.dataset.tokenizer, prompt, settings, cancelled=self.between):
                    if isinstance(piece, Done):
                        done = piece
            if done is not None and done.stop_reason != "cancelled":
                copied, alarm = self.copies.look(done.text, self.between, prompt)
        except Exception as error:
            if not isinstance(error, UserError) and not is_out_of_memory(error):
                raise
            said = str(error) if isinstance(error, UserError) else "no memory for a sample; it is left out"
            self.writer.event("alarm", self.step, alarm="sample", message=said)
        if done is not None and done.stop_reason != "cancelled":
            self.writer.sample(
                step=self.step,
                prompt=prompt,
                text=done.text,
                settings=settings.to_dict(),
                seed=settings.seed,
                tokens_per_s=round(done.tokens_per_second, 1),
                **({} if copied is None else {"copied": copied.record()}),
            )
            if alarm:
                self.writer.event("alarm", self.step, alarm="copied", message=alarm)
        return self.stop is None

    def checkpoint(self, sample: bool = False) -> None:
        """Write a checkpoint of this step, then prune; sample first when asked.

        While it cannot be written (the disk is full) training waits, with everything in memory, until it can or a stop.
        Raises UserError that says what is not saved, after a stop.
        """
        if sample:
            self.sample()
        self.writer.status(phase="checkpointing")
        if why := until(self, self._write_checkpoint, waiting.DISK_RETRY_SECONDS):
            raise unsaved(self, why)
        path = self.writer.run.checkpoint(self.step)
        self.writer.event("checkpoint", self.step, path=path.name, val_loss=self.val_loss())
        self._prune()
        self.writer.status(phase="training", message="")

    def _prune(self) -> None:
        keep = {step for step in (self.watch.best_step,) if step is not None}
        prune(self.writer.run, self.step, keep, self.config.train.keep_last)

    def _write_checkpoint(self) -> str:
        """Why no checkpoint, or not the records before it, could be written. On leaving it is written without them."""
        why = ""
        try:
            self.writer.sync()
        except UserError as error:
            why = str(error)
            if self.writer.taken or not self.leaving:
                return why
        try:
            write_checkpoint(self.writer.run, contents(self))
        except Exception as error:
            if isinstance(error, UserError):
                return str(error)
            if not is_out_of_memory(error):
                raise
            return f"no memory to write the checkpoint of step {self.step}"
        self.checkpoint_step = self.step
        self.writer.restored = False
        return why

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

    def environment(self) -> dict[str, Any]:
        """What the numbers depend on besides config and seed; compared on resume."""
        name = torch.cuda.get_device_name(self.device) if self.device.type == "cuda" else cpu_model()
        return {
            "tinytui": version("tinytui"),
            "torch": torch.__version__,
            "device": name,
            "threads": torch.get_num_threads(),
            "muon_dtype": str(muon_dtype(self.device)).removeprefix("torch."),
        }

    def evaluates(self) -> dict[str, int]:
        """For the log: how many tokens an evaluation is of, and how many there are."""
        whole = self.dataset.val_targets(self.config.model.block_size)
        return {
            "val_tokens": self.dataset.val_targets(self.config.model.block_size, self.config.data.val_tokens),
            "val_tokens_of": whole,
        }

    # -- spikes ------------------------------------------------------------------------------------------------------

    def _spike(self, step: int, loss: float) -> bool:
        """Whether this loss is a spike that sent training back to the last checkpoint, onto other batches."""
        if not self.watch.is_spike(loss, self.config.train.spike_rollback) or self.rollbacks >= MAX_ROLLBACKS:
            return False
        good, _ = newest_good(self.writer.run)
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

    @property
    def stopping(self) -> bool:
        return self.stop is not None

    def obey(self) -> bool:
        """Carry out the commands that have come; while paused, wait here for more. True when told to stop."""
        for command in self.commands.drain():
            carry_out(self, command)
        settle(self)
        self._do_wanted()
        while self.paused and self.stop is None:
            self.commands.wait(0.25)
            self.between()
            settle(self)
            self._do_wanted()
        return self.stopping

    def _do_wanted(self) -> None:
        while self.wanted and self.stop is None:
            if self.wanted.pop(0) == "sample":
                self.sample()
            else:
                self.checkpoint()
            if self.paused:
                self.writer.status(state="paused")
