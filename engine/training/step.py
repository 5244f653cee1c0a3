"""The training step: forward, backward, clip, update. Everything else in this folder is around it."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.nn.utils import get_total_norm

from engine.config import Config
from engine.errors import is_out_of_memory
from engine.machine import memory_now
from engine.model import build_for
from engine.model.gpt import GPT
from engine.tokenizers.dataset import TokenDataset
from engine.training.batches import Batches
from engine.training.device import LossScaler, autocast, moment, seconds_between
from engine.training.optim import Optimizer, gradients
from engine.training.ranks import ALONE, Ranks
from engine.training.sharded import is_sharded
from engine.training.shortage import MicroBatchTooLargeError

LossFunction = Callable[[Tensor, Tensor], Tensor]
"""Inputs and targets (B, T) -> mean loss: the model's, or that compiled."""


def step_seed(seed: int, step: int, rank: int = 0) -> int:
    """Seed of a step's dropout: a hash of (seed, step, rank) (SplitMix64), so no history is needed to repeat it."""
    x = (seed * 0x9E3779B97F4A7C15 + step + 1 + rank * 0xD1B54A32D192ED03) & 0xFFFFFFFFFFFFFFFF
    x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) & 0xFFFFFFFFFFFFFFFF
    x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) & 0xFFFFFFFFFFFFFFFF
    return (x ^ (x >> 31)) >> 1


class Result(NamedTuple):
    """What a step came to: its mean loss in nats, the norm of its gradient before clipping; nan of no targets."""

    loss: float
    grad_norm: float
    bad: bool
    """Not finite, and not for the loss scaler to mend: nothing was changed."""


class RankPace(NamedTuple):
    """What a rank says of its part in a step."""

    seconds: float
    """From the beginning of the step to that of its last backward pass, in which the ranks wait for each other."""
    memory: int
    """Bytes that it holds."""


