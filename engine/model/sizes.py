"""How large a model is and what a token costs, from its settings alone: no tensor is made, torch is not needed."""

from __future__ import annotations

from engine.config import ModelConfig

LOGITS_BYTES = 1 << 28
"""Most memory for the logits of a loss: more are made piece by piece, and each once more in the backward pass."""


def logits_at_once(vocab_size: int) -> int:
    """Tokens whose float32 logits are made at a time."""
    return max(1, LOGITS_BYTES // (4 * vocab_size))


def padded_vocab(config: ModelConfig, vocab_size: int) -> int:
    """Rows of the embedding: vocab_size rounded up to a multiple of `vocab_multiple`."""
    return -(-vocab_size // config.vocab_multiple) * config.vocab_multiple


def parameter_table(config: ModelConfig, vocab_size: int) -> list[tuple[str, int]]:
    """(part, parameters) of every part that has any; tied weights are counted once, under the embedding."""
    rows, C = padded_vocab(config, vocab_size), config.n_embd
    if config.kind == "bigram":
        return [("token table", rows * rows)]
    parts = [("token embedding", rows * C)]
    if config.embd_window > 1:
        parts.append(("earlier tokens' embeddings", (config.embd_window - 1) * (rows + 1) * C))
    if config.position == "learned":
        parts.append(("position embedding", config.block_size * C))
    if config.kind == "single-head":
        parts.append(("attention", 3 * _linear(C, C, config.bias)))
    elif config.kind == "multi-head":
        parts.append(("attention", 4 * _linear(C, C, config.bias)))
    elif config.kind == "blocks":
        parts.append(("attention", 4 * _linear(C, C, config.bias) * config.n_layer))
        parts.append(("mlp", _mlp(config) * config.n_layer))
    else:
        parts.append(("attention", _attention(config) * config.n_layer))
        parts.append(("mlp", _mlp(config) * config.n_layer))
        parts.append(("norms", _norm(config) * (2 * config.n_layer + 1 + config.embd_norm)))
    if not config.tie_embeddings:
        parts.append(("head", rows * C))
    return [(name, count) for name, count in parts if count]


def count_parameters(config: ModelConfig, vocab_size: int) -> int:
    """Unique weights of the whole model, position embeddings included."""
    return sum(count for _, count in parameter_table(config, vocab_size))


def multiplied_weights(config: ModelConfig, vocab_size: int) -> int:
    """Weights of matrix products, the head's with them though it be tied; embeddings are looked up."""
    parts = dict(parameter_table(config, vocab_size))
    if config.kind == "bigram":
        return 0
    return parts.get("attention", 0) + parts.get("mlp", 0) + padded_vocab(config, vocab_size) * config.n_embd


def attention_shape(config: ModelConfig) -> tuple[int, int]:
    """Layers that attend, and the heads of each."""
    if config.kind == "bigram":
        return 0, 0
    layers = 1 if config.kind in ("single-head", "multi-head") else config.n_layer
    return layers, 1 if config.kind == "single-head" else config.n_head


def flops_per_token(config: ModelConfig, vocab_size: int) -> int:
    """Floating-point operations of one training token, forward and backward, at full context.

    6 a weight that multiplies (looked-up embeddings do not) plus 12 * n_layer * n_embd * block_size for attention's two
    products (PaLM, Chowdhery et al. 2022, appendix B); like it, causal masking is not subtracted.
    """
    multiplied = multiplied_weights(config, vocab_size)
    return 6 * multiplied + 12 * attention_shape(config)[0] * config.n_embd * config.block_size


def _linear(n_in: int, n_out: int, bias: bool) -> int:
    return n_in * n_out + (n_out if bias else 0)


def _attention(config: ModelConfig) -> int:
    C = config.n_embd
    return _linear(C, sum(config.qkv_rows), config.bias) + _linear(C, C, config.bias)


def _mlp(config: ModelConfig) -> int:
    C = config.n_embd
    return _linear(C, sum(config.fc_rows), config.bias) + _linear(config.mlp_hidden, C, config.bias)


def _norm(config: ModelConfig) -> int:
    if not config.norm_weight:
        return 0
    return config.n_embd * (2 if config.norm == "layernorm" and config.bias else 1)
