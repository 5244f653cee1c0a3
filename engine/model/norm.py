"""Normalization of the residual stream."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from engine.config import ModelConfig
from engine.model.kernels import rms_norm

LAYER_EPS = 1e-5  # GPT-2's


class RMSNorm(nn.Module):
    """`rms_norm` with a gain, if `weighted`."""

    def __init__(self, width: int, weighted: bool) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width)) if weighted else None

    def forward(self, x: Tensor) -> Tensor:
        return rms_norm(x, self.weight)


def make_norm(config: ModelConfig) -> nn.Module:
    """The norm `config` asks for, over the last dimension of (..., n_embd).

    LayerNorm is Ba et al. 2016, with gain and, when `bias`, an offset; RMSNorm is Zhang & Sennrich 2019, gain only.
    `norm_weight` off leaves both without parameters.
    """
    if config.norm == "layernorm":
        return nn.LayerNorm(config.n_embd, eps=LAYER_EPS, elementwise_affine=config.norm_weight, bias=config.bias)
    return RMSNorm(config.n_embd, weighted=config.norm_weight)
