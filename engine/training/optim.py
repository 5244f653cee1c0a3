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

    def update(self, lr: float, weight_decay: float, keep: Tensor | None) -> None:
        """One step; `keep` of 0.0 leaves everything as it is."""
        if keep is None:
            self.momentum.lerp_(self.grad, 1.0 - MUON_MOMENTUM)
        else:
            self.momentum.lerp_(self.grad, (1.0 - MUON_MOMENTUM) * keep)
        direction = orthogonalize(torch.lerp(self.grad, self.momentum, MUON_MOMENTUM))  # Nesterov
        rows, columns = self.weight.shape[1:]
        scale = lr * max(1.0, rows / columns) ** 0.5  # same RMS of the update for every shape
        if keep is not None:
            direction = direction * keep
        if weight_decay:
            self.weight.mul_(1.0 - lr * weight_decay * (1.0 if keep is None else keep))
        self.weight.sub_(direction, alpha=scale)


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
        groups = []
        for role, scale in scales.items():
            span = parameters.span(role)
            if span.start == span.stop or (muon and role == "matrix"):
                continue
            tensor = torch.nn.Parameter(parameters.flat[span])
            tensor.grad = parameters.grad[span]
            decay = 0.0 if role == "vector" else train.weight_decay
            groups.append({"params": [tensor], "lr": 0.0, "weight_decay": decay, "scale": scale, "role": role})
        betas = (train.beta1, train.beta2)
        self.adamw = torch.optim.AdamW(groups, lr=0.0, betas=betas, fused=True) if groups else None

    def _build_stacks(self) -> None:
        flat, grad = self.parameters.flat, self.parameters.grad
        for start, stop, (rows, columns) in self.parameters.stacks("matrix"):
            # a fused query-key-value matrix is several square ones: each gets its own orthogonalization
            part = columns if rows % columns == 0 and rows // columns == 3 else rows
            shape = (-1, part, columns)
            momentum = torch.zeros(stop - start, dtype=flat.dtype, device=flat.device).view(shape)
            name = f"{part}x{columns}@{start}"
            self.stacks.append(MuonStack(flat[start:stop].view(shape), grad[start:stop].view(shape), momentum, name))

    def step(self, multiplier: float, keep: Tensor | None = None) -> None:
        """One update with every peak learning rate times `multiplier`.

        `keep` is a tensor of 1.0, or of 0.0 to do nothing, for a device that must not be waited for.
        """
        with torch.no_grad():
            for stack in self.stacks:
                lr = self.train.muon_learning_rate * multiplier
                stack.update(lr, self.train.weight_decay, keep)
        if self.adamw is not None:
            for group in self.adamw.param_groups:
                group["lr"] = self.train.learning_rate * multiplier * group["scale"]
            if keep is not None:  # the fused kernel's own way to skip
                self.adamw.found_inf = 1.0 - keep  # type: ignore[attr-defined]
                self.adamw.grad_scale = None  # type: ignore[attr-defined]
            self.adamw.step()

    def tensors(self) -> dict[str, Tensor]:
        """Everything to save, by name."""
        saved = {f"muon.{stack.name}": stack.momentum for stack in self.stacks}
        if self.adamw is not None:
            for group in self.adamw.param_groups:
                state = self.adamw.state.get(group["params"][0], {})
                saved.update({f"adamw.{group['role']}.{key}": value for key, value in state.items()})
        return saved

    def load(self, tensors: dict[str, Tensor]) -> None:
        """Take back what `tensors` gave; nothing is a fresh state. Raises KeyError or RuntimeError on another shape."""
        if not tensors:
            return
        for stack in self.stacks:
            stack.momentum.copy_(tensors[f"muon.{stack.name}"])
        if self.adamw is None:
            return
        for group in self.adamw.param_groups:
            prefix = f"adamw.{group['role']}."
            parameter = group["params"][0]
            found = {key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)}
            for key, value in found.items():
                if key != "step" and value.shape != parameter.shape:
                    raise RuntimeError(
                        f"optimizer state {prefix}{key} has {value.numel()} values, not {parameter.numel()}"
                    )
            self.adamw.state[parameter] = {
                key: value.to(parameter.device, copy=True) if key != "step" else value.clone().to(parameter.device)
                for key, value in found.items()
            }

    @property
    def state_bytes(self) -> int:
        return sum(tensor.numel() * tensor.element_size() for tensor in self.tensors().values())
