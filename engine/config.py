"""One schema for every setting: presets, files, `--set key=value`, the form in the workbench, and `run.json`.

A setting's name, meaning, bounds and default are written once, here. `Config` is frozen; changes make a new one.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, ValidationInfo, field_validator, model_validator
from pydantic_core import PydanticCustomError

from engine.errors import ConfigError, what_is_wrong

_EVER = 10**12  # steps that no run takes: what is done every so many is never done
GONE = frozenset({"log_every"})
"""Settings of training that older programs had."""
MOST_PROMPTS = 700_000
"""Bytes of all prompts of a run's samples in run.json, which holds 1 MiB."""


class _Section(BaseModel):
    """Settings of one kind. Every number and every text has an upper bound: generous, but none is without one."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True, allow_inf_nan=False)

    @field_validator("*", mode="before")
    @classmethod
    def _no_number_is_true(cls, value: Any, info: ValidationInfo) -> Any:
        if isinstance(value, bool) and cls.model_fields[str(info.field_name)].annotation is not bool:
            raise PydanticCustomError("boolean", "must be a value")
        return value


class ModelConfig(_Section):
    """Shape and parts of the model. `kind` names the rung of the ladder; `gpt` is the full model."""

    kind: Literal["gpt", "bigram", "single-head", "multi-head", "blocks", "decoder"] = Field(
        "gpt", description="rung of the ladder; gpt is the full model, decoder uses torch.nn.MultiheadAttention"
    )
    n_layer: int = Field(4, ge=1, le=256, description="transformer blocks")
    n_head: int = Field(4, ge=1, le=256, description="query heads in a block")
    n_kv_head: int | None = Field(None, ge=1, le=256, description="key/value heads (grouped queries); unset: n_head")
    n_embd: int = Field(128, ge=1, le=16384, description="width of the residual stream")
    block_size: int = Field(64, ge=1, le=1_048_576, description="context length in tokens")
    dropout: float = Field(0.0, ge=0.0, lt=1.0, description="dropout probability")
    bias: bool = Field(False, description="biases in linear layers and LayerNorms")
    position: Literal["learned", "rope", "sinusoidal", "none"] = Field("rope", description="how positions are told")
    rope_base: float = Field(10_000.0, gt=1.0, le=1e12, description="base of the rotary frequencies")
    embd_window: int = Field(
        1, ge=1, le=64, description="tokens an embedding is made of: its own and those before it, a table a distance"
    )
    norm: Literal["layernorm", "rmsnorm"] = Field("rmsnorm", description="normalization")
    norm_weight: bool = Field(True, description="learned gain in the norms")
    embd_norm: bool = Field(False, description="normalize right after the embedding")
    mlp: Literal["gelu", "gelu_tanh", "relu", "relu2", "swiglu"] = Field("gelu", description="MLP non-linearity")
    mlp_width: int | None = Field(
        None, ge=1, le=262_144, description="hidden width of the MLP; unset: 4 n_embd (swiglu 8/3)"
    )
    qk_norm: bool = Field(False, description="RMS-normalize queries and keys (after RoPE)")
    softcap: float = Field(0.0, ge=0.0, le=1e6, description="logits are softcap*tanh(logits/softcap); 0 is off")
    tie_embeddings: bool = Field(True, description="output head shares the embedding's weights")
    init: Literal["gpt2", "xavier", "zero-projection"] = Field("gpt2", description="initialization of the weights")
    vocab_multiple: int = Field(
        1, ge=1, le=1024, description="pad the vocabulary to a multiple of this (speed on GPUs)"
    )

    @model_validator(mode="after")
    def _heads_fit(self) -> ModelConfig:
        unit = self.n_head * (2 if self.position == "rope" else 1)  # rope turns pairs of numbers
        near = unit * min(max(1, round(self.n_embd / unit)), 16384 // unit)
        if self.n_embd % self.n_head:
            raise ValueError(
                f"model.n_embd {self.n_embd} is not a multiple of model.n_head {self.n_head}; try n_embd {near}"
            )
        if self.n_embd % unit:
            raise ValueError(
                f"position rope needs an even head width; n_embd / n_head is {self.head_dim}; try n_embd {near}"
            )
        if self.n_kv_head is not None and self.n_head % self.n_kv_head:
            divisors = [n for n in range(1, self.n_head + 1) if self.n_head % n == 0]
            closest = min(divisors, key=lambda n: abs(n - self.kv_heads))
            raise ValueError(
                f"model.n_head {self.n_head} is not a multiple of model.n_kv_head {self.n_kv_head}; "
                f"try n_kv_head {closest}"
            )
        return self

    @property
    def head_dim(self) -> int:
        return self.n_embd // self.n_head

    @property
    def kv_heads(self) -> int:
        return self.n_kv_head or self.n_head

    @property
    def mlp_hidden(self) -> int:
        """Hidden width of the MLP; SwiGLU's default keeps the parameter count of a 4x MLP (Shazeer 2020)."""
        if self.mlp_width is not None:
            return self.mlp_width
        return 4 * self.n_embd if self.mlp != "swiglu" else 8 * ((8 * self.n_embd // 3 + 7) // 8)

    @property
    def qkv_rows(self) -> tuple[int, int, int]:
        """Rows of queries, keys and values in the matrix that makes all three."""
        return self.n_embd, self.kv_heads * self.head_dim, self.kv_heads * self.head_dim

    @property
    def fc_rows(self) -> tuple[int, ...]:
        """Rows of the matrices that lead into the MLP: SwiGLU has two, gate and value."""
        return (self.mlp_hidden,) * (2 if self.mlp == "swiglu" else 1)


class DataConfig(_Section):
    """How text becomes tokens."""

    tokenizer: Literal["char", "byte", "bpe", "word", "gpt2"] = Field("char", description="tokenizer")
    vocab_size: int = Field(1024, ge=1, le=1_000_000, description="wanted vocabulary of bpe and word tokenizers")
    val_fraction: float = Field(0.1, gt=0.0, lt=1.0, description="end of the corpus kept for validation")
    val_tokens: int | None = Field(
        None, ge=1, le=_EVER, description="tokens of it evaluated, the same ones every time; unset: all"
    )
    unknown: Literal["error", "skip", "unk"] = Field(
        "error", description="what a character outside the vocabulary does"
    )
    record_starts: bool = Field(False, description="sequences begin where records begin, not anywhere in the text")
    loss: Literal["all", "answers"] = Field(
        "all", description="what is learned and evaluated; answers: of prompts and answers those alone"
    )


class TrainConfig(_Section):
    """The optimization, its schedule and what is kept of it."""

    batch_size: int = Field(12, ge=1, le=1_048_576, description="sequences in a micro-batch")
    grad_accum: int = Field(1, ge=1, le=1_073_741_824, description="micro-batches in a step")
    max_steps: int = Field(2000, ge=1, le=100_000_000, description="optimizer steps")
    optimizer: Literal["adamw", "muon"] = Field("adamw", description="muon: for hidden matrices, AdamW for the rest")
    learning_rate: float = Field(1e-3, gt=0.0, le=10.0, description="peak learning rate of AdamW")
    min_learning_rate: float = Field(1e-4, ge=0.0, le=10.0, description="learning rate at the end of the schedule")
    muon_learning_rate: float = Field(0.02, gt=0.0, le=10.0, description="peak learning rate of Muon")
    embd_lr_scale: float = Field(1.0, gt=0.0, le=1000.0, description="embeddings' learning rate over learning_rate")
    head_lr_scale: float = Field(1.0, gt=0.0, le=1000.0, description="untied head's learning rate over learning_rate")
    schedule: Literal["cosine", "wsd", "linear", "constant"] = Field("cosine", description="learning rate over the run")
    warmup_steps: int = Field(100, ge=0, le=_EVER, description="steps of linear warm-up")
    decay_fraction: float = Field(0.2, gt=0.0, le=1.0, description="last part of the run in which wsd decays")
    weight_decay: float = Field(0.1, ge=0.0, le=10.0, description="decoupled weight decay of matrices")
    beta1: float = Field(0.9, ge=0.0, lt=1.0, description="AdamW's first moment decay")
    beta2: float = Field(0.99, ge=0.0, lt=1.0, description="AdamW's second moment decay")
    grad_clip: float = Field(1.0, ge=0.0, le=1e9, description="largest gradient norm; 0 is off")
    precision: Literal["auto", "fp32", "tf32", "bf16", "fp16"] = Field(
        "auto", description="arithmetic of the forward pass; auto: bf16 where a few steps at the start show it faster"
    )
    compile: bool = Field(False, description="torch.compile the loss before the first step; on a CPU if a trial pays")
    recompute: bool = Field(
        False, description="blocks are computed again in the backward pass: less memory, a third more time"
    )
    parallel: Literal["auto", "ddp", "fsdp"] = Field(
        "auto", description="several processes: ddp has the whole model in each, fsdp a part; auto: ddp where it fits"
    )
    eval_every: int = Field(250, ge=1, le=_EVER, description="steps between evaluations")
    eval_first: int = Field(
        0, ge=0, le=_EVER, description="one more evaluation, after this step; 0: a tenth of the run if that is sooner"
    )
    checkpoint_every: int = Field(500, ge=1, le=_EVER, description="steps between checkpoints")
    keep_last: int = Field(3, ge=1, le=_EVER, description="newest checkpoints kept; the best is always kept")
    sample_prompt: str = Field("\n", max_length=100_000, description="prompt of the sample written at each checkpoint")
    sample_prompts: tuple[str, ...] | None = Field(
        None,
        min_length=1,
        max_length=16,
        description="several prompts in place of that one, as a JSON list; a sample of each",
    )
    sample_stop: str = Field(
        "", max_length=10_000, description="text that ends a sample; empty: nothing but its length"
    )
    sample_tokens: int = Field(200, ge=0, le=1_000_000, description="tokens of a sample; 0 writes none")
    seed: int = Field(1337, ge=0, le=2**63 - 1, description="seed of weights, batches and dropout")
    early_stop: int = Field(
        0, ge=0, le=_EVER, description="evaluations without a better val loss before stopping; 0 is off"
    )
    ema: float = Field(0.0, ge=0.0, lt=1.0, description="decay of averaged weights, evaluated and sampled; 0 is off")
    lora_r: int = Field(0, ge=0, le=4096, description="rank of LoRA adapters; only they are trained; 0 trains all")
    lora_alpha: float = Field(
        16.0, gt=0.0, le=1e6, description="strength of LoRA adapters: they count lora_alpha / lora_r"
    )
    spike_rollback: float = Field(
        0.0, ge=0.0, le=1e9, description="loss over its average that rolls back to a checkpoint; 0 is off"
    )

    @model_validator(mode="before")
    @classmethod
    def _without_what_is_gone(cls, tree: Any) -> Any:
        """Runs of before have settings that mean nothing any more."""
        return {k: v for k, v in tree.items() if k not in GONE} if isinstance(tree, Mapping) else tree

    @model_validator(mode="after")
    def _bounds_fit(self) -> TrainConfig:
        if self.schedule != "constant" and self.min_learning_rate > self.learning_rate:
            low, peak = self.min_learning_rate, self.learning_rate
            raise ValueError(f"train.min_learning_rate {low:g} is above train.learning_rate {peak:g}")
        if len(json.dumps([self.sample_prompt, self.sample_prompts, self.sample_stop])) > MOST_PROMPTS:
            longest = "train.sample_prompts" if self.sample_prompts else "train.sample_prompt"
            raise ValueError(f"{longest} and train.sample_stop take over {MOST_PROMPTS:,} bytes; give shorter ones")
        return self

    @property
    def prompts(self) -> tuple[str, ...]:
        """What the samples at a checkpoint begin with: one or more."""
        return self.sample_prompts or (self.sample_prompt,)


class Config(_Section):
    """A whole run's settings."""

    model: ModelConfig = ModelConfig()
    data: DataConfig = DataConfig()
    train: TrainConfig = TrainConfig()

    @model_validator(mode="after")
    def _parts_go_together(self) -> Config:
        if self.train.recompute and self.model.kind != "gpt":
            raise ValueError(f"train.recompute is for model.kind gpt, not {self.model.kind}")
        return self

    @property
    def tokens_per_step(self) -> int:
        return self.train.batch_size * self.train.grad_accum * self.model.block_size

    def replace(self, changes: Mapping[str, Any]) -> Config:
        """A copy with `{"train.max_steps": 500, ...}` changed; values may be strings, as typed by a person.

        Raises ConfigError that names the setting, what was given and what is allowed.
        """
        tree = self.model_dump()
        for key, value in changes.items():
            section, name = split_key(key)
            tree[section][name] = parse_value(section, name, value) if isinstance(value, str) else value
        return make_config(tree)


SECTIONS: dict[str, type[_Section]] = {"model": ModelConfig, "data": DataConfig, "train": TrainConfig}


FREE_IN_A_FORK = {name for name in TrainConfig.model_fields if name not in ("optimizer", "ema", "lora_r", "lora_alpha")}
"""Settings of `train.` that a fork may change: those that need no other state than the checkpoint's."""


def split_key(key: str) -> tuple[str, str]:
    """`"train.seed"` -> `("train", "seed")`; a bare name is found in whichever section has it.

    Raises ConfigError with the closest names when there is no such setting.
    """
    section, dot, name = key.partition(".")
    if not dot:
        section, name = next((s for s, cls in SECTIONS.items() if key in cls.model_fields), ""), key
    if section in SECTIONS and name in SECTIONS[section].model_fields:
        return section, name
    close = _closest(name)
    raise ConfigError(
        f"no setting {short(key)}; " + (f"did you mean {' or '.join(close)}?" if close else "see tinytui presets nano")
    )


ELSEWHERE = {
    "lr": "learning_rate", "min_lr": "min_learning_rate", "wd": "weight_decay", "max_grad_norm": "grad_clip",
    "max_iters": "max_steps", "iters": "max_steps", "warmup_iters": "warmup_steps", "eval_interval": "eval_every",
    "gradient_accumulation_steps": "grad_accum", "dtype": "precision", "n_ctx": "block_size", "context": "block_size",
    "hidden_size": "n_embd", "d_model": "n_embd", "num_layers": "n_layer", "num_heads": "n_head",
}  # fmt: skip
"""What other programs, nanoGPT and transformers for two, call a setting."""


def _closest(name: str) -> list[str]:
    """Settings whose own names, without the section, could have been meant; none for what resembles none."""
    from difflib import get_close_matches

    known = {n: f"{s}.{n}" for s, cls in SECTIONS.items() for n in cls.model_fields}
    wanted = name[:100].lower().replace("-", "_")
    if wanted in ELSEWHERE:
        return [known[ELSEWHERE[wanted]]]
    return [known[n] for n in get_close_matches(wanted, known, n=3, cutoff=0.7)]


def short(value: object) -> str:
    """Anything as it would be typed, in some 60 characters."""
    from reprlib import Repr

    short = Repr()
    short.maxstring = short.maxother = short.maxlong = 60
    short.maxdict = short.maxlist = short.maxlevel = 2
    return short.repr(value)


def parse_value(section: str, name: str, text: str) -> Any:
    """What a person typed, as the field's type: numbers with 1e-3 and 1_000, none; checked later by `make_config`."""
    field = SECTIONS[section].model_fields[name]
    if text.strip().lower() in ("none", "unset", "") and field.default is None:
        return None
    if field.annotation is str:
        return typed(text)
    if field.annotation == tuple[str, ...] | None:
        return _texts(f"{section}.{name}", text)
    if field.annotation in (int, int | None):
        try:
            number = float(text.replace("_", "").replace(",", ""))
            return int(number) if number.is_integer() and abs(number) < 2**53 else int(text)
        except (ValueError, OverflowError):
            return text.strip()
    return text.strip()


def _texts(key: str, text: str) -> list[str]:
    """A JSON list of texts, or one text as it is."""
    if not text.lstrip().startswith("["):
        return [typed(text)]
    try:
        values = json.loads(text)
    except (ValueError, RecursionError):
        values = None
    if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
        raise ConfigError(f'{key} must be one text, or a list like ["a","b"], not {short(text)}')
    return values


def as_typed(value: Any) -> str:
    """A setting's value as `--set` takes it, on one line."""
    if value is None:
        return "none"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, list | tuple):
        return json.dumps(list(value), ensure_ascii=False)
    return str(value).replace("\n", "\\n").replace("\t", "\\t")


def typed(text: str) -> str:
    """Text that was typed on one line, where `\\n` is a line end and `\\t` a tab."""
    return text.replace("\\n", "\n").replace("\\t", "\t")


def make_config(tree: Mapping[str, Any]) -> Config:
    """A checked Config from nested mappings; raises ConfigError in one line for the first thing that is wrong."""
    try:
        return Config.model_validate(tree)
    except ValidationError as error:
        raise ConfigError(_one_line(error)) from None


def _one_line(error: ValidationError) -> str:
    first = error.errors()[0]
    if first["type"] == "value_error":  # of several settings together, in words of their own
        return first["msg"].removeprefix("Value error, ")
    if first["type"] == "extra_forbidden":
        try:
            split_key(".".join(map(str, first["loc"])))
        except ConfigError as unknown:
            return str(unknown)
    return what_is_wrong(first)
