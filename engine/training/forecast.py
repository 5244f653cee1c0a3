"""What a run will need, before it starts: from its settings alone, and its time from a measured pace.

Needs no torch: the form asks it at every key.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

from engine.config import Config, DataConfig, TrainConfig
from engine.errors import ConfigError
from engine.model.count import GPT2_VOCAB, count_parameters, flops_per_token, parameter_table
from engine.training.pace import Pace
from engine.training.schedule import first_evaluation

BEYOND = 2.0
"""Times the whole memory of a machine that no run can be squeezed into, however rough the estimate."""


@dataclass(frozen=True)
class Forecast:
    """Memory in bytes, floating-point operations, how often the corpus is read, and seconds where `pace` is known.

    `evaluations` and `samples` count what the whole run makes: every evaluation is taken for the best so far, which
    writes a checkpoint and a sample, so `samples` is the most there can be.
    """

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
    max_steps: int
    evaluations: int
    samples: int
    sample_tokens: int
    val_tokens: int | None
    pace: Pace | None

    @property
    def memory(self) -> int:
        """Bytes that training holds at the end of the forward pass."""
        return self.weights + self.gradients + self.optimizer + self.activations

    @property
    def fits(self) -> bool | None:
        """Whether `memory` fits into what is there, with a tenth to spare; None when that is not known."""
        return None if self.available is None else self.memory < 0.9 * self.available

    @property
    def train_seconds(self) -> float | None:
        """Time of all steps; None before the pace is known, as with the other times."""
        return None if self.pace is None else self.max_steps * self.pace.step_seconds

    @property
    def eval_seconds(self) -> float | None:
        """Time of all evaluations; None also when the length of the validation split is not known."""
        if self.pace is None or self.val_tokens is None:
            return None
        return self.evaluations * self.val_tokens * self.pace.eval_token_seconds

    @property
    def sample_seconds(self) -> float | None:
        """Time of the samples at the checkpoints."""
        return None if self.pace is None else self.samples * self.sample_tokens * self.pace.sample_token_seconds

    @property
    def run_seconds(self) -> float | None:
        """Time of the whole run: steps, samples, and the evaluations where their time is known."""
        if self.train_seconds is None:
            return None
        return self.train_seconds + (self.eval_seconds or 0.0) + (self.sample_seconds or 0.0)

    def to_dict(self) -> dict[str, Any]:
        """Everything, for JSON."""
        told = ("memory", "fits", "train_seconds", "eval_seconds", "sample_seconds", "run_seconds")
        return asdict(self) | {name: getattr(self, name) for name in told}


def forecast(
    config: Config,
    vocab_size: int,
    train_tokens: int | None = None,
    available: int | None = None,
    gpu: bool = False,
    *,
    val_tokens: int | None = None,
    pace: Pace | None = None,
) -> Forecast:
    """The forecast of a run on a corpus of so many tokens, on a GPU or CPU with `available` bytes of memory."""
    model, train = config.model, config.train
    params = count_parameters(model, vocab_size)
    parts = dict(parameter_table(model, vocab_size))
    matrices = parts.get("attention", 0) + parts.get("mlp", 0) if train.optimizer == "muon" else 0
    total = config.tokens_per_step * train.max_steps
    evaluations, samples = occasions(train)
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
        max_steps=train.max_steps,
        evaluations=evaluations,
        samples=samples,
        sample_tokens=train.sample_tokens,
        val_tokens=val_tokens,
        pace=pace,
    )


def occasions(train: TrainConfig) -> tuple[int, int]:
    """(evaluations, samples) of a run to its last step; samples come with every checkpoint and evaluation."""
    before = train.max_steps - 1  # the last step has an evaluation and a sample whatever its number
    evaluations = before // train.eval_every + 1
    both = math.lcm(train.eval_every, train.checkpoint_every)
    samples = before // train.eval_every + before // train.checkpoint_every - before // both + 1
    first = first_evaluation(train)
    if first <= before and first % train.eval_every:
        evaluations += 1
        samples += first % train.checkpoint_every != 0
    return evaluations, samples * len(train.prompts) if train.sample_tokens else 0


def expected_tokens(size: int, data: DataConfig) -> tuple[int, int]:
    """Training and validation tokens of a text of `size` bytes before it is tokenized.

    Exact for bytes, near for characters; about 3.3 bytes a BPE token.
    """
    each = {"char": 1.0, "byte": 1.0, "bpe": 3.3, "gpt2": 3.9, "word": 4.5}[data.tokenizer]
    val = size * data.val_fraction
    return int((size - val) / each), int(val / each)


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


def least_vocab(data: DataConfig) -> int:
    """The fewest tokens a vocabulary of that kind has, whatever the corpus."""
    return {"byte": 256, "gpt2": GPT2_VOCAB, "bpe": 256, "word": 256}.get(data.tokenizer, 1)


def check_memory(config: Config, vocab_size: int, device: str = "auto") -> None:
    """Raises ConfigError, before anything is allocated, for a run far larger than the whole memory of `device`.

    On a GPU a micro-batch that does not fit is parted down to single sequences, so there one of them counts.
    """
    total, gpu = whole_memory(device)
    need = forecast(config, vocab_size, gpu=gpu)
    activations = need.activations // config.train.batch_size if gpu else need.activations
    model = need.memory - need.activations
    if total is None or model + activations <= BEYOND * total:
        return
    advice = "train.batch_size (and raise train.grad_accum) or model.block_size"
    if model > BEYOND * total:
        advice = "model.n_embd, model.n_layer or the vocabulary"
    raise ConfigError(
        f"this does not fit: a step needs about {_gib(model + activations)} of memory ({_gib(model)} for the model, "
        f"{_gib(activations)} for a micro-batch), {'the GPU' if gpu else 'this machine'} has {_gib(total)}; "
        f"lower {advice}"
    )


def whole_memory(device: str = "auto") -> tuple[int | None, bool]:
    """(bytes of memory there are, whether they are a GPU's) for `device`; for `auto` the larger of both."""
    from engine.telemetry import Telemetry

    telemetry = Telemetry()
    sample = telemetry.sample()
    telemetry.close()
    gpus = {each.index: each.memory_total for each in sample.devices if each.memory_total is not None}
    if device.startswith("cuda"):
        number = device.partition(":")[2] or "0"
        return gpus.get(int(number)) if number.isdecimal() else None, True
    largest = max(gpus.values(), default=0) if device == "auto" else 0
    return max(sample.memory_total, largest), largest > 0


def _gib(size: int) -> str:
    return f"{size / 2**30:,.1f} GiB"


def available_memory() -> tuple[int | None, bool]:
    """(bytes free, whether they are a GPU's): of the first GPU when there is one, else of main memory."""
    return available_by_device()["auto"]


def available_by_device() -> dict[str, tuple[int | None, bool]]:
    """What is free, as `available_memory` says it, by the names that a device can have: auto, cpu, cuda:0, …"""
    from engine.telemetry import Telemetry

    telemetry = Telemetry()
    sample = telemetry.sample()
    telemetry.close()
    main = sample.memory_available, False
    gpus = {
        f"cuda:{each.index}": (each.memory_total - each.memory_used, True)
        for each in sample.devices
        if each.memory_total is not None and each.memory_used is not None
    }
    return {"auto": next(iter(gpus.values()), main), "cpu": main, **gpus}
