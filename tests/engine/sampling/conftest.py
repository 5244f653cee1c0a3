from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Generator

from engine.config import ModelConfig
from engine.model import build_model
from engine.model.gpt import GPT
from engine.tokenizers.char import CharTokenizer

MakeModel = Callable[..., GPT]


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> None:
    """Models this small are slower with two."""
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def tiny() -> MakeModel:
    """Makes small models in evaluation mode, sharpened so that some tokens are much likelier than others."""

    def make(vocab_size: int, sharp: float = 8.0, **changes: object) -> GPT:
        shape = {"n_layer": 2, "n_head": 2, "n_embd": 16, "block_size": 16, "tie_embeddings": False}
        model = build_model(ModelConfig.model_validate({**shape, **changes}), vocab_size, Generator().manual_seed(5))
        with torch.no_grad():
            for name, weight in model.named_parameters():
                if name == "head.weight":
                    weight.mul_(sharp)
        return model.eval()

    return make


@pytest.fixture(scope="session")
def chars() -> CharTokenizer:
    return CharTokenizer("\n !#abcdefghijklmnopqrstuvwxyz")


@pytest.fixture(scope="session")
def letters(tiny: MakeModel, chars: CharTokenizer) -> GPT:
    """A model of `chars`, its embeddings made of three tokens."""
    return tiny(chars.vocab_size, embd_window=3)
