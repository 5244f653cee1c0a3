"""PyTorch's layers as the models use them: made without drawing weights, which `init.init_weights` does for all."""

from __future__ import annotations

from torch import Tensor, nn

from engine.config import ModelConfig
from engine.model.kernels import linear


class Linear(nn.Linear):
    """PyTorch's linear layer, its product computed by `kernels.linear`, its weights left undrawn."""

    def reset_parameters(self) -> None:
        pass

    def forward(self, x: Tensor) -> Tensor:
        return linear(x, self.weight, self.bias)


class Embedding(nn.Embedding):
    """PyTorch's embedding, its weights left undrawn."""

    def reset_parameters(self) -> None:
        pass


def bare_linear(n_in: int, n_out: int, bias: bool) -> Linear:
    """A linear layer whose weights are not drawn yet."""
    return Linear(n_in, n_out, bias=bias)


def bare_embedding(n: int, width: int) -> nn.Embedding:
    """An embedding whose weights are not drawn yet."""
    return Embedding(n, width)


def bare_attention(config: ModelConfig) -> nn.MultiheadAttention:
    """PyTorch's attention module, (B, T, n_embd) -> (B, T, n_embd), whose weights are not drawn yet."""
    layer = nn.MultiheadAttention(
        config.n_embd, config.n_head, dropout=config.dropout, bias=config.bias, batch_first=True, device="meta"
    )
    return layer.to_empty(device="cpu")
