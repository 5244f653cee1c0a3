"""What the ranks of a run do together. Rank 0 calls a method here, which tells the others to call the same.

    Trainer (rank 0) ── crew.step(…) ──▶ one small broadcast ──▶ follow() on the others ──▶ the same step

A run of one rank goes the same way, and nobody is told. With several the model is on every device, and gradients are
averaged (`ddp`); or weights, gradients and optimizer's state lie in parts on all (`fsdp`), for what one does not hold.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from engine.config import Config
from engine.errors import TrainingError, UserError, is_out_of_memory
from engine.model import build_for
from engine.model.gpt import GPT
from engine.runs.layout import RunDir
from engine.tokenizers.dataset import TokenDataset
from engine.tokenizers.table import tokenizer_from_dict
from engine.training.batches import Batches
from engine.training.compile import Compiled, compile_step
from engine.training.device import ready_device
from engine.training.evaluate import Evaluation, evaluate
from engine.training.memory import check_shares
from engine.training.optim import Optimizer
from engine.training.ranks import ALONE, LostRankError, Ranks
from engine.training.saving import Contents, begin_checkpoint, finish_checkpoint
from engine.training.sharded import Writing, draw_weights, fill, read_into, shard, whole
from engine.training.start import open_dataset
from engine.training.step import Result, TrainStep


@dataclass(frozen=True)
class Job:
    """What every rank needs to know to begin."""

    run: Path
    corpora_dir: Path | None
    config: Config
    device: str
    tokenizer: dict[str, Any]
    drawn: bool
    """Whether the weights begin fresh, from the seed; else rank 0 has them, or a checkpoint."""
    parallel: str
    """How several ranks train: ddp or fsdp."""


class Crew:
    """Model, optimizer and batches of this rank."""

    def __init__(
        self,
        config: Config,
        dataset: TokenDataset,
        device: torch.device,
        ranks: Ranks = ALONE,
        *,
        drawn: bool = True,
        parallel: str = "",
    ) -> None:
        check_shares(config, ranks.size)
        self.config, self.dataset, self.device, self.ranks = config, dataset, device, ranks
        self.parallel, self.sharded = parallel, parallel == "fsdp" and not ranks.alone
        with ranks.exchange():
            self.model = self._make(drawn)
            self.optimizer = Optimizer(self.model, config.train, ranks)
            self.batches = Batches(dataset, config, device, ranks)
            self.take_step = TrainStep(self.model, self.optimizer, self.batches, config, ranks)
            self._group = _group_for_saving() if self.sharded else None
        self.writing: Writing | None = None
        """This rank's part of a checkpoint that is being written while training goes on, of a sharded model."""
        self._under_way: tuple[Path, Contents] | None = None
        self.evaluating = self.lost = False

    def _make(self, drawn: bool) -> GPT:
        vocab = self.dataset.tokenizer.vocab_size
        generator = torch.Generator().manual_seed(self.config.train.seed)
        model = build_for(self.config, vocab, generator, drawn=drawn and not self.sharded)
        if not self.sharded:
            return model.to(self.device).train()
        shard(model, self.device, self.ranks, self.config.train.precision)
        if drawn:
            draw_weights(model, generator)
        return model.train()

    def build(self) -> GPT:
        """Another model of the kind, whole, on this device, to be filled."""
        model = build_for(self.config, self.dataset.tokenizer.vocab_size, drawn=False)
        return model.to(self.device).eval()

    # -- orders, and who hears them ------------------------------------------------------------------------------------

    def _tell(self, what: str, *numbers: float) -> None:
        if self.ranks.leads and not self.ranks.alone:
            self._reached(lambda: self.ranks.tell(what, *numbers))

    def _reached(self, do: Callable[[], Any]) -> Any:
        """What `do` gives; a rank that is gone is remembered."""
        try:
            with self.ranks.exchange():
                return do()
        except LostRankError:
            self.lost = True
            raise

    def follow(self) -> None:
        """All that a rank other than 0 does: what it is told, until the end."""
        while True:
            what, numbers = self.ranks.hear()
            if what == "end":
                return
            getattr(self, what)(*numbers)

    def idle(self) -> None:
        """Nothing, for now; and who is gone is noticed."""
        self._tell("idle")

    def end(self) -> None:
        """The others may go."""
        if not self.lost:
            self._tell("end")

    # -- training ------------------------------------------------------------------------------------------------------

    def step(self, step: float, multiplier: float, salt: float = 0.0) -> Result:
        """Step `step` + 1, by all ranks."""
        self._tell("step", step, multiplier, self.batches.salt)
        if not self.ranks.leads:
            self.batches.salt = int(salt)
        if self.ranks.alone:
            return self.take_step(int(step), multiplier)
        try:
            result: Result = self._reached(lambda: self.take_step(int(step), multiplier))
        except Exception as error:
            if not is_out_of_memory(error):
                raise
            raise TrainingError(
                f"out of memory at step {int(step) + 1} on rank {self.ranks.rank}; lower train.batch_size and raise "
                "train.grad_accum as much, or use --set train.parallel=fsdp or more processes"
            ) from None
        return result

    def which(self, step: float) -> tuple[int, int] | None:
        """The rank and micro-batch that made this step not finite; see `TrainStep.bad_micro_batch`."""
        self._tell("which", step)
        found: tuple[int, int] | None = self._reached(lambda: self.take_step.bad_micro_batch(int(step)))
        return found

    def compile(self, step: float) -> Compiled:
        """From here on the loss is compiled, on all ranks or on none."""
        self._tell("compile", step)
        found: Compiled = self._reached(lambda: compile_step(self.take_step, int(step)))
        return found

    def evaluate(self, between: Callable[[], bool] | None = None) -> Evaluation:
        """The validation loss, of which each rank computes a part. Raises as `evaluate` does."""
        self._tell("evaluate")
        self.evaluating = True
        try:
            with self.optimizer.averaged_weights():
                found: Evaluation = self._reached(
                    lambda: evaluate(
                        self.model,
                        self.dataset,
                        self.config.model.block_size,
                        self.device,
                        self.config.train.precision,
                        between,
                        self.config.data.val_tokens,
                        self.ranks,
                    )
                )
            return found
        finally:
            self.evaluating = False

    # -- weights and state ---------------------------------------------------------------------------------------------

    def weights(self) -> dict[str, Tensor]:
        """The weights to write with, by name, whole: on rank 0, those of a sharded model in the host's memory."""
        named = self.optimizer.weights()
        if not self.sharded:
            return named
        self._tell("weights")
        found = {}
        for name, tensor in named.items():
            full = self._reached(partial(whole, tensor))
            if self.ranks.leads:
                found[name] = full.cpu()  # its device may have no room for all of them
        return found

    def state(self) -> dict[str, Tensor]:
        """All that a checkpoint has of tensors, by name; parts of them where they are sharded."""
        named = {f"model.{name}": each.detach() for name, each in self.model.named_parameters()}
        named |= {f"optimizer.{name}": each for name, each in self.optimizer.tensors().items()}
        return named | {f"averaged.{name}": each for name, each in (self.optimizer.averaged or {}).items()}

    def put(self, tensors: Mapping[str, Tensor] | None = None) -> None:
        """Rank 0's tensors, whole, for all that `state` names: into every rank's; and the loss scaler's state."""
        self._tell("put")
        for name, own in self.state().items():
            if self.ranks.alone:
                fill(own, (tensors or {})[name])
                continue
            full = torch.empty(own.shape, dtype=own.dtype, device=self.device)
            if tensors is not None:
                full.copy_(tensors[name])
            self.ranks.broadcast(full)
            fill(own, full)
        scaler = self.take_step.scaler
        scaler.scale, scaler.good = self.ranks.share((scaler.scale, scaler.good))

    def load(self, path: Path | None = None) -> None:
        """The tensors of a sharded checkpoint, each rank its own part. Raises CheckpointError."""
        self._tell("load")
        path = self.ranks.share(path)
        scaler = self.take_step.scaler
        scaled = scaler.tensors()
        self._reached(lambda: read_into(path, self.state() | scaled))
        scaler.load(scaled)

    def save(self, folder: Path | None = None) -> None:
        """Begin to write a sharded model's tensors into `folder`; `settle` waits for them."""
        self._tell("save")
        folder = self.ranks.share(folder)
        tensors = self.state() | self.take_step.scaler.tensors()
        self.writing = self._reached(lambda: Writing(folder, tensors, self.ranks.rank, self._group))

    def settle(self) -> tuple[dict[str, str], str]:
        """Waits for what `save` began: SHA-256 of the files of all ranks, by name; what went wrong, or nothing."""
        self._tell("settle")
        writing, self.writing = self.writing, None
        assert writing is not None
        writing.wait()
        told: list[tuple[dict[str, str], str]] = self._reached(
            lambda: self.ranks.collect((writing.sums, writing.problem))
        )
        sums = {name: each for part, _ in told for name, each in part.items()}
        return sums, next((problem for _, problem in told if problem), "")

    # a sharded model's checkpoint, on rank 0

    def begin_checkpoint(self, run: RunDir, contents: Contents) -> None:
        """Have all ranks write their parts; `end_checkpoint` waits for them. Raises CheckpointError."""
        folder = begin_checkpoint(run, contents.step)
        self.save(folder)
        self._under_way = (folder, contents)

    def end_checkpoint(self, run: RunDir) -> tuple[Contents, str]:
        """What was begun, under its name once all parts stand; and why it is not, in one line, or nothing."""
        assert self._under_way is not None
        (folder, contents), self._under_way = self._under_way, None
        shards, why = self.settle()
        if why:
            shutil.rmtree(folder, ignore_errors=True)
            return contents, f"cannot write {run.checkpoint(contents.step)}: {why}"
        try:
            finish_checkpoint(run, folder, contents, shards)
        except UserError as error:
            return contents, str(error)
        return contents, ""


def _group_for_saving() -> Any:
    """A group of its own for the thread that saves: what it says must not mix with what training says."""
    return dist.new_group(backend="gloo")


def follow() -> None:
    """What a rank other than 0 does from beginning to end. Raises UserError; LostRankError when rank 0 is gone.

    Why it ends otherwise than rank 0 said, the others can read.
    """
    ranks = Ranks.join()
    try:
        job: Job = ranks.share()
        device = ready_device(ranks.device_name(job.device), job.config.train.precision)
        ranks.introduce(str(device))
        dataset = open_dataset(RunDir(job.run), job.corpora_dir, tokenizer_from_dict(job.tokenizer))
        Crew(job.config, dataset, device, ranks, drawn=job.drawn, parallel=job.parallel).follow()
    except BaseException as error:
        ranks.say_the_end(str(error) if isinstance(error, UserError) else f"{type(error).__name__}: {error}")
        raise
    ranks.leave()
