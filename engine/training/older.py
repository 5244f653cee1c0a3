"""The optimizer's state as it was written until checkpoints had a format: in one row by role, not by parameter."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from engine.errors import CheckpointError
from engine.model.gpt import GPT, roles

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
