"""The training step: forward, backward, clip, update. Everything else in this folder is around it."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from engine.config import Config, TrainConfig
from engine.errors import is_out_of_memory
from engine.model.gpt import GPT
from engine.tokenizers.dataset import TokenDataset
from engine.training.batches import Batches, make_batches
from engine.training.build import build_for
from engine.training.flat import FlatParameters
from engine.training.optim import Optimizer
from engine.training.precision import SCALE_LEAST, LossScaler, autocast
from engine.training.shortage import MicroBatchTooLargeError

LossFunction = Callable[[Tensor, Tensor], Tensor]
"""Inputs and targets (B, T) -> mean loss: the model's, or that compiled."""


def step_seed(seed: int, step: int) -> int:
    """Seed of a step's dropout: a hash of (seed, step) (SplitMix64), so no history is needed to repeat it."""
    x = (seed * 0x9E3779B97F4A7C15 + step + 1) & 0xFFFFFFFFFFFFFFFF
    x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) & 0xFFFFFFFFFFFFFFFF
    x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) & 0xFFFFFFFFFFFFFFFF
    return (x ^ (x >> 31)) >> 1


def forward_backward(
    loss_function: LossFunction, x: Tensor, y: Tensor, train: TrainConfig, scaler: LossScaler
) -> Tensor:
    """Add the gradient of a micro-batch's share of the mean loss to the parameters'; returns that share, detached."""
    with autocast(train.precision, x.device):
        loss = loss_function(x, y) / train.grad_accum
    scaler.scaled(loss).backward()  # type: ignore[no-untyped-call]
    return loss.detach()


class TrainStep:
    """One optimizer step. Nothing in `__call__` waits for the device.

    A step whose loss or gradients are not finite changes nothing, and neither does any later one, until the host has
    read `bad_step` (-1 when all was well): training stops before the update, however seldom the host looks. With fp16
    an overflow is the loss scaler's business and only skips the step, as long as a smaller scale may help.
    """

    def __init__(
        self, model: GPT, parameters: FlatParameters, optimizer: Optimizer, batches: Batches, config: Config
    ) -> None:
        self.model, self.parameters, self.optimizer, self.batches = model, parameters, optimizer, batches
        self.config, self.device = config, parameters.flat.device
        self.scaler = LossScaler(config.train.precision == "fp16", self.device)
        self.bad_step = torch.full((), -1, dtype=torch.int64, device=self.device)
        self.host_sees = self.device.type == "cpu"
        """Whether the host knows results as soon as they are asked for; otherwise asking would make it wait."""
        self.loss_function: LossFunction = model.loss

    def __call__(self, step: int, multiplier: float) -> Tensor:
        """Make step `step` + 1 with learning rates times `multiplier`; returns (loss, gradient norm) on the device."""
        torch.manual_seed(step_seed(self.config.train.seed, step))
        return self.clip_and_update(self._gradients(step), step, multiplier)

    def forward_backward(self, x: Tensor, y: Tensor) -> Tensor:
        """Adds the gradient of a micro-batch (B, T) to the flat one; returns its share of the step's mean loss."""
        return forward_backward(self.loss_function, x, y, self.config.train, self.scaler)

    def clip_and_update(self, loss: Tensor, step: int, multiplier: float) -> Tensor:
        """Uses the flat gradient up; returns (mean loss, gradient norm)."""
        grad, grad_clip = self.parameters.grad, self.config.train.grad_clip
        if self.scaler.enabled:
            grad.div_(self.scaler.scale)
        norm = torch.linalg.vector_norm(grad)
        finite = torch.isfinite(norm) & torch.isfinite(loss)
        if grad_clip > 0:
            grad.mul_((grad_clip / (norm + 1e-6)).clamp(max=1.0))
        bad = ~finite
        if self.scaler.enabled:
            self.scaler.update(finite.float())
            bad = bad & (self.scaler.scale < SCALE_LEAST)
        self.bad_step.copy_(torch.where((self.bad_step < 0) & bad, step, self.bad_step))
        result = torch.stack((loss, norm))  # before the update: what asks for memory after it could not be tried again
        if self.host_sees:
            if finite and self.bad_step < 0:
                self.optimizer.step(multiplier)
        else:
            grad.nan_to_num_(0.0, 0.0, 0.0)  # zero times NaN is NaN
            self.optimizer.step(multiplier, keep=(finite & (self.bad_step < 0)).float())
        return result

    def _gradients(self, step: int) -> Tensor:
        """Fill the flat gradient with the mean over the step's micro-batches; returns their mean loss."""
        self.parameters.grad.zero_()
        total: Tensor | None = None
        try:
            for micro in range(self.config.train.grad_accum):
                loss = self.forward_backward(*self.batches.get(step, micro))
                total = loss if total is None else total + loss
        except Exception as error:
            if not is_out_of_memory(error):
                raise
            raise MicroBatchTooLargeError(f"step {step + 1}") from None
        assert total is not None
        return total.float()

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
            self.parameters.grad.zero_()
            loss = self.forward_backward(*self.batches.get(step, micro))
            if not bool(torch.isfinite(loss) & torch.isfinite(torch.linalg.vector_norm(self.parameters.grad))):
                return micro
        return None


def make_step(config: Config, dataset: TokenDataset, device: torch.device) -> TrainStep:
    """A fresh model of `config`, ready to train."""
    model = build_for(config, dataset.tokenizer.vocab_size, torch.Generator().manual_seed(config.train.seed))
    parameters = FlatParameters(model.to(device).train())
    return TrainStep(
        model, parameters, Optimizer(parameters, config.train), make_batches(dataset, config, device), config
    )
