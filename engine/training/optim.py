"""AdamW for embeddings, head and gains; Muon for hidden matrices; the average of the weights.

Sources: AdamW (Loshchilov & Hutter 2019, PyTorch's fused kernel). Muon (Jordan et al. 2024): momentum, then the
nearest orthogonal matrix by a Newton-Schulz iteration. Matrices of one shape are orthogonalized as one batch.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from engine.config import TrainConfig
from engine.errors import CheckpointError
from engine.model.gpt import GPT, roles
from engine.training.ranks import ALONE, Ranks
from engine.training.sharded import is_sharded, local
from engine.training.shares import Shares

MUON_MOMENTUM = 0.95
# quintic coefficients of Jordan et al.: they maximize the slope at zero, singular values land in about [0.7, 1.2]
NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)
NEWTON_SCHULZ_STEPS = 5
ADAM_EPS = 1e-8

WARM = 9.0
"""The average's decay is n / (n + WARM) after update n until that is `train.ema`: it soon forgets how it began."""


def muon_dtype(device: torch.device) -> torch.dtype:
    """bfloat16 where the hardware multiplies it (GPUs, CPUs with AVX512-BF16: four times as fast), else float32."""
    fast = device.type == "cuda" or torch.cpu._is_avx512_bf16_supported()
    return torch.bfloat16 if fast else torch.float32


def orthogonalize(matrices: Tensor) -> Tensor:
    """Nearly orthogonal (k, m, n) matrices with the singular vectors of the given ones, as one batch."""
    a, b, c = NEWTON_SCHULZ
    wide = matrices.shape[1] <= matrices.shape[2]
    x = matrices if wide else matrices.mT
    x = x / (torch.linalg.vector_norm(x, dim=(1, 2), keepdim=True) + 1e-7)
    x = x.to(muon_dtype(x.device))
    for _ in range(NEWTON_SCHULZ_STEPS):
        gram = torch.bmm(x, x.mT)
        polynomial = torch.baddbmm(gram, gram, gram, beta=b, alpha=c)
        x = torch.baddbmm(x, polynomial, x, beta=a)
    result: Tensor = (x if wide else x.mT).to(matrices.dtype)
    return result


class Muon:
    """Muon on the matrices that the parameters hold, each by itself; of several ranks each orthogonalizes a share."""

    def __init__(
        self,
        named: dict[str, nn.Parameter],
        rows: dict[str, tuple[int, ...]],
        train: TrainConfig,
        ranks: Ranks = ALONE,
    ) -> None:
        """rows: those of each matrix that a parameter holds, one under the other."""
        self.parameters, self.train = list[Tensor](named.values()), train
        self.rows = [list(rows[name]) for name in named]
        self.momenta = {name: torch.zeros_like(parameter) for name, parameter in named.items()}
        self.shares = None if ranks.alone else Shares(self.parameters, ranks)

    def plan(self) -> tuple[list[Tensor], list[Tensor]]:
        """The next momenta, and the directions to go against by parameter; nothing is changed yet."""
        grads = gradients(self.parameters)
        momenta = torch._foreach_lerp(locals_of(self.momenta.values()), grads, 1.0 - MUON_MOMENTUM)
        ahead = torch._foreach_lerp(grads, momenta, MUON_MOMENTUM)  # Nesterov
        if self.shares is None:
            self._orthogonalize(ahead, self.rows)
        else:
            mine = self.shares.to_owners(list(ahead))
            self._orthogonalize(mine, [self.rows[item] for item in self.shares.mine])
            self.shares.from_owners(mine, list(ahead))
        return list(momenta), list(ahead)

    @staticmethod
    def _orthogonalize(directions: Sequence[Tensor], rows: Sequence[list[int]]) -> None:
        """Each matrix of `directions`, in place; those of one shape as one batch."""
        stacks: dict[tuple[int, ...], list[Tensor]] = {}
        for tensor, each in zip(directions, rows, strict=True):
            for matrix in torch.split(tensor, each):
                stacks.setdefault(tuple(matrix.shape), []).append(matrix)
        for (height, width), matrices in stacks.items():
            scale = max(1.0, height / width) ** 0.5  # same RMS of the update for every shape
            torch._foreach_copy_(matrices, orthogonalize(torch.stack(matrices)).mul_(scale).unbind())

    def apply(self, plan: tuple[list[Tensor], list[Tensor]], multiplier: float) -> None:
        """One step, as planned; asks for no memory."""
        lr = self.train.muon_learning_rate * multiplier
        parameters = locals_of(self.parameters)
        torch._foreach_copy_(locals_of(self.momenta.values()), plan[0])
        if self.train.weight_decay:
            torch._foreach_mul_(parameters, 1.0 - lr * self.train.weight_decay)
        torch._foreach_sub_(parameters, plan[1], alpha=lr)

    def tensors(self) -> dict[str, Tensor]:
        return {f"muon.momentum.{name}": tensor for name, tensor in self.momenta.items()}


