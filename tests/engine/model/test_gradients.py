"""Where gradients are, where none are, and where they may not be asked for again."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from engine.config import ModelConfig
from engine.model import build_model, kernels

SHAPE = {"n_layer": 2, "n_head": 2, "n_embd": 8, "block_size": 4, "init": "xavier"}


def drawn(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(5)).requires_grad_()


TWICE: dict[str, Callable[[], Tensor]] = {
    "linear": lambda: kernels.linear(drawn(15, 8), drawn(6, 8), drawn(6)),
    "rms norm": lambda: kernels.rms_norm(drawn(3, 8)),
    "rope": lambda: kernels.rope(drawn(2, 3, 2, 8), torch.ones(3, 1, 8), torch.ones(3, 1, 8)),
    "relu2": lambda: kernels.relu2(drawn(4, 9)),
}


@pytest.mark.parametrize("kernel", TWICE)
def test_a_second_derivative_is_refused_and_not_wrong(kernel: str) -> None:
    """The backward passes are written for one: a second one through them would be silently another number."""
    out = TWICE[kernel]()
    leaf = drawn(3)
    (first,) = torch.autograd.grad((out * leaf.sum()).square().sum(), out, create_graph=True)
    (through,) = torch.autograd.grad(out, _inputs(out), first, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        through.sum().backward()


def _inputs(out: Tensor) -> Tensor:
    """The first leaf that `out` was made from."""
    assert out.grad_fn is not None
    node = out.grad_fn
    while not hasattr(node, "variable"):
        node = next(each for each, _ in node.next_functions if each is not None)
    found: Tensor = node.variable
    return found


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
