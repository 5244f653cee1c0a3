"""The ladder from a table of letter pairs to the full model, each rung adding one idea to the one before.

    bigram        the last token alone decides
    single-head   one head of attention looks back
    multi-head    several heads look for different things
    blocks        attention and MLP in residual blocks, stacked
    decoder       with norms: the full transformer, on PyTorch's own attention module
    (gpt)         engine.model.gpt: the same with everything it can choose

Written for reading, softmax and all; `gpt.Attention` is the fast one. A rung is a GPT made of fewer parts.
"""

from __future__ import annotations

from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from engine.config import ModelConfig
from engine.errors import ConfigError
from engine.model.cache import KVCache, LayerCache
from engine.model.gpt import BIAS, GPT, MLP, Block, Declared, Embedding, Linear, Norm, Rope, causal_mask


class Rung(GPT):
    """What all rungs share: the last of `residuals` is read out, and there is no cache."""

    supports_cache = False

    def make(self, config: ModelConfig, rows: int) -> None:
        if config.embd_window > 1:
            raise ConfigError(f"model.kind {config.kind} sees earlier tokens by attention only: set embd_window 1")
        self.before = self.norm_embd = None
        self.norm_f = nn.Identity()

    def hidden(self, ids: Tensor, cache: KVCache | None = None) -> Tensor:
        if cache is not None:
            raise ValueError(f"kind {self.config.kind} keeps no cache")
        if ids.size(1) > self.config.block_size:
            raise ValueError(f"{ids.size(1)} tokens do not fit a context of {self.config.block_size}")
        out: Tensor = self.norm_f(self.residuals(ids)[-1])
        return out


class Bigram(Rung):
    """The last token's row of one table is the logits."""

    def make(self, config: ModelConfig, rows: int) -> None:
        super().make(config, rows)
        self.wte = Embedding(rows, rows)

    def residuals(self, ids: Tensor) -> list[Tensor]:
        return [self.wte(ids)]

    def logits(self, x: Tensor) -> Tensor:
        return self.capped(x)

    def attention_maps(self, ids: Tensor) -> list[Tensor]:
        return []


class Embedded(Rung):
    """Tokens and positions become vectors (B, T, n_embd); layers work on them; the head reads them out."""

    def make(self, config: ModelConfig, rows: int) -> None:
        super().make(config, rows)
        if config.position not in ("learned", "sinusoidal", "none"):
            raise ConfigError(
                f"model.kind {config.kind} takes position learned, sinusoidal or none, not {config.position}"
            )
        self.wte = Embedding(rows, config.n_embd)
        self.make_positions(config, rows)
        self.head = None if config.tie_embeddings else Linear(config.n_embd, (rows,), False, "head", quiet=True)


class Head(nn.Module):
    """One head of attention, (B, T, n_embd) -> (B, T, width): what am I looking for, what do I have, what do I give."""

    def __init__(self, config: ModelConfig, width: int) -> None:
        super().__init__()
        self.query = Linear(config.n_embd, (width,), config.bias)
        self.key = Linear(config.n_embd, (width,), config.bias)
        self.value = Linear(config.n_embd, (width,), config.bias)
        self.dropout = config.dropout

    def weights(self, x: Tensor) -> Tensor:
        """How much each position takes of each, (B, T, T); rows sum to 1."""
        q, k = self.query(x), self.key(x)  # (B, T, width) each
        scores = q @ k.transpose(1, 2) * k.size(-1) ** -0.5  # each position's interest in each
        past = causal_mask(x.size(1), 0, x.device)
        weights: Tensor = scores.masked_fill(~past, float("-inf")).softmax(dim=-1)  # none in what comes later
        return weights

    def forward(self, x: Tensor) -> Tensor:
        mixed: Tensor = F.dropout(self.weights(x), self.dropout, self.training) @ self.value(x)
        return mixed


class SingleHead(Embedded):
    """Embedding, one head as wide as the embedding, readout."""

    attn: Head | ManyHeads

    def make(self, config: ModelConfig, rows: int) -> None:
        super().make(config, rows)
        self.attn = Head(config, config.n_embd)

    def residuals(self, ids: Tensor) -> list[Tensor]:
        x, _ = self.embed(ids)
        return [x, self.attn(x)]

    @torch.no_grad()
    def attention_maps(self, ids: Tensor) -> list[Tensor]:
        x, _ = self.embed(ids)
        return [self.attn.weights(x).view(len(x), -1, x.size(1), x.size(1))]


