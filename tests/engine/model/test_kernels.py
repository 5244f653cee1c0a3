"""The functions written by hand against PyTorch's own, values and gradients."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from engine.model import kernels
from engine.model.gpt import rope_tables

Inputs = tuple[Tensor, ...]


def drawn(*shapes: tuple[int, ...]) -> Inputs:
    generator = torch.Generator().manual_seed(5)
    return tuple(torch.randn(shape, generator=generator) for shape in shapes)


def half_turned(x: Tensor) -> Tensor:
    """Rotary positions as the paper writes them, pair by pair."""
    cos, signed = rope_tables(x.size(1), x.size(3), 10_000.0)
    half = x.size(3) // 2
    c, s = cos[:, None, :half], signed[:, None, half:]
    a, b = x[..., :half], x[..., half:]
    return torch.cat((a * c - b * s, b * c + a * s), dim=-1)


def turned(x: Tensor) -> Tensor:
    cos, sin = rope_tables(x.size(1), x.size(3), 10_000.0)
    return kernels.rope(x, cos[:, None], sin[:, None])


CASES: dict[str, tuple[Callable[..., Tensor], Callable[..., Tensor], Inputs]] = {
    "linear": (kernels.linear, F.linear, drawn((3, 5, 8), (6, 8))),
    "linear, wide": (kernels.linear, F.linear, drawn((3, 5, 6), (20, 6))),
    "linear, bias": (kernels.linear, F.linear, drawn((15, 8), (6, 8), (6,))),
    "linear, few rows": (kernels.linear, F.linear, drawn((1, 2, 8), (6, 8), (6,))),
    "rms norm": (kernels.rms_norm, lambda x: F.rms_norm(x, (8,), eps=1e-6), drawn((3, 5, 8))),
    "rms norm, gain": (kernels.rms_norm, lambda x, w: F.rms_norm(x, (8,), w, eps=1e-6), drawn((3, 5, 8), (8,))),
    "rope": (turned, half_turned, drawn((2, 7, 3, 8))),
    "relu2": (kernels.relu2, lambda x: F.relu(x).square(), drawn((4, 9))),
}


@pytest.mark.parametrize("case", CASES)
def test_same_values_and_gradients_as_pytorch(case: str) -> None:
    ours, theirs, inputs = CASES[case]
    results = []
    for function in (ours, theirs):
        leaves = [x.clone().requires_grad_() for x in inputs]
        out = function(*leaves)
        out.backward(drawn(tuple(out.shape))[0])
        results.append((out.detach(), *(leaf.grad for leaf in leaves)))
    for mine, other in zip(*results, strict=True):
        torch.testing.assert_close(mine, other, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("case", CASES)
def test_other_dtypes_and_autocast_take_pytorchs_way(case: str) -> None:
    ours, theirs, inputs = CASES[case]
    doubles = [x.double() for x in inputs]
    torch.testing.assert_close(ours(*doubles), theirs(*doubles), check_dtype=False, atol=1e-6, rtol=1e-6)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        torch.testing.assert_close(ours(*inputs), theirs(*inputs), atol=3e-2, rtol=3e-2)


@pytest.mark.parametrize("case", CASES)
def test_without_gradients_the_values_are_the_same(case: str) -> None:
    ours, theirs, inputs = CASES[case]
    with torch.inference_mode():
        torch.testing.assert_close(ours(*inputs), theirs(*inputs), atol=1e-5, rtol=1e-5)


def test_frozen_weights_get_no_gradient() -> None:
    x, weight = drawn((3, 5, 8), (6, 8))
    x.requires_grad_()
    kernels.linear(x, weight).sum().backward()
    torch.testing.assert_close(x.grad, weight.sum(0).expand(3, 5, 8))
    assert weight.grad is None
