"""Keys and values already computed, kept so that one more token costs one token."""

from __future__ import annotations

import torch
from torch import Tensor

from engine.config import ModelConfig


class LayerCache:
    """One layer's keys and values, each (B, kv_heads, capacity, head_dim), filled from the left."""

    def __init__(self, owner: KVCache, keys: Tensor, values: Tensor) -> None:
        self.owner, self.keys, self.values = owner, keys, values

    def extend(self, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """Write k, v (B, kv_heads, T, head_dim) after what is held; views of everything up to and including them."""
        start, n = self.owner.length, k.size(2)
        self.keys.narrow(2, start, n).copy_(k.detach())
        self.values.narrow(2, start, n).copy_(v.detach())
        return self.keys.narrow(2, 0, start + n), self.values.narrow(2, 0, start + n)


class KVCache:
    """Static buffers for `batch` sequences of at most `length` tokens, where and of the precision that `like` is.

    `length` is what is held now and `capacity` what fits; the model moves `length` after a forward pass.
    """

    def __init__(self, config: ModelConfig, batch: int, length: int, like: Tensor) -> None:
        self.capacity, self.length = min(length, config.block_size), 0
        shape = (config.n_layer, 2, batch, config.kv_heads, self.capacity, config.head_dim)
        buffer = like.new_zeros(shape)
        self.layers = [LayerCache(self, buffer[i, 0], buffer[i, 1]) for i in range(config.n_layer)]
        self.reach = config.embd_window - 1
        # tokens held, each plus one; the first `reach` columns stay 0: nothing came before the beginning
        self._tokens = torch.zeros(batch, self.reach + self.capacity, dtype=torch.int64, device=like.device)

    def before(self, ids: Tensor) -> Tensor:
        """Note ids (B, T), the next tokens; the `reach` tokens before each, (B, T, reach): oldest first, each plus one,
        0 where there is none.
        """
        end = self.length + ids.size(1)
        self._tokens[:, self.reach + self.length : self.reach + end] = ids + 1
        return self._tokens[:, self.length : self.reach + end - 1].unfold(1, self.reach, 1)

    def reset(self) -> None:
        """Forget everything; the buffers stay."""
        self.length = 0

    def select(self, rows: Tensor) -> None:
        """Sequence i goes on from what sequence rows[i] held; rows is (B,)."""
        self._tokens.copy_(self._tokens[rows])
        for layer in self.layers:
            for kept in (layer.keys, layer.values):
                kept[:, :, : self.length] = kept[rows, :, : self.length]

    def fill(self, one: KVCache) -> None:
        """Every sequence holds what the only one of `one`, of the same capacity, does."""
        self._tokens.copy_(one._tokens)
        for layer, read in zip(self.layers, one.layers, strict=True):
            layer.keys.copy_(read.keys)
            layer.values.copy_(read.values)
        self.length = one.length
