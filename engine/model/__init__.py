"""The models. Importing this room needs no torch; `build_model` and the modules that make tensors do."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Generator

    from engine.config import ModelConfig
    from engine.model.gpt import GPT


def build_model(config: ModelConfig, vocab_size: int, generator: Generator | None = None) -> GPT:
    """The model `config` describes, on the CPU in float32, drawn from `generator` only (seed 0 without one).

    Rungs of the ladder answer to the same names as GPT; `supports_cache` says whether forward takes a cache.
    Raises ConfigError for settings a rung cannot have.
    """
    if config.kind == "gpt":
        from engine.model.gpt import GPT

        return GPT(config, vocab_size, generator=generator)
    from engine.model.ladder import RUNGS

    return RUNGS[config.kind](config, vocab_size, generator=generator)
