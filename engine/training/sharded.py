"""A model whose weights, gradients and optimizer's state lie in parts on the ranks (`fully_shard`, PyTorch's FSDP2).

Each block is put together for its own forward and backward pass only. What is not sharded passes through here as it is.
"""

from __future__ import annotations

import warnings
from typing import Any

import torch
from torch import Tensor

from engine.model.gpt import GPT, Norm, draw, roles
from engine.training.device import half
from engine.training.ranks import Ranks


def is_sharded(tensor: Tensor) -> bool:
    """Whether only a part of it lies here. (A DTensor; asked like this, as importing the class takes its time.)"""
    return hasattr(tensor, "to_local")


def local(tensor: Tensor) -> Tensor:
    """What lies here of it, its first dimension parted as `torch.chunk` does; it shares its memory."""
    found: Tensor = tensor.to_local() if is_sharded(tensor) else tensor  # type: ignore[attr-defined]
    return found


def whole(tensor: Tensor) -> Tensor:
    """All of it, on every rank: all ranks ask together, for the same."""
    found: Tensor = tensor.full_tensor() if is_sharded(tensor) else tensor  # type: ignore[attr-defined]
    return found


@torch.no_grad()
def fill(own: Tensor, full: Tensor) -> None:
    """Copies into `own` its part of `full`, which has all of it."""
    if not is_sharded(own):
        own.copy_(full)
        return
    from torch.distributed.tensor import distribute_tensor

    mesh, placements = own.device_mesh, own.placements  # type: ignore[attr-defined]
    parts = distribute_tensor(full.to(local(own).device), mesh, placements, src_data_rank=None)
    local(own).copy_(local(parts))


def shard(model: GPT, device: torch.device, ranks: Ranks, precision: str) -> None:
    """Part the model, one that nobody has drawn yet, over the ranks' devices: no device ever holds the whole.

    What multiplies in a block is sent in the precision it multiplies in, as autocast would round it: half the bytes for
    the same numbers. Gains, embedding and head go with the whole model, in fp32; gradients are added up in fp32.
    """
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard, register_fsdp_forward_method

    # of views that would be changed in place; a block does not
    warnings.filterwarnings("ignore", "FSDP2-wrapped module .* returned a view tensor")
    blocks: Any = getattr(model, "blocks", ())
    mesh = init_device_mesh(device.type, (ranks.size,))
    policy = MixedPrecisionPolicy(half(precision), torch.float32, cast_forward_inputs=False)
    for block in blocks:
        fully_shard([part for part in block.children() if not isinstance(part, Norm)], mesh=mesh, mp_policy=policy)
    fully_shard(model, mesh=mesh, reshard_after_forward=True)
    register_fsdp_forward_method(model, "loss_sums")  # which all losses are made by
    model.to(device)  # the tables of positions, that are no weights


@torch.no_grad()
def draw_weights(model: GPT, generator: torch.Generator) -> None:
    """The weights that `init_weights` would draw, a parameter at a time: every rank draws all, and keeps its part."""
    declared = roles(model)
    for name, own in model.named_parameters():
        full = torch.empty(own.shape)
        draw(full, declared[name], model.config, generator)
        fill(own, full)
