"""Causal multi-head self-attention with grouped queries, rotary positions and a key/value cache."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from engine.config import ModelConfig
from engine.model import kernels
from engine.model.cache import LayerCache
from engine.model.layers import bare_linear

Rope = tuple[Tensor, Tensor]  # cosines and signed sines, each (T, 1, head_dim)


class Attention(nn.Module):
    """(B, T, n_embd) -> (B, T, n_embd); each position sees itself and what came before it (Vaswani et al. 2017).

    One matrix makes queries, keys and values: rows are n_head queries, then kv_heads keys, then values.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.n_head, self.kv_heads, self.head_dim = config.n_head, config.kv_heads, config.head_dim
        self.qk_norm = config.qk_norm
        self.dropout = config.dropout
        self.qkv = bare_linear(config.n_embd, (config.n_head + 2 * config.kv_heads) * config.head_dim, config.bias)
        self.proj = bare_linear(config.n_embd, config.n_embd, config.bias)

    def heads(self, x: Tensor, rope: Rope | None) -> tuple[Tensor, Tensor, Tensor]:
        """Queries (B, n_head, T, head_dim), keys and values (B, kv_heads, T, head_dim), positioned and normalized."""
        B, T, _ = x.shape
        split = (self.n_head + self.kv_heads, self.kv_heads)
        qk, v = self.qkv(x).view(B, T, sum(split), self.head_dim).split(split, dim=2)
        if rope is not None:  # queries and keys turn together: half the kernels
            qk = kernels.rope(qk, *rope)
        if self.qk_norm:
            qk = kernels.rms_norm(qk)
        q, k = qk.split((self.n_head, self.kv_heads), dim=2)
        return q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2)

    def forward(self, x: Tensor, rope: Rope | None, cache: LayerCache | None = None) -> Tensor:
        B, T, C = x.shape
        q, k, v = self.heads(x, rope)
        mask = None
        if cache is not None:
            k, v = cache.extend(k, v)  # (B, kv_heads, past + T, head_dim)
            past = k.size(2) - T
            if past and T > 1:
                mask = causal_mask(T, past, x.device)
        y = F.scaled_dot_product_attention(
            q,
            k,
            v,
            attn_mask=mask,
            dropout_p=self.dropout if self.training else 0.0,
            is_causal=mask is None and T > 1,  # a single query is the newest position: it sees all
            enable_gqa=self.kv_heads != self.n_head,
        )
        out: Tensor = self.proj(y.transpose(1, 2).reshape(B, T, C))
        return out

    def weights(self, x: Tensor, rope: Rope | None) -> Tensor:
        """Attention of every query on every key, (B, n_head, T, T); rows sum to 1."""
        q, k, _ = self.heads(x, rope)
        k = k.repeat_interleave(self.n_head // self.kv_heads, dim=1)
        scores = torch.matmul(q, k.transpose(2, 3)) * self.head_dim**-0.5
        past = causal_mask(x.size(1), 0, x.device)
        return torch.softmax(scores.masked_fill(~past, float("-inf")), dim=-1)


def causal_mask(queries: int, past: int, device: torch.device) -> Tensor:
    """True where a query may look: (queries, past + queries)."""
    return torch.ones(queries, past + queries, dtype=torch.bool, device=device).tril(past)