class ManyHeads(nn.Module):
    """n_head narrow heads side by side and a matrix that mixes them, (B, T, n_embd) -> (B, T, n_embd)."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.heads = nn.ModuleList(Head(config, config.head_dim) for _ in range(config.n_head))
        self.proj = Linear(config.n_embd, (config.n_embd,), config.bias, quiet=True)

    def weights(self, x: Tensor) -> Tensor:
        """Those of all heads, (B, n_head, T, T)."""
        return torch.stack([cast(Head, head).weights(x) for head in self.heads], dim=1)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.proj(torch.cat([head(x) for head in self.heads], dim=-1))
        return y


class MultiHead(SingleHead):
    """Embedding, several heads, readout."""

    def make(self, config: ModelConfig, rows: int) -> None:
        super().make(config, rows)
        if config.init == "zero-projection":
            raise ConfigError("model.kind multi-head has no residual path, so init zero-projection would never learn")
        self.attn = ManyHeads(config)


class PlainBlock(nn.Module):
    """Look around, then think about it; both add to the residual stream. No norms yet."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.attn = ManyHeads(config)
        self.mlp = MLP(config)
        self.dropout = config.dropout

    def forward(self, x: Tensor, rope: None) -> Tensor:
        x = x + F.dropout(self.attn(x), self.dropout, self.training)
        return x + F.dropout(self.mlp(x), self.dropout, self.training)


class Blocks(Embedded):
    """Embedding, n_layer blocks, readout."""

    def make(self, config: ModelConfig, rows: int) -> None:
        super().make(config, rows)
        self.blocks = nn.ModuleList(PlainBlock(config) for _ in range(config.n_layer))

    @torch.no_grad()
    def attention_maps(self, ids: Tensor) -> list[Tensor]:
        pairs = zip(self.blocks, self.residuals(ids)[:-1], strict=True)
        return [cast(PlainBlock, block).attn.weights(x) for block, x in pairs]


class TorchAttention(nn.MultiheadAttention):
    """PyTorch's attention module, (B, T, n_embd) -> (B, T, n_embd); `in_proj` holds what the own one calls `qkv`."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__(config.n_embd, config.n_head, config.dropout, config.bias, batch_first=True, device="meta")
        self.to_empty(device="cpu")  # nothing is drawn yet
        self.declared = {
            "in_proj_weight": Declared("matrix", config.qkv_rows),
            "in_proj_bias": BIAS,
            "out_proj.weight": Declared("matrix", (config.n_embd,), quiet=True),
            "out_proj.bias": BIAS,
        }

    def forward(self, x: Tensor, rope: Rope | None, cache: LayerCache | None = None) -> Tensor:  # type: ignore[override]
        hidden = ~causal_mask(x.size(1), 0, x.device)  # True where a position may not look
        y: Tensor = super().forward(x, x, x, attn_mask=hidden, is_causal=True, need_weights=False)[0]
        return y

    def weights(self, x: Tensor, rope: Rope | None) -> Tensor:
        """The attention that `forward` gives, (B, n_head, T, T)."""
        hidden = ~causal_mask(x.size(1), 0, x.device)
        _, weights = super().forward(x, x, x, attn_mask=hidden, average_attn_weights=False)
        assert weights is not None
        return weights


class DecoderBlock(Block):
    """GPT's block on `torch.nn.MultiheadAttention`."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__(config)
        self.attn = TorchAttention(config)  # type: ignore[assignment]  # answers to the same names


class Decoder(Embedded):
    """The decoder-only transformer from PyTorch's own parts: given the same weights it is GPT."""

    def make(self, config: ModelConfig, rows: int) -> None:
        super().make(config, rows)
        if config.qk_norm or config.kv_heads != config.n_head:
            raise ConfigError("model.kind decoder uses torch.nn.MultiheadAttention: set qk_norm false, n_kv_head unset")
        self.norm_embd = Norm(config) if config.embd_norm else None
        self.blocks = nn.ModuleList(DecoderBlock(config) for _ in range(config.n_layer))
        self.norm_f = Norm(config)


RUNGS: dict[str, type[GPT]] = {
    "bigram": Bigram,
    "single-head": SingleHead,
    "multi-head": MultiHead,
    "blocks": Blocks,
    "decoder": Decoder,
}
