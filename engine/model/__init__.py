"""The models. Importing this room needs no torch; `build_model` and the modules that make tensors do."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Generator

    from engine.config import Config, ModelConfig
    from engine.model.gpt import GPT


def build_model(config: ModelConfig, vocab_size: int, generator: Generator | None = None, *, drawn: bool = True) -> GPT:
    """The model `config` describes, on the CPU in float32, drawn from `generator` only (seed 0 without one).

    With `drawn` off its weights are to be filled, all of them.
    Rungs of the ladder answer to the same names as GPT; `supports_cache` says whether forward takes a cache.
    Raises ConfigError for settings a rung cannot have.
    """
    if config.kind == "gpt":
        from engine.model.gpt import GPT

        return GPT(config, vocab_size, generator=generator, drawn=drawn)
    from engine.model.ladder import RUNGS

    return RUNGS[config.kind](config, vocab_size, generator=generator, drawn=drawn)


def build_for(config: Config, vocab_size: int, generator: Generator | None = None, *, drawn: bool = True) -> GPT:
    """The model of a run as it is trained: with LoRA adapters, with blocks computed twice. Raises as `build_model`."""
    model = build_model(config.model, vocab_size, generator, drawn=drawn)
    model.recompute = config.train.recompute
    if config.train.lora_r:
        from engine.model.lora import apply_lora

        apply_lora(model, config.train.lora_r, config.train.lora_alpha, generator)
    return model
