"""AdamW for embeddings, head and gains; Muon for hidden matrices; both on flat buffers.

Sources: AdamW (Loshchilov & Hutter 2019, PyTorch's fused kernel). Muon (Jordan et al. 2024): momentum, then the
nearest orthogonal matrix by a Newton-Schulz iteration. Matrices of one shape are orthogonalized as one batch.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from engine.config import TrainConfig
from engine.training.flat import ROLES, FlatParameters

MUON_MOMENTUM = 0.95
# quintic coefficients of Jordan et al.: they maximize the slope at zero, singular values land in about [0.7, 1.2]
NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)
NEWTON_SCHULZ_STEPS = 5
ADAM_EPS = 1e-8


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


@dataclass
class MuonStack:
    """Views of one run of equal-shaped matrices, as (k, rows, columns) tensors."""

    weight: Tensor
    grad: Tensor
    momentum: Tensor
    name: str

    def update(self, lr: float | Tensor, weight_decay: float, keep: float | Tensor = 1.0) -> None:
        """One step; `keep` of 0.0 leaves everything as it is."""
        self.momentum.lerp_(self.grad, (1.0 - MUON_MOMENTUM) * keep)
        direction = orthogonalize(torch.lerp(self.grad, self.momentum, MUON_MOMENTUM))  # Nesterov
        rows, columns = self.weight.shape[1:]
        scale = lr * max(1.0, rows / columns) ** 0.5 * keep  # same RMS of the update for every shape
        if weight_decay:
            self.weight.mul_(1.0 - lr * weight_decay * keep)
        if isinstance(scale, Tensor):
            self.weight.sub_(direction * scale)
        else:
            self.weight.sub_(direction, alpha=scale)


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

    def update(self, lr: float | Tensor, skip: Tensor | None) -> None:
        """One step; `skip` of 1.0 leaves everything as it is."""
        self.steps.add_(1.0)
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
        if skip is not None:
            self.steps.sub_(skip)

    def tensors(self) -> dict[str, Tensor]:
        state = {"exp_avg": self.exp_avg, "exp_avg_sq": self.exp_avg_sq, "step": self.steps}
        return {f"adamw.{self.role}.{name}": tensor for name, tensor in state.items()}


class Optimizer:
    """The optimizer of a run: one or both methods, as `train.optimizer` says.

    With `adamw`, everything is AdamW's, decay on everything of two or more dimensions, as in nanoGPT.
    """

    def __init__(self, parameters: FlatParameters, train: TrainConfig) -> None:
        self.parameters, self.train = parameters, train
        self.stacks: list[MuonStack] = []
        muon = train.optimizer == "muon"
        if muon:
            self._build_stacks()
        scales = dict.fromkeys(ROLES[:-1], 1.0) | {"embedding": train.embd_lr_scale, "head": train.head_lr_scale}
        self.groups: list[AdamWGroup] = []
        for role, scale in scales.items():
            span = parameters.span(role)
            if span.start != span.stop and not (muon and role == "matrix"):
                self.groups.append(AdamWGroup(role, parameters.flat[span], parameters.grad[span], train, scale))

    def _build_stacks(self) -> None:
        flat, grad = self.parameters.flat, self.parameters.grad
        for start, stop, (rows, columns) in self.parameters.stacks("matrix"):
            # a fused query-key-value matrix is several square ones: each gets its own orthogonalization
            part = columns if rows % columns == 0 and rows // columns == 3 else rows
            shape = (-1, part, columns)
            momentum = torch.zeros(stop - start, dtype=flat.dtype, device=flat.device).view(shape)
            name = f"{part}x{columns}@{start}"
            self.stacks.append(MuonStack(flat[start:stop].view(shape), grad[start:stop].view(shape), momentum, name))

    def step(self, multiplier: float | Tensor, keep: Tensor | None = None) -> None:
        """One update with every peak learning rate times `multiplier`.

        `keep` is a tensor of 1.0, or of 0.0 to do nothing, for a device that must not be waited for. Learning rates
        are then float32 tensors there too, so that the update may be recorded: the same numbers, recorded or not.
        """
        with torch.no_grad():
            if keep is not None:
                multiplier = keep.new_ones(()).mul_(multiplier)
            for stack in self.stacks:
                lr = self.train.muon_learning_rate * multiplier
                stack.update(lr, self.train.weight_decay, 1.0 if keep is None else keep)
            skip = None if keep is None else 1.0 - keep
            for group in self.groups:
                group.update(self.train.learning_rate * multiplier * group.scale, skip)

    def tensors(self) -> dict[str, Tensor]:
        """Everything to save, by name."""
        saved = {f"muon.{stack.name}": stack.momentum for stack in self.stacks}
        for group in self.groups:
            saved.update(group.tensors())
        return saved

    def load(self, tensors: dict[str, Tensor]) -> None:
        """Take back what `tensors` gave; nothing is a fresh state. Raises KeyError or RuntimeError on another shape."""
        if tensors:
            for name, own in self.tensors().items():
                own.copy_(tensors[name])

    @property
    def state_bytes(self) -> int:
        return sum(tensor.numel() * tensor.element_size() for tensor in self.tensors().values())
