"""The ladder from a table of letter pairs to the full model, each rung adding one idea to the one before.

    bigram        the last token alone decides
    single-head   one head of attention looks back
    multi-head    several heads look for different things
    blocks        attention and MLP in residual blocks, stacked
    decoder       with norms: the full transformer, on PyTorch's own attention module
    (gpt)         engine.model.gpt: the same with everything it can choose

Written for reading, softmax and all; `engine.model.attention` is the fast one. Every rung answers to GPT's names.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import cast

import torch
import torch.nn.functional as F
from torch import Generator, Tensor, nn

from engine.config import ModelConfig
from engine.errors import ConfigError
from engine.model.attention import causal_mask
from engine.model.count import padded_vocab
from engine.model.init import embedding_std, init_weights
from engine.model.kernels import linear
from engine.model.layers import bare_attention, bare_embedding, bare_linear
from engine.model.mlp import MLP
from engine.model.norm import make_norm
from engine.model.positions import sinusoidal_table


class Rung(nn.Module, ABC):
    """What all rungs share: token ids (B, T) -> logits (B, T, vocab_size), and the loss. No cache."""

    supports_cache = False

    def __init__(self, config: ModelConfig, vocab_size: int) -> None:
        super().__init__()
        if config.embd_window > 1:
            raise ConfigError(f"model.kind {config.kind} sees earlier tokens by attention only: set embd_window 1")
        self.config = config
        self.vocab_size = vocab_size
        self.rows = padded_vocab(config, vocab_size)

    @abstractmethod
    def residuals(self, ids: Tensor) -> list[Tensor]:
        """ids (B, T) as embedded, (B, T, width), and after each layer."""

    @abstractmethod
    def scores(self, x: Tensor) -> Tensor:
        """What follows the last layer: x (B, T, width) -> scores (B, T, rows) of every row of the padded vocabulary."""

    def readout(self, x: Tensor) -> Tensor:
        """Logits (B, T, vocab_size) as if x (B, T, width) came from the last layer."""
        logits = self.scores(x)[..., : self.vocab_size]
        if self.config.softcap:
            logits = self.config.softcap * torch.tanh(logits.float() / self.config.softcap)
        return logits

    def forward(self, ids: Tensor, cache: None = None, last: bool = False) -> Tensor:
        """Logits (B, T, vocab_size), or (B, 1, vocab_size) of the last position. Raises ValueError past block_size."""
        if cache is not None:
            raise ValueError(f"kind {self.config.kind} keeps no cache")
        if ids.size(1) > self.config.block_size:
            raise ValueError(f"{ids.size(1)} tokens do not fit a context of {self.config.block_size}")
        logits = self.readout(self.residuals(ids)[-1])
        return logits[:, -1:] if last else logits

    @torch.no_grad()
    def attention_maps(self, ids: Tensor) -> list[Tensor]:
        """Each layer's attention weights (B, heads, T, T) for ids (B, T); none where nothing attends."""
        return []

    def loss(self, ids: Tensor, targets: Tensor, reduction: str = "mean") -> Tensor:
        """Cross entropy in nats of targets (B, T), as a float32 scalar: "mean" over them or "sum"; -100 is left out."""
        return F.cross_entropy(self(ids).flatten(0, 1).float(), targets.flatten(), reduction=reduction)

    def loss_sums(self, ids: Tensor, targets: Tensor, tokens: int) -> list[Tensor]:
        """`loss` as sums that make up the sum over targets (B, T), of some `tokens` each: of whole sequences here."""
        rows = max(1, tokens // ids.size(1))
        parts = zip(torch.split(ids, rows), torch.split(targets, rows), strict=True)
        return [self.loss(x, y, reduction="sum") for x, y in parts]


class Bigram(Rung):
    """The last token's row of one table is the logits."""

    def __init__(self, config: ModelConfig, vocab_size: int, *, generator: Generator | None = None) -> None:
        super().__init__(config, vocab_size)
        self.wte = bare_embedding(self.rows, self.rows)
        init_weights(self, config, generator)

    def residuals(self, ids: Tensor) -> list[Tensor]:
        return [self.wte(ids)]

    def scores(self, x: Tensor) -> Tensor:
        return x


class Embedded(Rung):
    """Tokens and positions become vectors (B, T, n_embd); layers work on them; the head reads them out."""

    def __init__(self, config: ModelConfig, vocab_size: int) -> None:
        super().__init__(config, vocab_size)
        if config.position == "rope":
            raise ConfigError(f"model.kind {config.kind} takes position learned, sinusoidal or none, not rope")
        self.wte = bare_embedding(self.rows, config.n_embd)
        self.wpe = bare_embedding(config.block_size, config.n_embd) if config.position == "learned" else None
        self.head = None if config.tie_embeddings else bare_linear(config.n_embd, self.rows, bias=False)
        table = None
        if config.position == "sinusoidal":
            table = sinusoidal_table(config.block_size, config.n_embd, embedding_std(config, self.rows))
        self.positions: Tensor | None
        self.register_buffer("positions", table, persistent=False)

    def embed(self, ids: Tensor) -> Tensor:
        """(B, T) -> (B, T, n_embd)."""
        T = ids.size(1)
        x = self.wte(ids)
        if self.wpe is not None:
            x = x + self.wpe.weight[:T]
        elif self.positions is not None:
            x = x + self.positions[:T]
        return F.dropout(x, self.config.dropout, self.training)

    def scores(self, x: Tensor) -> Tensor:
        return linear(x, self.wte.weight if self.head is None else self.head.weight)


class Head(nn.Module):
    """One head of attention, (B, T, n_embd) -> (B, T, width): what am I looking for, what do I have, what do I give."""

    def __init__(self, config: ModelConfig, width: int) -> None:
        super().__init__()
        self.query = bare_linear(config.n_embd, width, config.bias)
        self.key = bare_linear(config.n_embd, width, config.bias)
        self.value = bare_linear(config.n_embd, width, config.bias)
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

    def __init__(self, config: ModelConfig, vocab_size: int, *, generator: Generator | None = None) -> None:
        super().__init__(config, vocab_size)
        self.attn = Head(config, config.n_embd)
        init_weights(self, config, generator)

    def residuals(self, ids: Tensor) -> list[Tensor]:
        x = self.embed(ids)
        return [x, self.attn(x)]

    @torch.no_grad()
    def attention_maps(self, ids: Tensor) -> list[Tensor]:
        return [self.attn.weights(self.embed(ids))[:, None]]


class ManyHeads(nn.Module):
    """n_head narrow heads side by side and a matrix that mixes them, (B, T, n_embd) -> (B, T, n_embd)."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.heads = nn.ModuleList(Head(config, config.head_dim) for _ in range(config.n_head))
        self.proj = bare_linear(config.n_embd, config.n_embd, config.bias)

    def weights(self, x: Tensor) -> Tensor:
        """Those of all heads, (B, n_head, T, T)."""
        return torch.stack([cast(Head, head).weights(x) for head in self.heads], dim=1)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.proj(torch.cat([head(x) for head in self.heads], dim=-1))
        return y


class MultiHead(Embedded):
    """Embedding, several heads, readout."""

    def __init__(self, config: ModelConfig, vocab_size: int, *, generator: Generator | None = None) -> None:
        super().__init__(config, vocab_size)
        if config.init == "zero-projection":
            raise ConfigError("model.kind multi-head has no residual path, so init zero-projection would never learn")
        self.attn = ManyHeads(config)
        init_weights(self, config, generator)

    def residuals(self, ids: Tensor) -> list[Tensor]:
        x = self.embed(ids)
        return [x, self.attn(x)]

    @torch.no_grad()
    def attention_maps(self, ids: Tensor) -> list[Tensor]:
        return [self.attn.weights(self.embed(ids))]


class PlainBlock(nn.Module):
    """Look around, then think about it; both add to the residual stream. No norms yet."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.attn = ManyHeads(config)
        self.mlp = MLP(config)
        self.dropout = config.dropout

    def forward(self, x: Tensor) -> Tensor:
        x = x + F.dropout(self.attn(x), self.dropout, self.training)
        return x + F.dropout(self.mlp(x), self.dropout, self.training)


class Blocks(Embedded):
    """Embedding, n_layer blocks, readout."""

    def __init__(self, config: ModelConfig, vocab_size: int, *, generator: Generator | None = None) -> None:
        super().__init__(config, vocab_size)
        self.blocks = nn.ModuleList(PlainBlock(config) for _ in range(config.n_layer))
        init_weights(self, config, generator)

    def residuals(self, ids: Tensor) -> list[Tensor]:
        stream = [self.embed(ids)]
        for block in self.blocks:
            stream.append(block(stream[-1]))
        return stream

    @torch.no_grad()
    def attention_maps(self, ids: Tensor) -> list[Tensor]:
        pairs = zip(self.blocks, self.residuals(ids)[:-1], strict=True)
        return [cast(PlainBlock, block).attn.weights(x) for block, x in pairs]


class DecoderBlock(nn.Module):
    """GPT's block on `torch.nn.MultiheadAttention`; `in_proj` holds what the own attention calls `qkv`."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.norm1 = make_norm(config)
        self.attn = bare_attention(config)
        self.norm2 = make_norm(config)
        self.mlp = MLP(config)
        self.dropout = config.dropout

    def forward(self, x: Tensor, hidden: Tensor) -> Tensor:
        """x (B, T, n_embd); `hidden` (T, T) is True where a position may not look."""
        y = self.norm1(x)
        y, _ = self.attn(y, y, y, attn_mask=hidden, is_causal=True, need_weights=False)
        x = x + F.dropout(y, self.dropout, self.training)
        return x + F.dropout(self.mlp(self.norm2(x)), self.dropout, self.training)

    def weights(self, x: Tensor, hidden: Tensor) -> Tensor:
        """The attention that `forward` gives, (B, n_head, T, T)."""
        y = self.norm1(x)
        weights: Tensor = self.attn(y, y, y, attn_mask=hidden, average_attn_weights=False)[1]
        return weights


class Decoder(Embedded):
    """The decoder-only transformer from PyTorch's own parts: given the same weights it is GPT."""

    def __init__(self, config: ModelConfig, vocab_size: int, *, generator: Generator | None = None) -> None:
        super().__init__(config, vocab_size)
        if config.qk_norm or config.kv_heads != config.n_head:
            raise ConfigError("model.kind decoder uses torch.nn.MultiheadAttention: set qk_norm false, n_kv_head unset")
        self.norm_embd = make_norm(config) if config.embd_norm else None
        self.blocks = nn.ModuleList(DecoderBlock(config) for _ in range(config.n_layer))
        self.norm_f = make_norm(config)
        init_weights(self, config, generator)

    def residuals(self, ids: Tensor) -> list[Tensor]:
        hidden = ~causal_mask(ids.size(1), 0, ids.device)
        x = self.embed(ids)
        stream = [x if self.norm_embd is None else self.norm_embd(x)]
        for block in self.blocks:
            stream.append(block(stream[-1], hidden))
        return stream

    def scores(self, x: Tensor) -> Tensor:
        return super().scores(self.norm_f(x))

    @torch.no_grad()
    def attention_maps(self, ids: Tensor) -> list[Tensor]:
        hidden = ~causal_mask(ids.size(1), 0, ids.device)
        pairs = zip(self.blocks, self.residuals(ids)[:-1], strict=True)
        return [cast(DecoderBlock, block).weights(x, hidden) for block, x in pairs]


RUNGS: dict[str, type[Bigram | SingleHead | MultiHead | Blocks | Decoder]] = {
    "bigram": Bigram,
    "single-head": SingleHead,
    "multi-head": MultiHead,
    "blocks": Blocks,
    "decoder": Decoder,
}
