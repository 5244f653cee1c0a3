"""The models. Importing this room needs no torch; `build_model` and the modules that make tensors do."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, cast

if TYPE_CHECKING:
    from torch import Generator

    from engine.config import ModelConfig
    from engine.model.gpt import GPT

Role = Literal["embedding", "head", "matrix", "vector", "adapter"]


def build_model(config: ModelConfig, vocab_size: int, generator: Generator | None = None) -> GPT:
    """The model `config` describes, on the CPU in float32, drawn from `generator` only (seed 0 without one).

    Rungs of the ladder answer to the same names as GPT; `supports_cache` says whether forward takes a cache.
    Raises ConfigError for settings a rung cannot have.
    """
    if config.kind == "gpt":
        from engine.model.gpt import GPT

        return GPT(config, vocab_size, generator=generator)
    from engine.model.ladder import RUNGS

    return cast("GPT", RUNGS[config.kind](config, vocab_size, generator=generator))


def parameter_role(name: str, ndim: int) -> Role:
    """What an optimizer should take a parameter for, by its name in the model and its number of dimensions."""
    if name.endswith((".lora_a", ".lora_b")):
        return "adapter"
    kind = name.split(".")[-2] if "." in name else ""
    if kind in ("wte", "wpe", "before"):
        return "embedding"
    if kind == "head":
        return "head"
    return "matrix" if ndim >= 2 else "vector"


def stacked_rows(name: str, rows: int, config: ModelConfig) -> tuple[int, ...]:
    """Rows of each of the matrices that the matrix `name` of that many rows holds one under the other.

    They share a parameter only for speed: queries, keys and values; SwiGLU's gate and value.
    """
    kind, leaf = ("", *name.split("."))[-2:]
    if kind == "qkv" or leaf == "in_proj_weight":
        kv = config.kv_heads * config.head_dim
        return (rows - 2 * kv, kv, kv)
    if kind == "fc" and config.mlp == "swiglu":
        return (rows // 2, rows // 2)
    return (rows,)
