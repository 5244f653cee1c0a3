"""The model, top to bottom: a decoder-only transformer (Radford et al. 2019) with every part `ModelConfig` can choose.

In the shapes: B sequences of T tokens, C = n_embd numbers for each; `head_dim` of them for one head of attention.
Each module declares what its parameters are (`Declared`); that, and not a name or a shape, is what the initialization
below, the optimizers and LoRA go by.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Generator, Tensor, nn
from torch.utils.checkpoint import checkpoint

from engine.config import ModelConfig
from engine.model.cache import KVCache, LayerCache
from engine.model.sizes import logits_at_once, padded_vocab

LAYER_EPS = 1e-5  # GPT-2's
RMS_EPS = 1e-6  # Llama's and nanochat's

Role = Literal["embedding", "head", "matrix", "vector", "adapter"]
Rope = tuple[Tensor, Tensor]  # cosines and signed sines, each (T, 1, head_dim)


class Declared(NamedTuple):
    """What a parameter is."""

    role: Role
    rows: tuple[int, ...] = ()
    """Of each of the matrices it holds one under the other, for one product in place of several."""
    quiet: bool = False
    """It adds to what is there without it, or scores it: it starts small, or at zero, as the initialization says."""


GAIN, BIAS = Declared("vector"), Declared("vector", quiet=True)


def roles(model: nn.Module) -> dict[str, Declared]:
    """What each parameter of `model` is, by its name. KeyError for one whose module does not say."""
    said = {
        f"{prefix}.{leaf}".removeprefix("."): each
        for prefix, module in model.named_modules()
        for leaf, each in getattr(module, "declared", {}).items()
    }
    return {name: said[name] for name, _ in model.named_parameters()}


# -- layers: PyTorch's, made without drawing weights ------------------------------------------------------------------


class Linear(nn.Linear):
    """(..., n_in) -> (..., sum(rows)): one matrix, or several side by side in one product."""

    def __init__(
        self, n_in: int, rows: tuple[int, ...], bias: bool, role: Role = "matrix", *, quiet: bool = False
    ) -> None:
        super().__init__(n_in, sum(rows), bias)
        self.declared = {"weight": Declared(role, rows, quiet), "bias": BIAS}

    def reset_parameters(self) -> None:
        pass

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.weight, self.bias)


class Embedding(nn.Embedding):
    """Numbers (...) -> rows of a table (n, width)."""

    def __init__(self, n: int, width: int, *, quiet: bool = False) -> None:
        super().__init__(n, width)
        self.declared = {"weight": Declared("embedding", (n,), quiet)}

    def reset_parameters(self) -> None:
        pass


class Norm(nn.Module):
    """(..., C) -> (..., C): RMSNorm (Zhang & Sennrich 2019), or LayerNorm (Ba et al. 2016) with an offset when `bias`.

    `norm_weight` off leaves both without parameters.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.declared = {"weight": GAIN, "bias": BIAS}
        C, weight = config.n_embd, config.norm_weight
        self.layernorm = config.norm == "layernorm"
        self.weight = nn.Parameter(torch.empty(C)) if weight else None
        self.bias = nn.Parameter(torch.empty(C)) if weight and self.layernorm and config.bias else None

    def forward(self, x: Tensor) -> Tensor:
        if self.layernorm:
            return F.layer_norm(x, x.shape[-1:], self.weight, self.bias, LAYER_EPS)
        return rms_norm(x, self.weight)


def rms_norm(x: Tensor, weight: Tensor | None = None) -> Tensor:
    """x (..., C) over its root mean square along C, times weight (C,)."""
    return F.rms_norm(x, x.shape[-1:], weight, RMS_EPS)


# -- where a token stands, and what stands before it -------------------------------------------------------------------


