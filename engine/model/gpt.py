"""The model: a decoder-only transformer."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Generator, Tensor, nn

from engine.config import ModelConfig
from engine.model.attention import Attention, Rope
from engine.model.before import TokensBefore
from engine.model.cache import KVCache, LayerCache
from engine.model.count import padded_vocab
from engine.model.init import embedding_std, init_weights
from engine.model.kernels import linear
from engine.model.layers import bare_embedding, bare_linear
from engine.model.mlp import MLP
from engine.model.norm import make_norm
from engine.model.positions import rope_tables, sinusoidal_table


class Block(nn.Module):
    """Attention, then the MLP, each reading a normalized copy of the residual stream and adding to it."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.norm1 = make_norm(config)
        self.attn = Attention(config)
        self.norm2 = make_norm(config)
        self.mlp = MLP(config)
        self.dropout = config.dropout

    def forward(self, x: Tensor, rope: Rope | None, cache: LayerCache | None = None) -> Tensor:
        x = x + self.drop(self.attn(self.norm1(x), rope, cache))
        return x + self.drop(self.mlp(self.norm2(x)))

    def drop(self, x: Tensor) -> Tensor:
        return F.dropout(x, self.dropout) if self.dropout and self.training else x


class GPT(nn.Module):
    """Token ids (B, T) -> logits (B, T, vocab_size) (Radford et al. 2019), with every part `ModelConfig` can choose.

    Parameters: wte, before (embd_window), wpe (learned positions), norm_embd, blocks.N.{norm1, attn.qkv, attn.proj,
    norm2, mlp.fc, mlp.proj}, norm_f, head (absent when tied to wte). Weights are drawn from `generator` only; without
    one, from seed 0.
    """

    supports_cache = True

    def __init__(self, config: ModelConfig, vocab_size: int, *, generator: Generator | None = None) -> None:
        super().__init__()
        self.config = config
        self.vocab_size = vocab_size
        rows = padded_vocab(config, vocab_size)
        self.wte = bare_embedding(rows, config.n_embd)
        self.before = TokensBefore(config.embd_window - 1, rows, config.n_embd) if config.embd_window > 1 else None
        self.wpe = bare_embedding(config.block_size, config.n_embd) if config.position == "learned" else None
        self.norm_embd = make_norm(config) if config.embd_norm else None
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.n_layer))
        self.norm_f = make_norm(config)
        self.head = None if config.tie_embeddings else bare_linear(config.n_embd, rows, bias=False)
        # tables are functions of the config: never saved
        self.cos: Tensor | None
        self.sin: Tensor | None
        self.positions: Tensor | None
        cos = sin = positions = None
        if config.position == "rope":
            cos, sin = (table[:, None] for table in rope_tables(config.block_size, config.head_dim, config.rope_base))
        elif config.position == "sinusoidal":
            positions = sinusoidal_table(config.block_size, config.n_embd, embedding_std(config, rows))
        self.register_buffer("cos", cos, persistent=False)
        self.register_buffer("sin", sin, persistent=False)
        self.register_buffer("positions", positions, persistent=False)
        init_weights(self, config, generator)

    def forward(self, ids: Tensor, cache: KVCache | None = None, last: bool = False) -> Tensor:
        """Logits (B, T, vocab_size) for ids (B, T), or (B, 1, vocab_size) of the last position only.

        With `cache`, ids follow what it holds and are added to it. Raises ValueError past block_size.
        """
        x = self.hidden(ids, cache)
        return self.logits(x[:, -1:] if last else x)

    def loss(self, ids: Tensor, targets: Tensor, reduction: str = "mean") -> Tensor:
        """Cross entropy in nats of targets (B, T), as a float32 scalar: "mean" over them or "sum"; -100 is left out."""
        logits = self.logits(self.hidden(ids))
        return F.cross_entropy(logits.flatten(0, 1).float(), targets.flatten(), reduction=reduction)

    def loss_sums(self, ids: Tensor, targets: Tensor, tokens: int) -> list[Tensor]:
        """`loss` of targets (B, T) as sums that make up their sum, logits being made of at most `tokens` at a time."""
        if ids.numel() <= tokens:
            return [self.loss(ids, targets, reduction="sum")]
        hidden = self.hidden(ids).flatten(0, 1)
        parts = zip(torch.split(hidden, tokens), torch.split(targets.flatten(), tokens), strict=True)
        return [F.cross_entropy(self.logits(x).float(), y, reduction="sum") for x, y in parts]

    @torch.no_grad()
    def residuals(self, ids: Tensor) -> list[Tensor]:
        """The residual stream (B, T, n_embd) as embedded and after each block, for ids (B, T)."""
        x, rope = self.embed(ids)
        stream = [x]
        for block in self.blocks:
            stream.append(block(stream[-1], rope))
        return stream

    def readout(self, x: Tensor) -> Tensor:
        """Logits (B, T, vocab_size) as if x (B, T, n_embd) were the residual stream after the last block."""
        return self.logits(self.norm_f(x))

    def hidden(self, ids: Tensor, cache: KVCache | None = None) -> Tensor:
        """The normalized residual stream (B, T, n_embd) that the head reads."""
        x, rope = self.embed(ids, cache)
        for i, block in enumerate(self.blocks):
            x = block(x, rope, None if cache is None else cache.layers[i])
        if cache is not None:
            cache.length += ids.size(1)
        out: Tensor = self.norm_f(x)
        return out

    def embed(self, ids: Tensor, cache: KVCache | None = None) -> tuple[Tensor, Rope | None]:
        """Embedded tokens (B, T, n_embd) and, with RoPE, the tables of their positions."""
        start, room = (0, self.config.block_size) if cache is None else (cache.length, cache.capacity)
        end = start + ids.size(1)
        if end > room:
            raise ValueError(f"{end} tokens do not fit a context of {room}")
        here = slice(start, end)
        x = self.wte(ids)
        if self.before is not None:
            x = x + self.before(ids, cache)
        if self.wpe is not None:
            x = x + self.wpe.weight[here]
        elif self.positions is not None:
            x = x + self.positions[here]
        if self.config.dropout and self.training:
            x = F.dropout(x, self.config.dropout)
        if self.norm_embd is not None:
            x = self.norm_embd(x)
        rope = None if self.cos is None or self.sin is None else (self.cos[here], self.sin[here])
        return x, rope

    def logits(self, x: Tensor) -> Tensor:
        """(B, T, n_embd) -> (B, T, vocab_size); rows that only pad the vocabulary are cut off."""
        logits = linear(x, self.wte.weight if self.head is None else self.head.weight)
        if logits.size(-1) != self.vocab_size:
            logits = logits[..., : self.vocab_size]
        if self.config.softcap:
            logits = self.config.softcap * torch.tanh(logits.float() / self.config.softcap)
        return logits

    @torch.no_grad()
    def attention_maps(self, ids: Tensor) -> list[Tensor]:
        """Each layer's attention weights (B, n_head, T, T) for ids (B, T)."""
        x, rope = self.embed(ids)
        maps = []
        for block in self.blocks:
            assert isinstance(block, Block)
            maps.append(block.attn.weights(block.norm1(x), rope))
            x = block(x, rope)
        return maps
