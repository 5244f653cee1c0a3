"""What came just before a token, looked up instead of attended to."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from engine.model.cache import KVCache
from engine.model.layers import Embedding


class TokensBefore(Embedding):
    """Token ids (B, T) -> the summed embeddings (B, T, n_embd) of the `reach` tokens before each.

    A table for every distance, oldest first: together with the token's own embedding a causal convolution over one-hot
    tokens, of width reach + 1. The last few characters say most about the next one; here the first block has them for
    the price of a lookup, where it would first have to learn an attention head for each. Row 0 of a table stands for
    nothing, before the beginning; row i + 1 for token i.
    """

    def __init__(self, reach: int, rows: int, n_embd: int) -> None:
        super().__init__(reach * (rows + 1), n_embd)
        self.reach = reach
        self._tables: Tensor
        self.register_buffer("_tables", torch.arange(reach) * (rows + 1), persistent=False)

    def forward(self, ids: Tensor, cache: KVCache | None = None) -> Tensor:
        if cache is None:
            before = F.pad(ids[:, :-1] + 1, (self.reach, 0)).unfold(1, self.reach, 1)  # (B, T, reach)
        else:
            before = cache.before(ids)
        return super().forward(before + self._tables).sum(-2)