def rope_tables(length: int, head_dim: int, base: float) -> tuple[Tensor, Tensor]:
    """Rotary tables (Su et al. 2021), each (length, 1, head_dim): cosines, and sines signed for `rotate`.

    Dimension i of the first half turns together with dimension i of the second half, as in Llama.
    """
    frequencies = base ** -(torch.arange(0, head_dim, 2, dtype=torch.float64) / head_dim)
    angles = torch.outer(torch.arange(length, dtype=torch.float64), frequencies)  # (length, head_dim / 2)
    cos, sin = angles.cos()[:, None], angles.sin()[:, None]
    return torch.cat((cos, cos), dim=2).float(), torch.cat((-sin, sin), dim=2).float()


def rotate(x: Tensor, rope: Rope) -> Tensor:
    """Every head of x (B, T, heads, head_dim), turned by its position's angles.

    Rolling by half a head swaps its halves, so with the sign in the sines a rotation is a product and a sum of one.
    """
    cos, sin = rope
    return torch.addcmul(x * cos, x.roll(x.size(-1) // 2, dims=-1), sin)


def sinusoidal_table(length: int, width: int, scale: float) -> Tensor:
    """Fixed positions (length, width) of Vaswani et al. 2017, with root mean square `scale`.

    Scaled to the size of fresh token embeddings: at the paper's amplitude of 1 they would drown embeddings of std 0.02.
    """
    half = (width + 1) // 2
    frequencies = 10_000.0 ** -(torch.arange(half, dtype=torch.float64) * 2 / width)
    angles = torch.outer(torch.arange(length, dtype=torch.float64), frequencies)  # (length, half)
    table = torch.stack((angles.sin(), angles.cos()), dim=2).flatten(1)[:, :width]
    return (table * (2**0.5 * scale)).float()


class TokensBefore(Embedding):
    """Token ids (B, T) -> the summed embeddings (B, T, C) of the `reach` tokens before each.

    A table for every distance, oldest first: together with the token's own embedding a causal convolution over one-hot
    tokens, of width reach + 1. The last few characters say most about the next one; here the first block has them for
    the price of a lookup, where it would first have to learn an attention head for each. Row 0 of a table stands for
    nothing, before the beginning; row i + 1 for token i.
    """

    def __init__(self, reach: int, rows: int, width: int) -> None:
        super().__init__(reach * (rows + 1), width, quiet=True)
        self.reach = reach
        self._tables: Tensor
        self.register_buffer("_tables", torch.arange(reach) * (rows + 1), persistent=False)

    def forward(self, ids: Tensor, cache: KVCache | None = None) -> Tensor:
        if cache is None:
            before = F.pad(ids[:, :-1] + 1, (self.reach, 0)).unfold(1, self.reach, 1)  # (B, T, reach)
        else:
            before = cache.before(ids)
        return super().forward(before + self._tables).sum(-2)


# -- a block ---------------------------------------------------------------------------------------------------------


class Attention(nn.Module):
    """(B, T, C) -> (B, T, C); each position sees itself and what came before it (Vaswani et al. 2017).

    Several query heads may share one head of keys and values (Ainslie et al. 2023).
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.n_head, self.kv_heads, self.head_dim = config.n_head, config.kv_heads, config.head_dim
        self.qk_norm = config.qk_norm
        self.dropout = config.dropout
        self.qkv = Linear(config.n_embd, config.qkv_rows, config.bias)
        self.proj = Linear(config.n_embd, (config.n_embd,), config.bias, quiet=True)

    def heads(self, x: Tensor, rope: Rope | None) -> tuple[Tensor, Tensor, Tensor]:
        """Queries (B, n_head, T, head_dim), keys and values (B, kv_heads, T, head_dim), positioned and normalized."""
        B, T, _ = x.shape
        split = (self.n_head + self.kv_heads, self.kv_heads)
        qk, v = self.qkv(x).view(B, T, sum(split), self.head_dim).split(split, dim=2)
        if rope is not None:  # queries and keys turn together: half the kernels
            qk = rotate(qk, rope)
        if self.qk_norm:
            qk = rms_norm(qk)
        q, k = qk.split((self.n_head, self.kv_heads), dim=2)
        return q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2)

    def forward(self, x: Tensor, rope: Rope | None, cache: LayerCache | None = None) -> Tensor:
        B, T, C = x.shape
        q, k, v = self.heads(x, rope)
        if cache is not None:
            k, v = cache.extend(k, v)  # (B, kv_heads, past + T, head_dim)
        past = k.size(2) - T
        mask = causal_mask(T, past, x.device) if past and T > 1 else None
        causal = mask is None and T > 1  # a single query is the newest position: it sees all
        dropout, grouped = self.dropout if self.training else 0.0, self.kv_heads != self.n_head
        y = F.scaled_dot_product_attention(q, k, v, mask, dropout, causal, enable_gqa=grouped)
        out: Tensor = self.proj(y.transpose(1, 2).reshape(B, T, C))  # of y (B, n_head, T, head_dim)
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


def _relu2(x: Tensor) -> Tensor:
    """ReLU squared (So et al. 2021)."""
    return F.relu(x).square()


def _swiglu(x: Tensor) -> Tensor:
    """Gate and value side by side in x (..., 2 hidden) -> (..., hidden) (Shazeer 2020)."""
    gate, value = x.chunk(2, dim=-1)
    return F.silu(gate) * value


ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "gelu": F.gelu,
    "gelu_tanh": partial(F.gelu, approximate="tanh"),
    "relu": F.relu,
    "relu2": _relu2,
    "swiglu": _swiglu,
}


class MLP(nn.Module):
    """(..., C) -> (..., C) through `mlp_hidden` units; SwiGLU's gate and value are one matrix, gate first."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.fc = Linear(config.n_embd, config.fc_rows, config.bias)
        self.proj = Linear(config.mlp_hidden, (config.n_embd,), config.bias, quiet=True)
        self.activation = ACTIVATIONS[config.mlp]

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.proj(self.activation(self.fc(x)))
        return out


class Block(nn.Module):
    """Attention, then the MLP, each reading a normalized copy of the residual stream and adding to it."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.norm1 = Norm(config)
        self.attn = Attention(config)
        self.norm2 = Norm(config)
        self.mlp = MLP(config)
        self.dropout = config.dropout

    def forward(self, x: Tensor, rope: Rope | None, cache: LayerCache | None = None) -> Tensor:
        x = x + F.dropout(self.attn(self.norm1(x), rope, cache), self.dropout, self.training)
        return x + F.dropout(self.mlp(self.norm2(x)), self.dropout, self.training)


# -- the whole -------------------------------------------------------------------------------------------------------


class GPT(nn.Module):
    """Token ids (B, T) -> logits (B, T, vocab_size).

    Parameters: wte, before (embd_window), wpe (learned positions), norm_embd, blocks.N.{norm1, attn.qkv, attn.proj,
    norm2, mlp.fc, mlp.proj}, norm_f, head (absent when tied to wte). Weights are drawn from `generator` only, without
    one from seed 0; with `drawn` off they are whatever lay there, for who fills them all.
    """

    supports_cache = True
    cos: Tensor | None
    sin: Tensor | None
    positions: Tensor | None

    def __init__(
        self, config: ModelConfig, vocab_size: int, *, generator: Generator | None = None, drawn: bool = True
    ) -> None:
        super().__init__()
        self.config = config
        self.vocab_size = vocab_size
        self.recompute = False
        """Whether the backward pass computes each block once more, from what went into it (Chen et al. 2016)."""
        self.make(config, padded_vocab(config, vocab_size))
        if drawn:
            init_weights(self, config, Generator().manual_seed(0) if generator is None else generator)

    def make(self, config: ModelConfig, rows: int) -> None:
        """The parts, for a vocabulary of `rows` tokens; their order is that in which weights are drawn."""
        self.wte = Embedding(rows, config.n_embd)
        self.before = TokensBefore(config.embd_window - 1, rows, config.n_embd) if config.embd_window > 1 else None
        self.make_positions(config, rows)
        self.norm_embd = Norm(config) if config.embd_norm else None
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.n_layer))
        self.norm_f: nn.Module = Norm(config)
        self.head: nn.Module | None = None
        if not config.tie_embeddings:
            self.head = Linear(config.n_embd, (rows,), False, "head", quiet=True)

    def make_positions(self, config: ModelConfig, rows: int) -> None:
        """Learned positions are weights; the other tables follow from the settings and are never saved."""
        self.wpe = Embedding(config.block_size, config.n_embd) if config.position == "learned" else None
        tables: dict[str, Tensor | None] = dict.fromkeys(("cos", "sin", "positions"))
        if config.position == "rope":
            tables["cos"], tables["sin"] = rope_tables(config.block_size, config.head_dim, config.rope_base)
        elif config.position == "sinusoidal":
            tables["positions"] = sinusoidal_table(config.block_size, config.n_embd, embedding_std(config, rows))
        for name, table in tables.items():
            self.register_buffer(name, table, persistent=False)

    def forward(self, ids: Tensor, cache: KVCache | None = None, last: bool = False) -> Tensor:
        """Logits (B, T, vocab_size) for ids (B, T), or (B, 1, vocab_size) of the last position only.

        With `cache`, ids follow what it holds and are added to it. Raises ValueError past block_size.
        """
        x = self.hidden(ids, cache)
        return self.logits(x[:, -1:] if last else x)

    def loss(self, ids: Tensor, targets: Tensor) -> Tensor:
        """Mean cross entropy in nats of targets (B, T), as a float32 scalar; those of -100 are left out. 0 for none."""
        sums = self.loss_sums(ids, targets, logits_at_once(self.vocab_size))
        return torch.stack(sums).sum() / (targets != -100).sum().clamp(min=1)

    def loss_sums(self, ids: Tensor, targets: Tensor, tokens: int) -> list[Tensor]:
        """Sums of the cross entropy over at most `tokens` targets each: so many logits are made at once."""
        hidden, targets = self.hidden(ids).flatten(0, 1), targets.flatten()
        if len(targets) <= tokens:
            return [self.loss_sum(hidden, targets)]
        parts = zip(torch.split(hidden, tokens), torch.split(targets, tokens), strict=True)
        if not torch.is_grad_enabled():
            return [self.loss_sum(*part) for part in parts]
        return [checkpoint(self.loss_sum, *part, use_reentrant=False) for part in parts]

    def loss_sum(self, x: Tensor, targets: Tensor) -> Tensor:
        """Sum of the cross entropy of targets (N,) after what the head reads, x (N, C)."""
        return F.cross_entropy(self.logits(x).float(), targets, reduction="sum")

    def hidden(self, ids: Tensor, cache: KVCache | None = None) -> Tensor:
        """The normalized residual stream (B, T, C) that the head reads."""
        x, rope = self.embed(ids, cache)
        for i, block in enumerate(self.blocks):
            if self.recompute and torch.is_grad_enabled():
                x = checkpoint(block, x, rope, use_reentrant=False)
            else:
                x = block(x, rope, None if cache is None else cache.layers[i])
        if cache is not None:
            cache.length += ids.size(1)
        out: Tensor = self.norm_f(x)
        return out

    def embed(self, ids: Tensor, cache: KVCache | None = None) -> tuple[Tensor, Rope | None]:
        """Embedded tokens (B, T, C) and, with RoPE, the tables of their positions."""
        start, room = (0, self.config.block_size) if cache is None else (cache.length, cache.capacity)
        end = start + ids.size(1)
        if end > room:
            raise ValueError(f"{end} tokens do not fit a context of {room}")
        x = self.wte(ids)
        if self.before is not None:
            x = x + self.before(ids, cache)
        if self.wpe is not None:
            x = x + self.wpe.weight[start:end]
        elif self.positions is not None:
            x = x + self.positions[start:end]
        x = F.dropout(x, self.config.dropout, self.training)
        if self.norm_embd is not None:
            x = self.norm_embd(x)
        rope = None if self.cos is None or self.sin is None else (self.cos[start:end], self.sin[start:end])
        return x, rope

    def logits(self, x: Tensor) -> Tensor:
        """(B, T, C) -> (B, T, vocab_size)."""
        return self.capped(F.linear(x, self.wte.weight) if self.head is None else self.head(x))

    def capped(self, scores: Tensor) -> Tensor:
        """Scores (..., rows) -> logits (..., vocab_size), without rows that only pad the vocabulary."""
        logits = scores if scores.size(-1) == self.vocab_size else scores[..., : self.vocab_size]
        if self.config.softcap:
            logits = self.config.softcap * torch.tanh(logits.float() / self.config.softcap)
        return logits

    # what `engine.inspect` looks at

    def residuals(self, ids: Tensor) -> list[Tensor]:
        """The residual stream (B, T, C) as embedded and after each block, for ids (B, T)."""
        x, rope = self.embed(ids)
        stream = [x]
        for block in self.blocks:
            stream.append(block(stream[-1], rope))
        return stream

    @torch.no_grad()
    def attention_maps(self, ids: Tensor) -> list[Tensor]:
        """Each layer's attention weights (B, n_head, T, T) for ids (B, T); none where nothing attends."""
        x, rope = self.embed(ids)
        maps = []
        for block in self.blocks:
            assert isinstance(block, Block)
            maps.append(block.attn.weights(block.norm1(x), rope))
            x = block(x, rope)
        return maps


# -- initialization: from one private generator, so that making a model never moves the global one --------------------


def embedding_std(config: ModelConfig, rows: int) -> float:
    """Standard deviation of fresh token embeddings.

    zero-projection: 1, the scale of a normalized residual stream; unless tied, where the same weights are the head and
    logits would start out with a spread of sqrt(C).
    """
    if config.init == "xavier":
        return math.sqrt(2 / (rows + config.n_embd))
    return 1.0 if config.init == "zero-projection" and not config.tie_embeddings else 0.02


@torch.no_grad()
def init_weights(model: nn.Module, config: ModelConfig, generator: Generator) -> None:
    """Draw every parameter of `model` in the order of its making; gains are 1, biases 0.

    gpt2: normal, std 0.02, projections into the residual stream by 1 / sqrt(2 n_layer) less (Radford et al. 2019).
    xavier: uniform with variance 2 / (fan_in + fan_out) (Glorot & Bengio 2010); queries, keys, values each by itself.
    zero-projection: projections into the residual stream, an untied head and the tables of earlier tokens start at
    zero, so that every block starts as the identity, a token as only itself, and the first loss is log(vocab); other
    matrices uniform with variance 1 / fan_in, which keeps a normalized input's scale (modded-nanogpt's and nanochat's).
    """
    declared = roles(model)
    for name, weight in model.named_parameters():
        draw(weight, declared[name], config, generator)


def draw(weight: Tensor, declared: Declared, config: ModelConfig, generator: Generator) -> None:
    """One parameter, in place; see `init_weights`."""
    role, rows, quiet = declared
    if role == "vector":
        weight.fill_(0.0 if quiet else 1.0)
    elif config.init == "xavier":
        for part in torch.split(weight, list(rows)):
            nn.init.xavier_uniform_(part, generator=generator)
    elif config.init == "zero-projection" and quiet:
        weight.zero_()
    elif role == "embedding":
        weight.normal_(0.0, embedding_std(config, len(weight)), generator=generator)
    elif config.init == "gpt2":
        into_residual = quiet and role == "matrix"
        weight.normal_(0.0, 0.02 / math.sqrt(2 * config.n_layer) if into_residual else 0.02, generator=generator)
    else:
        bound = math.sqrt(3 / weight.size(1))
        weight.uniform_(-bound, bound, generator=generator)
