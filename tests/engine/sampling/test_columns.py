"""Layers laid out for decoding are the layers they were made from."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F

from engine.model.gpt import GPT, Linear
from engine.sampling.draw import make_generator
from engine.sampling.one_row import ColumnLinear, for_decoding

MakeModel = Callable[..., GPT]


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize(("n_in", "n_out"), [(1, 1), (1, 7), (2, 3), (3, 2), (64, 65), (65, 64)])
def test_one_row_and_many_are_the_same_product(n_in: int, n_out: int, bias: bool) -> None:
    g = make_generator(n_in)
    layer = Linear(n_in, (n_out,), bias)
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=g))
    columns = ColumnLinear(layer)
    assert torch.equal(columns.weight, layer.weight)
    for shape in ((n_in,), (1, n_in), (1, 1, n_in), (2, n_in), (2, 3, n_in)):
        x = torch.randn(shape, generator=g)
        expected = F.linear(x, layer.weight, layer.bias)
        with torch.inference_mode():
            torch.testing.assert_close(columns(x), expected, atol=1e-5, rtol=1e-5)
        learned = columns(x)  # with gradients it is an ordinary layer
        torch.testing.assert_close(learned, expected, atol=1e-5, rtol=1e-5)
        assert learned.requires_grad


def test_the_product_is_the_same_bits_for_any_number_of_threads() -> None:
    g = make_generator(0)
    layer, x = Linear(257, (130,), bias=False), torch.randn(1, 257, generator=g)
    columns = ColumnLinear(layer.requires_grad_(False))
    columns.weight.copy_(torch.randn(130, 257, generator=g))
    before = torch.get_num_threads()
    try:
        with torch.inference_mode():
            results = []
            for threads in (1, 2, 3):
                torch.set_num_threads(threads)
                results.append(columns(x))
    finally:
        torch.set_num_threads(before)
    assert all(torch.equal(result, results[0]) for result in results)


def test_only_what_gains_by_it_is_laid_out(tiny: MakeModel) -> None:
    model = tiny(30)
    names = {name: parameter.clone() for name, parameter in model.named_parameters()}
    frozen = next(name for name in names if name.endswith("qkv.weight"))
    model.get_parameter(frozen).requires_grad_(False)
    laid_out = for_decoding(model.train())
    assert laid_out is model and not model.training
    assert {name: parameter.shape for name, parameter in model.named_parameters()} == {
        name: parameter.shape for name, parameter in names.items()
    }
    assert all(torch.equal(model.get_parameter(name), value) for name, value in names.items())
    assert not model.get_parameter(frozen).requires_grad
    assert any(isinstance(module, ColumnLinear) for module in model.modules())
    for other in (tiny(30).bfloat16(), tiny(30, kind="bigram", position="none")):
        assert not any(isinstance(module, ColumnLinear) for module in for_decoding(other).modules())
