"""Where memory and time of a training step go, measured on a real step, module by module."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass

import torch
from torch import Tensor

from engine.config import Config
from engine.machine import memory_peak
from engine.plan.measure import median_seconds, pace_of
from engine.plan.pace import Pace
from engine.tokenizers.dataset import TokenDataset
from engine.training.device import autocast
from engine.training.memory import activations_by_part, part_of
from engine.training.optim import Optimizer
from engine.training.step import make_step

PASS_SECONDS = 0.4
"""Time given to forward passes, and to both."""


@dataclass(frozen=True)
class Row:
    """Bytes of one part of the model."""

    part: str
    weights: int
    gradients: int
    optimizer: int
    activations: int

    @property
    def total(self) -> int:
        return self.weights + self.gradients + self.optimizer + self.activations


@dataclass(frozen=True)
class Profile:
    """`rows` add up to what training holds at the end of a forward pass; `pace` is that of the forecast."""

    rows: tuple[Row, ...]
    pace: Pace
    forward_seconds: float
    backward_seconds: float
    update_seconds: float
    peak_bytes: int
    tokens_per_step: int

    @property
    def step_seconds(self) -> float:
        return self.pace.step_seconds


def profile_run(config: Config, dataset: TokenDataset, device: torch.device) -> Profile:
    """Profile the run that `config` describes. Nothing is written."""
    step = make_step(config, dataset, device)
    model = step.model
    activations = activations_by_part(model, *step.batches.get(0, 0), config.train.precision)
    pace = pace_of(step, dataset)
    x, y = step.batches.get(0, 0)

    def forward() -> Tensor:
        with autocast(config.train.precision, device):
            return model.loss(x, y)

    micro = config.train.grad_accum
    forwards = micro * median_seconds(forward, device, PASS_SECONDS)
    both = micro * median_seconds(lambda: forward().backward(), device, PASS_SECONDS)  # type: ignore[no-untyped-call]
    return Profile(
        rows=_rows(step.optimizer, activations),
        pace=pace,
        forward_seconds=forwards,
        backward_seconds=max(0.0, both - forwards),
        update_seconds=max(0.0, pace.step_seconds - both),
        peak_bytes=memory_peak(device),
        tokens_per_step=config.tokens_per_step,
    )


def _rows(optimizer: Optimizer, activations: dict[str, int]) -> tuple[Row, ...]:
    weights: dict[str, int] = defaultdict(int)
    gradients: dict[str, int] = defaultdict(int)
    state: dict[str, int] = defaultdict(int)
    for name, parameter in optimizer.model.named_parameters():
        weights[part_of(name)] += parameter.nbytes
        if parameter.requires_grad:
            gradients[part_of(name)] += parameter.nbytes
    for name, tensor in optimizer.tensors().items():
        if name != "adamw.step":
            state[part_of(name.split(".", 2)[2])] += tensor.nbytes
    parts = sorted({*weights, *activations}, key=lambda part: -(weights[part] + activations.get(part, 0)))
    return tuple(Row(part, weights[part], gradients[part], state[part], activations.get(part, 0)) for part in parts)
