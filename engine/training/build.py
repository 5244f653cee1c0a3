"""The model of a run: what its config describes, with LoRA adapters where it is fine-tuned so."""

from __future__ import annotations

from torch import Generator

from engine.config import Config
from engine.model import build_model
from engine.model.gpt import GPT
from engine.model.lora import LoRAConfig, apply_lora


def build_for(config: Config, vocab_size: int, generator: Generator | None = None) -> GPT:
    """The model as it is trained, drawn from `generator` only. Raises ConfigError for parts that do not go together."""
    model = build_model(config.model, vocab_size, generator)
    if config.train.lora_r:
        apply_lora(model, LoRAConfig(r=config.train.lora_r, alpha=config.train.lora_alpha), generator)
    return model