class AdamW:
    """AdamW on parameters of one role, by PyTorch's fused kernel.

    The kernel is called directly: constructing `torch.optim.AdamW` imports PyTorch's compiler, a second of start-up.
    """

    def __init__(
        self, named: dict[str, nn.Parameter], train: TrainConfig, scale: float, decays: bool, steps: Tensor
    ) -> None:
        """scale: of the learning rate; steps: float32 (), the updates made, this one included."""
        self.parameters, self.train, self.scale = list[Tensor](named.values()), train, scale
        self.weight_decay = train.weight_decay if decays else 0.0
        self.exp_avg = {name: torch.zeros_like(parameter) for name, parameter in named.items()}
        self.exp_avg_sq = {name: torch.zeros_like(parameter) for name, parameter in named.items()}
        self.steps = steps

    def apply(self, multiplier: float) -> None:
        """One step; asks for no memory."""
        torch._fused_adamw_(
            locals_of(self.parameters),
            gradients(self.parameters),
            locals_of(self.exp_avg.values()),
            locals_of(self.exp_avg_sq.values()),
            [],
            [self.steps] * len(self.parameters),
            lr=self.train.learning_rate * multiplier * self.scale,
            beta1=self.train.beta1,
            beta2=self.train.beta2,
            weight_decay=self.weight_decay,
            eps=ADAM_EPS,
            amsgrad=False,
            maximize=False,
            grad_scale=None,
            found_inf=None,
        )

    def tensors(self) -> dict[str, Tensor]:
        saved = {"exp_avg": self.exp_avg, "exp_avg_sq": self.exp_avg_sq}
        return {f"adamw.{kind}.{name}": tensor for kind, each in saved.items() for name, tensor in each.items()}


class Optimizer:
    """The optimizer of a run: one or both methods, as `train.optimizer` says, and the average of the weights.

    With `adamw`, everything is AdamW's, decay on everything of two or more dimensions, as in nanoGPT. State is known
    by the names of parameters. What is frozen (the base of a LoRA) is left alone.
    """

    def __init__(self, model: GPT, train: TrainConfig, ranks: Ranks = ALONE) -> None:
        self.model, self.train = model, train
        self.named = {name: each for name, each in model.named_parameters() if each.requires_grad}
        declared = roles(model)
        by_role: dict[str, dict[str, nn.Parameter]] = {}
        for name, parameter in self.named.items():
            by_role.setdefault(declared[name].role, {})[name] = parameter
        self.muon: Muon | None = None
        if train.optimizer == "muon" and (matrices := by_role.pop("matrix", None)):
            rows = {name: declared[name].rows for name in matrices}
            self.muon = Muon(matrices, rows, train, ranks)
        self.steps = torch.zeros(())
        """Updates made, float32; known to the host, which would wait for a device's."""
        self._steps = self.steps.to(next(iter(self.named.values())).device)
        """The same where the kernel reads it."""
        scales = {"embedding": train.embd_lr_scale, "head": train.head_lr_scale}
        self.adamw = [
            AdamW(named, train, scales.get(role, 1.0), role != "vector", self._steps) for role, named in by_role.items()
        ]
        self.averaged: dict[str, Tensor] | None = None
        """Average of the weights over the updates (`train.ema`)."""
        if train.ema:
            self.averaged = {name: parameter.detach().clone() for name, parameter in self.named.items()}

    def step(self, multiplier: float) -> None:
        """One update with every peak learning rate times `multiplier`; the average moves with it.

        Where memory runs out nothing is changed yet.
        """
        with torch.no_grad():
            plan = None if self.muon is None else self.muon.plan()
            made = float(self.steps.add_(1.0))
            self._steps.fill_(made)
            if self.muon is not None and plan is not None:
                self.muon.apply(plan, multiplier)
            for each in self.adamw:
                each.apply(multiplier)
            if self.averaged is not None:
                decay = min(self.train.ema, made / (made + WARM))
                torch._foreach_lerp_(locals_of(self.averaged.values()), locals_of(self.named.values()), 1.0 - decay)

    def weights(self) -> dict[str, Tensor]:
        """The weights to evaluate and to write with, by name: the averaged ones where there are any."""
        return {name: each.detach() for name, each in self.model.named_parameters()} | (self.averaged or {})

    @contextmanager
    def averaged_weights(self) -> Iterator[None]:
        """The averaged weights in the model's place, and its own in theirs; `weights` gives the same as ever."""
        averaged = self.averaged
        if averaged is None:
            yield
            return
        self._exchange(averaged)
        self.averaged = None
        try:
            yield
        finally:
            self._exchange(averaged)
            self.averaged = averaged

    def _exchange(self, averaged: dict[str, Tensor]) -> None:
        for name, parameter in self.named.items():
            if is_sharded(parameter):  # where its memory is known to who puts it together
                ours, theirs = local(parameter.detach()), local(averaged[name])
                kept = ours.clone()
                ours.copy_(theirs)
                theirs.copy_(kept)
            else:
                parameter.data, averaged[name] = averaged[name], parameter.data

    def tensors(self) -> dict[str, Tensor]:
        """Everything to save, by name, but for the average."""
        saved = {"adamw.step": self.steps} | ({} if self.muon is None else self.muon.tensors())
        for each in self.adamw:
            saved |= each.tensors()
        return saved

    def fits(self, tensors: Mapping[str, Tensor]) -> bool:
        """Whether `tensors` has this optimizer's state, not none at all. Raises CheckpointError for another's."""
        saved = {name: tensor for name, tensor in tensors.items() if name.startswith(("adamw.", "muon."))}
        if not saved:
            return False
        own = self.tensors()
        for name in sorted(own.keys() | saved.keys()):
            if name not in own or name not in saved or own[name].shape != saved[name].shape:
                raise CheckpointError(
                    f"the optimizer's state in the checkpoint ({name}) is not that of train.optimizer "
                    f"{self.train.optimizer} with these settings; put the settings in run.json back, or start a new "
                    "run with tinytui train --from"
                )
        return True