class TrainStep:
    """One optimizer step, of all ranks together. A step whose loss or gradient is not finite changes nothing.

    With fp16 an overflow is the loss scaler's business, and only skips the step, as long as a smaller scale may help.
    """

    def __init__(
        self, model: GPT, optimizer: Optimizer, batches: Batches, config: Config, ranks: Ranks = ALONE
    ) -> None:
        self.model, self.optimizer, self.batches, self.config, self.ranks = model, optimizer, batches, config, ranks
        self.trained = list[Tensor](optimizer.named.values())
        self.device = self.trained[0].device
        self.scaler = LossScaler(config.train.precision == "fp16")
        self.loss_function: LossFunction = model.loss
        self.sharded = is_sharded(self.trained[0])
        self.replicated: Any = None if ranks.alone or self.sharded else _replicated(self)
        self.pace: list[RankPace] = []
        """Of each rank, in the last step; empty for one alone."""
        self._began = self._backward_at = moment(self.device)

    def __call__(self, step: int, multiplier: float) -> Result:
        """Make step `step` + 1 with learning rates times `multiplier`.

        Raises MicroBatchTooLargeError, or what tells of too little memory for the update: nothing was changed then.
        """
        if math.isnan(self.batches.parts(step, 0)):  # no answer is in it: there is nothing to learn
            return Result(math.nan, math.nan, bad=False)
        self._seed(step)
        mean = self.forward_backward(step)
        grads = gradients(self.trained)
        norm = get_total_norm(grads, foreach=True)
        loss, grad_norm = torch.stack((mean, norm)).tolist()  # the one time that the device is waited for
        if not self.ranks.alone:
            loss, grad_norm = self._of_all(loss, grad_norm)
        finite = math.isfinite(loss) and math.isfinite(grad_norm)
        if finite:
            if self.config.train.grad_clip > 0:
                share = torch.clamp(self.config.train.grad_clip / (torch.tensor(grad_norm) + 1e-6), max=1.0)
                torch._foreach_mul_(grads, share.item())  # reckoned in float32 on the host: the device is not asked
            self.optimizer.step(multiplier)
        self.scaler.update(finite)
        return Result(loss, grad_norm, bad=not finite and not self.scaler.may_help)

    def _of_all(self, loss: float, grad_norm: float) -> tuple[float, float]:
        """Mean loss and norm of the gradient over all ranks, the same numbers on each."""
        seconds = seconds_between(self._began, self._backward_at)
        rows = self.ranks.gather((loss, grad_norm, seconds, memory_now(self.device)))
        self.pace = [RankPace(row[2], int(row[3])) for row in rows]
        norms = [row[1] for row in rows]  # each has the whole gradient, or its own part of it
        return math.fsum(row[0] for row in rows) / len(rows), math.hypot(*norms) if self.sharded else norms[0]

    def _seed(self, step: int) -> None:
        if self.config.model.dropout:
            torch.manual_seed(step_seed(self.config.train.seed, step, self.ranks.rank))

    def forward_backward(self, step: int) -> Tensor:
        """Mean loss of this rank's micro-batches of the step, a scalar; the parameters' gradient is that of all."""
        self.clear()
        total: Tensor | None = None
        self._began = moment(self.device)
        try:
            for micro in range(self.batches.micros):
                # the last one's backward pass averages the gradient over the ranks; a sharded model's does in every one
                alone = self.replicated is None or micro == self.batches.micros - 1
                with nullcontext() if alone else self.replicated.no_sync():
                    batch, parts = self.batches.get(step, micro), self.batches.parts(step, micro)
                    loss = self.micro_batch(*batch, parts, self.replicated or self.loss_function)
                total = loss if total is None else total + loss
            if self.scaler.enabled:
                torch._foreach_div_(gradients(self.trained), self.scaler.scale)
        except Exception as error:
            if not is_out_of_memory(error):
                raise
            raise MicroBatchTooLargeError from None
        assert total is not None
        return total.float()

    def micro_batch(self, x: Tensor, y: Tensor, parts: float, function: LossFunction | None = None) -> Tensor:
        """Adds the gradient of inputs and targets (B, T) to the parameters'; returns their share of the mean loss.

        That is one part of so many; see `Batches.parts`. By `loss_function`, this rank's alone, or another.
        """
        function = function or self.loss_function
        with autocast(self.config.train.precision, x.device):
            loss = function(x, y) / parts
        self._backward_at = moment(self.device)
        (loss * self.scaler.scale if self.scaler.enabled else loss).backward()  # type: ignore[no-untyped-call]
        return loss.detach()

    def clear(self) -> None:
        """The parameters have no gradient. With several ranks it lies where it is exchanged from, and stays there."""
        if self.replicated is not None:
            if held := [each.grad for each in self.trained if each.grad is not None]:  # none before the first step
                torch._foreach_zero_(held)
            return
        for parameter in self.trained:
            parameter.grad = None

    def shrink(self, config: Config) -> None:
        """From here on the micro-batches are those of `config`, smaller ones; they are no longer compiled."""
        self.config = config
        self.batches.part(config.train)
        self.loss_function = self.model.loss

    def bad_micro_batch(self, step: int) -> tuple[int, int] | None:
        """Which micro-batch of a step that was not finite it was, and whose: each is tried again by itself.

        (rank, micro-batch), or None when it was none of them. The weights must be those before the step, as they are
        after it.
        """
        self._seed(step)
        bad = -1
        for micro in range(self.batches.micros):
            self.clear()
            loss = self.micro_batch(*self.batches.get(step, micro), self.batches.parts(step, micro))
            norm = get_total_norm(gradients(self.trained), foreach=True)
            here = math.isfinite(loss) and (self.sharded or math.isfinite(norm))  # a sharded gradient is of all ranks
            bad = micro if bad < 0 and not here else bad
        found = [int(row[0]) for row in self.ranks.gather((bad,))]
        return next(((rank, micro) for rank, micro in enumerate(found) if micro >= 0), None)


class _Loss(nn.Module):
    """A step's loss as DistributedDataParallel wants it: a module with the model's parameters."""

    def __init__(self, take_step: TrainStep) -> None:
        super().__init__()
        self.model = take_step.model
        self._of = [take_step]  # in a list, as what belongs to the step is no part of this

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return self._of[0].loss_function(x, y)


def _replicated(take_step: TrainStep) -> nn.Module:
    """The loss whose backward pass averages gradients over the ranks while it goes on (Li et al. 2020)."""
    with warnings.catch_warnings():  # the option has another name in later versions of PyTorch
        warnings.simplefilter("ignore", FutureWarning)
        return DistributedDataParallel(
            _Loss(take_step), broadcast_buffers=False, init_sync=False, gradient_as_bucket_view=True
        )


def make_step(config: Config, dataset: TokenDataset, device: torch.device) -> TrainStep:
    """A fresh model of `config`, ready to train."""
    model = build_for(config, dataset.tokenizer.vocab_size, torch.Generator().manual_seed(config.train.seed))
    optimizer = Optimizer(model.to(device).train(), config.train)
    return TrainStep(model, optimizer, Batches(dataset, config, device), config)
