"""The first model a newcomer trains: it must write something worth reading within a minute on two CPU cores."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from engine.config import Config

FIRST_CORPUS = "soap-notes"
# a note is some 700 characters: in pieces of words it fits the context whole, letter by letter it does not
CHANGES = {"data.tokenizer": "bpe", "data.vocab_size": 512, "train.sample_tokens": 300}


def first_config(steps: int | None = None) -> Config:
    """The default preset, reading pieces of words; `steps` instead of its own number."""
    from engine.config import DEFAULT_PRESET, load_preset

    return load_preset(DEFAULT_PRESET).replace(CHANGES | ({} if steps is None else {"train.max_steps": steps}))
