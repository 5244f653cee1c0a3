"""The training step: forward, backward, clip, update. Everything else in this folder is around it."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.utils import clip_grads_with_norm_, get_total_norm

from engine.config import Config
from engine.errors import is_out_of_memory
from engine.model import build_for
from engine.model.gpt import GPT
from engine.tokenizers.dataset import TokenDataset
from engine.training.batches import Batches, make_batches
from engine.training.device import LossScaler, autocast
from engine.training.optim import Optimizer, gradients
from engine.training.shortage import MicroBatchTooLargeError

LossFunction = Callable[[Tensor, Tensor], Tensor]
"""Inputs and targets (B, T) -> mean loss: the model's, or that compiled."""


def step_seed(seed: int, step: int) -> int:
    """Seed of a step's dropout: a hash of (seed, step) (SplitMix64), so no history is needed to repeat it."""
    x = (seed * 0x9E3779B97F4A7C15 + step + 1) & 0xFFFFFFFFFFFFFFFF
    x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) & 0xFFFFFFFFFFFFFFFF
    x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) & 0xFFFFFFFFFFFFFFFF
    return (x ^ (x >> 31)) >> 1


class Result(NamedTuple):
    """What a step came to: its mean loss in nats, the norm of its gradient before clipping."""

    loss: float
    grad_norm: float
    bad: bool
    """Not finite, and not for the loss scaler to mend: nothing was changed."""


class TrainStep:
    """One optimizer step. A step whose loss or gradient is not finite changes nothing.

    With fp16 an overflow is the loss scaler's business, and only skips the step, as long as a smaller scale may help.
    """

    def __init__(self, model: GPT, optimizer: Optimizer, batches: Batches, config: Config) -> None:
        self.model, self.optimizer, self.batches, self.config = model, optimizer, batches, config
        self.trained = list[Tensor](optimizer.named.values())
        self.device = self.trained[0].device
        self.scaler = LossScaler(config.train.precision == "fp16")
        self.loss_function: LossFunction = model.loss

    def __call__(self, step: int, multiplier: float) -> Result:
        """Make step `step` + 1 with learning rates times `multiplier`.

        Raises MicroBatchTooLargeError, or what tells of too little memory for the update: nothing was changed then.
        """
        torch.manual_seed(step_seed(self.config.train.seed, step))
        mean = self.forward_backward(step)
        norm = get_total_norm(gradients(self.trained), foreach=True)
        loss, grad_norm = torch.stack((mean, norm)).tolist()  # the one time that the device is waited for
        finite = math.isfinite(loss) and math.isfinite(grad_norm)
        if finite:
            if self.config.train.grad_clip > 0:
                clip_grads_with_norm_(self.trained, self.config.train.grad_clip, norm, foreach=True)
            self.optimizer.step(multiplier)
        self.scaler.update(finite)
        return Result(loss, grad_norm, bad=not finite and not self.scaler.may_help)

    def forward_backward(self, step: int) -> Tensor:
        """Mean loss of the step's micro-batches, a scalar; its gradient is the parameters'."""
        self.clear()
        total: Tensor | None = None
        try:
            for micro in range(self.config.train.grad_accum):
                loss = self.micro_batch(*self.batches.get(step, micro))
                total = loss if total is None else total + loss
            if self.scaler.enabled:
                torch._foreach_div_(gradients(self.trained), self.scaler.scale)
        except Exception as error:
            if not is_out_of_memory(error):
                raise
            raise MicroBatchTooLargeError(f"step {step + 1}") from None
        assert total is not None
        return total.float()

    def micro_batch(self, x: Tensor, y: Tensor) -> Tensor:
        """Adds the gradient of inputs and targets (B, T) to the parameters'; returns their share of the mean loss."""
        train = self.config.train
        with autocast(train.precision, x.device):
            loss = self.loss_function(x, y) / train.grad_accum
        (loss * self.scaler.scale if self.scaler.enabled else loss).backward()  # type: ignore[no-untyped-call]
        return loss.detach()

    def clear(self) -> None:
        """The parameters have no gradient."""
        for parameter in self.trained:
            parameter.grad = None

    def shrink(self, config: Config) -> None:
        """From here on the micro-batches are those of `config`, smaller ones; they are no longer compiled."""
        self.config = config
        self.batches.part(config.train)
        self.loss_function = self.model.loss

    def bad_micro_batch(self, step: int) -> int | None:
        """Which micro-batch of a step that was not finite it was: each is tried again by itself. None: none of them.

        The weights must be those before the step, as they are after it.
        """
        torch.manual_seed(step_seed(self.config.train.seed, step))
        for micro in range(self.config.train.grad_accum):
            self.clear()
            loss = self.micro_batch(*self.batches.get(step, micro))
            if not math.isfinite(loss) or not math.isfinite(get_total_norm(gradients(self.trained), foreach=True)):
                return micro
        return None


def make_step(config: Config, dataset: TokenDataset, device: torch.device) -> TrainStep:
    """A fresh model of `config`, ready to train."""
    model = build_for(config, dataset.tokenizer.vocab_size, torch.Generator().manual_seed(config.train.seed))
    optimizer = Optimizer(model.to(device).train(), config.train)
    return TrainStep(model, optimizer, make_batches(dataset, config, device), config)
