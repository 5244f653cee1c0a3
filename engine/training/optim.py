"""AdamW for embeddings, head and gains; Muon for hidden matrices; both on flat buffers.

Sources: AdamW (Loshchilov & Hutter 2019, PyTorch's fused kernel). Muon (Jordan et al. 2024): momentum, then the
nearest orthogonal matrix by a Newton-Schulz iteration. Matrices of one shape are orthogonalized as one batch.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from engine.config import TrainConfig
from engine.errors import CheckpointError, is_out_of_memory
from engine.training.flat import ROLES, FlatParameters
from engine.training.shortage import free_memory

MUON_MOMENTUM = 0.95
# quintic coefficients of Jordan et al.: they maximize the slope at zero, singular values land in about [0.7, 1.2]
NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)
NEWTON_SCHULZ_STEPS = 5
ADAM_EPS = 1e-8

EXCHANGED = 1 << 22
"""Weights exchanged at a time between the model and the average."""

TRIES = 3
"""At an update that runs out of memory; what a prompt held may be free a moment later."""


def muon_dtype(device: torch.device) -> torch.dtype:
    """bfloat16 where the hardware multiplies it (GPUs, CPUs with AVX512-BF16: four times as fast), else float32."""
    fast = device.type == "cuda" or torch.cpu._is_avx512_bf16_supported()
    return torch.bfloat16 if fast else torch.float32


def orthogonalize(matrices: Tensor, dtype: torch.dtype | None = None, steps: int = NEWTON_SCHULZ_STEPS) -> Tensor:
    """Nearly orthogonal (k, m, n) matrices with the singular vectors of the given ones, as one batch."""
    a, b, c = NEWTON_SCHULZ
    wide = matrices.shape[1] <= matrices.shape[2]
    x = matrices if wide else matrices.mT
    x = x / (torch.linalg.vector_norm(x, dim=(1, 2), keepdim=True) + 1e-7)
    x = x.to(dtype or muon_dtype(x.device))
    for _ in range(steps):
        gram = torch.bmm(x, x.mT)
        polynomial = torch.baddbmm(gram, gram, gram, beta=b, alpha=c)
        x = torch.baddbmm(x, polynomial, x, beta=a)
    result: Tensor = (x if wide else x.mT).to(matrices.dtype)
    return result


class MuonStack:
    """Matrices of one shape, wherever they lie in the buffers: `spans` of (start, count).

    An update that runs out of memory goes on where it stopped when it is called again.
    """

    def __init__(
        self, shape: tuple[int, int], spans: list[tuple[int, int]], flat: Tensor, grad: Tensor, momentum: Tensor
    ) -> None:
        self.rows, self.columns = shape
        self.starts = [start for start, _ in spans]
        self.weights, self.grads, self.momenta = (
            [buffer[start : start + count * self.rows * self.columns].view(-1, *shape) for start, count in spans]
            for buffer in (flat, grad, momentum)
        )
        self.moved = False
        """Whether the momentum is that of the update under way."""

    def update(self, lr: float, weight_decay: float, keep: float | Tensor = 1.0) -> None:
        """One step; `keep` of 0.0 leaves everything as it is."""
        if not self.moved:
            for momentum, grad in zip(self.momenta, self.grads, strict=True):
                momentum.lerp_(grad, (1.0 - MUON_MOMENTUM) * keep)
            self.moved = True
        ahead = [torch.lerp(*pair, MUON_MOMENTUM) for pair in zip(self.grads, self.momenta, strict=True)]  # Nesterov
        direction = orthogonalize(ahead[0] if len(ahead) == 1 else torch.cat(ahead))
        scale = lr * max(1.0, self.rows / self.columns) ** 0.5 * keep  # same RMS of the update for every shape
        shrink = 1.0 - lr * weight_decay * keep
        if isinstance(scale, Tensor):
            direction.mul_(scale)
        for weight, part in zip(self.weights, torch.split(direction, [len(w) for w in self.weights]), strict=True):
            if weight_decay:
                weight.mul_(shrink)
            if isinstance(scale, Tensor):
                weight.sub_(part)
            else:
                weight.sub_(part, alpha=scale)
        self.moved = False

    def tensors(self) -> dict[str, Tensor]:
        names = (f"muon.{self.rows}x{self.columns}@{start}" for start in self.starts)
        return dict(zip(names, self.momenta, strict=True))


class AdamWGroup:
    """AdamW (Loshchilov & Hutter 2019) on one span of the flat buffers, by PyTorch's fused kernel.

    The kernel is called directly: constructing `torch.optim.AdamW` imports PyTorch's compiler, a second of start-up.
    """

    def __init__(self, role: str, weight: Tensor, grad: Tensor, train: TrainConfig, scale: float) -> None:
        self.role, self.weight, self.grad, self.scale = role, weight, grad, scale
        self.betas = (train.beta1, train.beta2)
        self.weight_decay = 0.0 if role == "vector" else train.weight_decay
        self.exp_avg, self.exp_avg_sq = torch.zeros_like(weight), torch.zeros_like(weight)
        self.steps = torch.zeros((), dtype=torch.float32, device=weight.device)

    def update(self, lr: float, skip: Tensor | None) -> None:
        """One step; `skip` of 1.0 leaves everything as it is."""
        self.steps.add_(1.0)
        try:
            torch._fused_adamw_(
                [self.weight],
                [self.grad],
                [self.exp_avg],
                [self.exp_avg_sq],
                [],
                [self.steps],
                lr=lr,
                beta1=self.betas[0],
                beta2=self.betas[1],
                weight_decay=self.weight_decay,
                eps=ADAM_EPS,
                amsgrad=False,
                maximize=False,
                grad_scale=None,
                found_inf=skip,
            )
        except Exception:
            self.steps.sub_(1.0)
            raise
        if skip is not None:
            self.steps.sub_(skip)

    def tensors(self) -> dict[str, Tensor]:
        state = {"exp_avg": self.exp_avg, "exp_avg_sq": self.exp_avg_sq, "step": self.steps}
        return {f"adamw.{self.role}.{name}": tensor for name, tensor in state.items()}


class Optimizer:
    """The optimizer of a run: one or both methods, as `train.optimizer` says, and the average of the weights.

    With `adamw`, everything is AdamW's, decay on everything of two or more dimensions, as in nanoGPT.
    """

    def __init__(self, parameters: FlatParameters, train: TrainConfig) -> None:
        self.parameters, self.train = parameters, train
        flat, grad = parameters.flat, parameters.grad
        self.stacks: list[MuonStack] = []
        muon = train.optimizer == "muon"
        self.momentum = torch.zeros(parameters.span("matrix").stop if muon else 0, dtype=flat.dtype, device=flat.device)
        if muon:
            self.stacks = [MuonStack(*stack, flat, grad, self.momentum) for stack in parameters.stacks()]
        scales = dict.fromkeys(ROLES[:-1], 1.0) | {"embedding": train.embd_lr_scale, "head": train.head_lr_scale}
        self.groups: list[AdamWGroup] = []
        for role, scale in scales.items():
            span = parameters.span(role)
            if span.start != span.stop and not (muon and role == "matrix"):
                self.groups.append(AdamWGroup(role, flat[span], grad[span], train, scale))
        self.parts: tuple[MuonStack | AdamWGroup, ...] = (*self.stacks, *self.groups)
        self.averaged = flat.clone() if train.ema else None
        """Average of the weights over the updates (`train.ema`), laid out as they are."""
        self._swapped = False
        self._made = 0

    def step(self, multiplier: float, keep: Tensor | None = None) -> None:
        """One update with every peak learning rate times `multiplier`; the average moves with it.

        `keep` is a tensor of 1.0, or of 0.0 to do nothing, for a device that must not be waited for.

        Where memory runs out it is tried again with what can be given back. If that does not help `torn` says whether
        a part of the update is made.
        """
        with torch.no_grad():
            for _ in range(TRIES - 1):
                try:
                    self._update(multiplier, keep)
                    return
                except Exception as error:
                    if not is_out_of_memory(error):
                        raise
                free_memory()
            self._update(multiplier, keep)

    @property
    def torn(self) -> bool:
        """Whether the last update ran out of memory half-way: the weights are of no step then."""
        return self._made > 0 or any(stack.moved for stack in self.stacks)

    def _update(self, multiplier: float, keep: Tensor | None) -> None:
        """All parts of an update, or those that are left of it."""
        skip = None if keep is None else 1.0 - keep
        for part in self.parts[self._made :]:
            if isinstance(part, MuonStack):
                lr = self.train.muon_learning_rate * multiplier
                part.update(lr, self.train.weight_decay, 1.0 if keep is None else keep)
            else:
                part.update(self.train.learning_rate * multiplier * part.scale, skip)
            self._made += 1
        if self.averaged is not None:
            self.averaged.lerp_(self.parameters.flat, (1.0 - self.train.ema) * (1.0 if keep is None else keep))
        self._made = 0

    @property
    def sampled(self) -> Tensor:
        """The weights to evaluate and to write with, flat: the averaged ones where there are any."""
        return self.parameters.flat if self.averaged is None or self._swapped else self.averaged

    @contextmanager
    def averaged_weights(self) -> Iterator[None]:
        """The averaged weights in the model's place, and its own in theirs: exchanged in pieces, never copied whole."""
        if self.averaged is None:
            yield
            return
        room = torch.empty_like(self.averaged[:EXCHANGED])
        self._exchange(self.averaged, room)
        try:
            yield
        finally:
            self._exchange(self.averaged, room)

    def _exchange(self, averaged: Tensor, room: Tensor) -> None:
        with torch.no_grad():
            parts = (torch.split(flat, EXCHANGED) for flat in (self.parameters.flat, averaged))
            for ours, theirs in zip(*parts, strict=True):
                kept = room[: len(ours)].copy_(ours)
                ours.copy_(theirs)
                theirs.copy_(kept)
        self._swapped = not self._swapped

    def tensors(self) -> dict[str, Tensor]:
        """Everything to save, by name, but for the average."""
        saved: dict[str, Tensor] = {}
        for part in self.parts:
            saved.update(part.tensors())
        return saved

    def load(self, tensors: dict[str, Tensor]) -> None:
        """Take back what `tensors` gave; nothing is a fresh state. Raises CheckpointError for another optimizer's.

        A momentum is taken by its place: how matrices were parted when it was saved does not matter.
        """
        if not tensors:
            return
        saved = {name: tensor for name, tensor in tensors.items() if name.startswith(("adamw.", "muon."))}
        self._load_momentum({name: saved.pop(name) for name in list(saved) if name.startswith("muon.")})
        for group in self.groups:
            for name, own in group.tensors().items():
                found = saved.pop(name, None)
                if found is None or found.shape != own.shape:
                    raise self._other(name)
                own.copy_(found)
        if saved:
            raise self._other(next(iter(saved)))

    def _load_momentum(self, saved: dict[str, Tensor]) -> None:
        end = 0
        for name, tensor in sorted(saved.items(), key=lambda item: int(item[0].rpartition("@")[2])):
            start = int(name.rpartition("@")[2])
            if start != end or start + tensor.numel() > self.momentum.numel():
                raise self._other(name)
            end = start + tensor.numel()
            self.momentum[start:end].copy_(tensor.flatten())
        if end != self.momentum.numel():
            raise self._other("muon")

    def _other(self, name: str) -> CheckpointError:
        return CheckpointError(
            f"the optimizer's state in the checkpoint ({name}) is not that of train.optimizer {self.train.optimizer} "
            "with these settings; put the settings in run.json back, or start a new run with tinytui train --from"
        )

    @property
    def state_bytes(self) -> int:
        return sum(tensor.numel() * tensor.element_size() for tensor in self.tensors().values())
