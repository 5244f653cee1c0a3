"""Where the memory of training goes: weights, gradients, optimizer state, activations."""

from __future__ import annotations

import torch
from torch import Tensor

from engine.model.gpt import GPT
from engine.training.optim import Optimizer
from engine.training.precision import autocast


def activation_bytes(model: GPT, x: Tensor, y: Tensor, precision: str) -> int:
    """Bytes kept for the backward pass by one forward pass over the batch x, y; parameters are not counted.

    Measured by PyTorch's saved-tensor hooks, so it is the same on every device.
    """
    own = {parameter.untyped_storage().data_ptr() for parameter in model.parameters()}
    seen: dict[int, int] = {}

    def note(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            seen[storage.data_ptr()] = storage.nbytes()
        return tensor

    # the tensors are kept alive by the graph until the end, so no address is counted twice
    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor), autocast(precision, x.device):
        loss = model.loss(x, y)
    total = sum(seen.values())
    del loss
    return total


def memory_split(optimizer: Optimizer, activations: int) -> dict[str, int]:
    """Bytes by what they are for."""
    return {
        "weights": sum(parameter.nbytes for parameter in optimizer.model.parameters()),
        "gradients": sum(parameter.nbytes for parameter in optimizer.named.values()),
        "optimizer": optimizer.state_bytes,
        "activations": activations,
    }
