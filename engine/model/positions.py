"""How a token knows where it stands: rotary and sinusoidal tables (learned positions are an embedding in the model)."""

from __future__ import annotations

import torch
from torch import Tensor


def rope_tables(length: int, head_dim: int, base: float) -> tuple[Tensor, Tensor]:
    """Rotary tables (Su et al. 2021), each (length, head_dim): cosines, and sines signed for `kernels.rope`.

    Dimension i of the first half turns together with dimension i of the second half, as in Llama.
    """
    frequencies = base ** -(torch.arange(0, head_dim, 2, dtype=torch.float64) / head_dim)
    angles = torch.outer(torch.arange(length, dtype=torch.float64), frequencies)  # (length, head_dim / 2)
    cos, sin = angles.cos(), angles.sin()
    return torch.cat((cos, cos), dim=1).float(), torch.cat((-sin, sin), dim=1).float()


def sinusoidal_table(length: int, width: int, scale: float) -> Tensor:
    """Fixed positions (length, width) of Vaswani et al. 2017, with root mean square `scale`.

    Scaled to the size of fresh token embeddings: at the paper's amplitude of 1 they would drown embeddings of std 0.02.
    """
    half = (width + 1) // 2
    frequencies = 10_000.0 ** -(torch.arange(half, dtype=torch.float64) * 2 / width)
    angles = torch.outer(torch.arange(length, dtype=torch.float64), frequencies)  # (length, half)
    table = torch.stack((angles.sin(), angles.cos()), dim=2).flatten(1)[:, :width]
    return (table * (2**0.5 * scale)).float()
