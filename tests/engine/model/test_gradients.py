"""Where gradients are, and where none are."""

from __future__ import annotations

import pytest
import torch

from engine.config import ModelConfig
from engine.model import build_model

SHAPE = {"n_layer": 2, "n_head": 2, "n_embd": 8, "block_size": 4, "init": "xavier"}


@pytest.mark.parametrize("kind", ["gpt", "bigram", "single-head", "multi-head", "blocks", "decoder"])
def test_attention_is_looked_at_without_a_graph(kind: str) -> None:
    """A map is n_head x T x T for every layer; a graph would hold all that it was made from as well."""
    position = "none" if kind == "bigram" else "learned"
    model = build_model(
        ModelConfig.model_validate({**SHAPE, "kind": kind, "position": position}), 11, torch.Generator()
    )
    maps = model.attention_maps(torch.zeros(1, 4, dtype=torch.int64))
    assert not any(weights.requires_grad for weights in maps) and bool(maps) == (kind != "bigram")
    assert model(torch.zeros(1, 4, dtype=torch.int64)).requires_grad