def locals_of(tensors: Iterable[Tensor]) -> list[Tensor]:
    """Of each what lies here."""
    return [local(each) for each in tensors]


def gradients(parameters: Sequence[Tensor]) -> list[Tensor]:
    """Of each parameter, as far as it lies here; zeros where nothing came."""
    return [torch.zeros_like(local(each)) if each.grad is None else local(each.grad) for each in parameters]


# -- the state as it was written until checkpoints had a format: in one row by role, not by parameter -----------------

ROLES = ("matrix", "embedding", "head", "adapter", "vector")


def by_name(tensors: Mapping[str, Tensor], model: GPT) -> dict[str, Tensor]:
    """State by the names of `model`'s parameters. Raises CheckpointError when it is not of such a model.

    Each role's parameters stood in a row, by shape, then by name; Muon's momenta in a row of their own, cut anywhere:
    `muon.ROWSxCOLUMNS@START`.
    """
    named = {name: each for name, each in model.named_parameters() if each.requires_grad}
    declared = roles(model)
    rows: dict[str, list[str]] = {role: [] for role in ROLES}
    for name in sorted(named, key=lambda name: (tuple(named[name].shape), name)):
        rows[declared[name].role].append(name)
    found = {name: tensor for name, tensor in tensors.items() if not name.startswith(("adamw.", "muon."))}
    muon = {int(name.rpartition("@")[2]): each.flatten() for name, each in tensors.items() if name.startswith("muon.")}
    if muon:
        row, end = [], 0
        for start in sorted(muon):
            if start != end:
                raise CheckpointError(f"the optimizer's state in the checkpoint is not whole: nothing at {end}")
            row.append(muon[start])
            end += muon[start].numel()
        found |= _parted(torch.cat(row), "muon.momentum.", rows["matrix"], named)
    for role, names in rows.items():
        for kind in ("exp_avg", "exp_avg_sq"):
            if (flat := tensors.get(f"adamw.{role}.{kind}")) is not None:
                found |= _parted(flat, f"adamw.{kind}.", names, named)
        if (step := tensors.get(f"adamw.{role}.step")) is not None:
            found["adamw.step"] = step
    return found


def _parted(flat: Tensor, prefix: str, names: list[str], named: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The parameters' own parts of a row."""
    sizes = [named[name].numel() for name in names]
    if sum(sizes) != flat.numel():
        raise CheckpointError(
            f"the optimizer's state in the checkpoint has {flat.numel():,} numbers where the model has {sum(sizes):,}; "
            "put the settings in run.json back, or start a new run with tinytui train --from"
        )
    parts = zip(names, torch.split(flat, sizes), strict=True)
    return {f"{prefix}{name}": part.view(named[name].shape) for name, part in parts}
