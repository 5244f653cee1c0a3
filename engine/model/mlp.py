"""The position-wise part of a block."""

from __future__ import annotations

from collections.abc import Callable

import torch.nn.functional as F
from torch import Tensor, nn

from engine.config import ModelConfig
from engine.model.kernels import relu2
from engine.model.layers import bare_linear


def _gelu_tanh(x: Tensor) -> Tensor:
    return F.gelu(x, approximate="tanh")


def _swiglu(x: Tensor) -> Tensor:
    """Gate and value side by side in x (..., 2 hidden) -> (..., hidden) (Shazeer 2020)."""
    gate, value = x.chunk(2, dim=-1)
    return F.silu(gate) * value


ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "gelu": F.gelu,
    "gelu_tanh": _gelu_tanh,
    "relu": F.relu,
    "relu2": relu2,
    "swiglu": _swiglu,
}


class MLP(nn.Module):
    """(..., n_embd) -> (..., n_embd) through `mlp_hidden` units; SwiGLU's gate and value are one matrix, gate first."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        hidden = config.mlp_hidden
        self.fc = bare_linear(config.n_embd, 2 * hidden if config.mlp == "swiglu" else hidden, config.bias)
        self.proj = bare_linear(hidden, config.n_embd, config.bias)
        self.activation = ACTIVATIONS[config.mlp]

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.proj(self.activation(self.fc(x)))
        return out
