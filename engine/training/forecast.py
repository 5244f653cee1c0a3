"""What a run will need, before it starts, from its settings alone. Needs no torch: the form asks it at every key."""

from __future__ import annotations

import os
from dataclasses import dataclass

from engine.config import Config, ModelConfig
from engine.model.count import count_parameters, flops_per_token, parameter_table


@dataclass(frozen=True)
class Forecast:
    """Memory in bytes, floating-point operations, and how often the corpus is read."""

    params: int
    weights: int
    gradients: int
    optimizer: int
    activations: int
    tokens_per_step: int
    total_tokens: int
    flops_per_step: int
    epochs: float | None
    available: int | None

    @property
    def memory(self) -> int:
        """Bytes that training holds at the end of the forward pass."""
        return self.weights + self.gradients + self.optimizer + self.activations

    @property
    def fits(self) -> bool | None:
        """Whether `memory` fits into what is there, with a tenth to spare; None when that is not known."""
        return None if self.available is None else self.memory < 0.9 * self.available


def forecast(
    config: Config, vocab_size: int, train_tokens: int | None = None, available: int | None = None
) -> Forecast:
    """The forecast of a run on a corpus of `train_tokens`, with `available` bytes of memory."""
    model, train = config.model, config.train
    params = count_parameters(model, vocab_size)
    parts = dict(parameter_table(model, vocab_size))
    matrices = parts.get("attention", 0) + parts.get("mlp", 0) if train.optimizer == "muon" else 0
    total = config.tokens_per_step * train.max_steps
    return Forecast(
        params=params,
        weights=4 * params * (2 if train.ema else 1),
        gradients=4 * params,
        optimizer=4 * matrices + 8 * (params - matrices),
        activations=activation_estimate(config, vocab_size),
        tokens_per_step=config.tokens_per_step,
        total_tokens=total,
        flops_per_step=flops_per_token(model, vocab_size) * config.tokens_per_step,
        epochs=total / train_tokens if train_tokens else None,
        available=available,
    )


def activation_estimate(config: Config, vocab_size: int) -> int:
    """Bytes kept for the backward pass of one micro-batch: what each operation of a block saves, added up.

    The residual stream, the inputs of the norms and rotary parts are fp32; what feeds a matrix product has the
    precision of the forward pass. Attention's own matrix is never kept (flash attention), except with dropout on a
    CPU.
    """
    model, train = config.model, config.train
    half = 2 if train.precision in ("bf16", "fp16") else 4
    tokens = train.batch_size * model.block_size
    C, hidden = model.n_embd, model.mlp_hidden
    if model.kind == "bigram":
        return tokens * vocab_size * 8
    rotated = (model.n_head + model.kv_heads) * model.head_dim
    qkv = rotated + model.kv_heads * model.head_dim
    streams = 2 * 4 * C  # what both norms read
    products = half * (3 * C + qkv)  # what qkv, proj and fc read, and the values' storage
    turned = 4 * rotated if model.qk_norm else 0
    keys = half * rotated if model.position == "rope" or model.qk_norm else 0
    widths = {"gelu": 2, "gelu_tanh": 2, "relu": 1, "relu2": 2, "swiglu": 4}[model.mlp]
    block = streams + products + turned + keys + half * widths * hidden
    if model.dropout:
        block += 2 * 4 * C + _attention_matrix(model)
    ends = 3 * 4 * C + (2 if model.softcap else 1) * 4 * vocab_size
    casts = half * count_parameters(model, vocab_size) if half == 2 else 0
    return tokens * (model.n_layer * block + ends) + casts


def _attention_matrix(model: ModelConfig) -> int:
    """Bytes a token where dropout makes PyTorch build the whole attention matrix (its CPU kernel has no dropout)."""
    return model.n_head * model.block_size * 4 * 5 + 3 * 4 * model.n_embd


def available_memory() -> int | None:
    """Bytes free on this machine: of the first GPU when there is one, else of main memory."""
    from engine.telemetry import Telemetry

    sample = Telemetry().sample()
    free = [gpu.memory_total - gpu.memory_used for gpu in getattr(sample, "gpus", ()) if gpu.memory_total]
    if free:
        return int(free[0])
    try:
        return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (ValueError, OSError):
        return None
