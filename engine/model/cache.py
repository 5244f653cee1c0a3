"""Keys and values already computed, kept so that one more token costs one token."""

from __future__ import annotations

import torch
from torch import Tensor

from engine.config import ModelConfig


class LayerCache:
    """One layer's keys and values, each (B, kv_heads, length, head_dim), filled from the left."""

    def __init__(self, owner: KVCache, keys: Tensor, values: Tensor) -> None:
        self.owner, self.keys, self.values = owner, keys, values

    def extend(self, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """Write k, v (B, kv_heads, T, head_dim) after what is held; views of everything up to and including them."""
        start = self.owner.length
        end = start + k.size(2)
        self.keys[:, :, start:end] = k.detach()
        self.values[:, :, start:end] = v.detach()
        return self.keys[:, :, :end], self.values[:, :, :end]


class KVCache:
    """Static buffers for `batch` sequences of at most `length` tokens (the model's block_size when not given).

    `length` is what is held now and `capacity` what fits; the model moves `length` after a forward pass.
    """

    def __init__(
        self,
        config: ModelConfig,
        batch: int = 1,
        length: int | None = None,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
    ) -> None:
        self.capacity = config.block_size if length is None else min(length, config.block_size)
        self.length = 0
        shape = (config.n_layer, 2, batch, config.kv_heads, self.capacity, config.head_dim)
        buffer = torch.zeros(shape, device=device, dtype=dtype)
        self.layers = [LayerCache(self, buffer[i, 0], buffer[i, 1]) for i in range(config.n_layer)]

    def reset(self) -> None:
        """Forget everything; the buffers stay."""
        self.length = 0

    def crop(self, n: int) -> None:
        """Keep the first n tokens; more than are held keeps all."""
        self.length = max(0, min(n, self.length))
