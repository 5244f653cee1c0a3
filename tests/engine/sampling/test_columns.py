"""Layers laid out for decoding are the layers they were made from."""

from __future__ import annotations

from collections.abc import Callable

import torch

from engine.model.gpt import GPT, Linear
from engine.sampling.decode import for_decoding

MakeModel = Callable[..., GPT]


def laid_out(model: GPT) -> list[bool]:
    """Of each matrix, whether a column of it lies together in memory."""
    layers = [module for module in model.modules() if isinstance(module, Linear)]
    return [layer.weight.t().is_contiguous() for layer in layers]


def test_the_product_is_the_same_bits_for_any_number_of_threads(tiny: MakeModel) -> None:
    model = for_decoding(tiny(257, n_embd=132))
    layers = [module for module in model.modules() if isinstance(module, Linear)]
    rows = [torch.randn(1, 1, layer.in_features, generator=torch.Generator().manual_seed(0)) for layer in layers]
    before = torch.get_num_threads()
    try:
        results = []
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            with torch.inference_mode():
                results.append(torch.cat([layer(x).flatten() for layer, x in zip(layers, rows, strict=True)]))
    finally:
        torch.set_num_threads(before)
    assert all(torch.equal(result, results[0]) for result in results)


def test_only_what_gains_by_it_is_laid_out(tiny: MakeModel) -> None:
    model = tiny(30)
    names = {name: parameter.clone() for name, parameter in model.named_parameters()}
    frozen = next(name for name in names if name.endswith("qkv.weight"))
    model.get_parameter(frozen).requires_grad_(False)
    decoding = for_decoding(model.train())
    assert decoding is model and not model.training and all(laid_out(model))
    assert all(torch.equal(model.get_parameter(name), value) for name, value in names.items())
    assert not model.get_parameter(frozen).requires_grad
    for other in (tiny(30).bfloat16(), tiny(30, kind="single-head", position="learned", n_head=1)):
        assert not any(laid_out(for_decoding(other)))


def test_a_model_laid_out_says_the_same(tiny: MakeModel) -> None:
    ids = torch.randint(30, (2, 7), generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        torch.testing.assert_close(for_decoding(tiny(30))(ids), tiny(30)(ids), atol=1e-5, rtol=1e-5)
