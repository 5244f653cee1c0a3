"""What a run will need, before it starts, from its settings alone. Needs no torch: the form asks it at every key."""

from __future__ import annotations

from dataclasses import dataclass

from engine.config import Config
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
    config: Config,
    vocab_size: int,
    train_tokens: int | None = None,
    available: int | None = None,
    gpu: bool = False,
) -> Forecast:
    """The forecast of a run on a corpus of `train_tokens`, on a GPU or CPU with `available` bytes of memory."""
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
        activations=activation_estimate(config, vocab_size, gpu),
        tokens_per_step=config.tokens_per_step,
        total_tokens=total,
        flops_per_step=flops_per_token(model, vocab_size) * config.tokens_per_step,
        epochs=total / train_tokens if train_tokens else None,
        available=available,
    )


def activation_estimate(config: Config, vocab_size: int, gpu: bool = False) -> int:
    """Bytes kept for the backward pass of one micro-batch: what each operation of a block saves, added up.

    The residual stream and the rotary parts are fp32; what feeds a matrix product has the precision of the forward
    pass. In fp32 on a CPU the gradients written by hand (engine/model/kernels.py) keep less.
    """
    model, train = config.model, config.train
    half = 2 if train.precision in ("bf16", "fp16") else 4
    by_hand = half == 4 and not gpu
    tokens = train.batch_size * model.block_size
    if model.kind == "bigram":
        return tokens * vocab_size * 8
    C, T = model.n_embd, model.block_size
    rotated = (model.n_head + model.kv_heads) * model.head_dim
    slim_norm = by_hand and model.norm == "rmsnorm" and not model.norm_weight
    norms = 0 if slim_norm else 2 * 4 * C  # what both norms read
    products = half * 3 * C  # what qkv, proj and fc read
    if model.dropout and not gpu:  # PyTorch's CPU attention has no dropout: it builds the matrix, three times
        attention = 4 * (rotated + model.kv_heads * model.head_dim) + 3 * 4 * model.n_head * T
    else:
        keys = half * rotated if model.position == "rope" or model.qk_norm else 0
        turned = 4 * rotated if model.qk_norm and not by_hand else 0
        attention = half * (rotated + model.kv_heads * model.head_dim) + keys + turned
    widths = {"gelu": 2, "gelu_tanh": 2, "relu": 1, "relu2": 2, "swiglu": 4}[model.mlp]
    masks = 2 * C * (1 if gpu else 4) if model.dropout else 0
    block = norms + products + attention + half * widths * model.mlp_hidden + masks
    ends = 3 * 4 * C + (2 if model.softcap else 1) * 4 * vocab_size
    casts = half * count_parameters(model, vocab_size) if half == 2 else 0
    return tokens * (model.n_layer * block + ends) + casts


def available_memory() -> tuple[int | None, bool]:
    """(bytes free, whether they are a GPU's): of the first GPU when there is one, else of main memory."""
    from engine.telemetry import Telemetry

    telemetry = Telemetry()
    sample = telemetry.sample()
    telemetry.close()
    for device in sample.devices:
        if device.memory_total is not None and device.memory_used is not None:
            return device.memory_total - device.memory_used, True
    return sample.memory_available, False
