"""PyTorch's layers as the models use them: made without drawing weights, which `init.init_weights` does for all."""

from __future__ import annotations

from torch import Tensor, nn

from engine.config import ModelConfig
from engine.model.kernels import linear


class Linear(nn.Linear):
    """PyTorch's linear layer, its product computed by `kernels.linear`."""

    def forward(self, x: Tensor) -> Tensor:
        return linear(x, self.weight, self.bias)


def bare_linear(n_in: int, n_out: int, bias: bool) -> Linear:
    """A linear layer whose weights are not drawn yet: on the meta device PyTorch's own drawing is a no-op."""
    return Linear(n_in, n_out, bias=bias, device="meta").to_empty(device="cpu")


def bare_embedding(n: int, width: int) -> nn.Embedding:
    """An embedding whose weights are not drawn yet."""
    return nn.Embedding(n, width, device="meta").to_empty(device="cpu")


def bare_attention(config: ModelConfig) -> nn.MultiheadAttention:
    """PyTorch's attention module, (B, T, n_embd) -> (B, T, n_embd), whose weights are not drawn yet."""
    layer = nn.MultiheadAttention(
        config.n_embd, config.n_head, dropout=config.dropout, bias=config.bias, batch_first=True, device="meta"
    )
    return layer.to_empty(device="cpu")
