"""8-bit weights: near the ones they are made from, one product by either way, a text that is mostly the same."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F

from engine.errors import UserError
from engine.model.gpt import GPT
from engine.plan import int8
from engine.plan.int8 import FEW, Int8Linear, quantized, to_int8
from engine.sampling.decode import for_decoding
from engine.sampling.generate import Done, generate
from engine.sampling.settings import SamplingSettings
from engine.tokenizers.char import CharTokenizer

MakeModel = Callable[..., GPT]
WIDE = {"n_layer": 2, "n_head": 2, "n_embd": 64, "block_size": 32}


def test_each_weight_is_within_a_step_of_its_rows_scale() -> None:
    weight = torch.randn(9, 40, generator=torch.Generator().manual_seed(0)) * torch.logspace(-6, 6, 9)[:, None]
    weight[4] = 0.0
    rows, scale = quantized(weight)
    assert rows.dtype == torch.int8 and int(rows.abs().max()) <= int8.LARGEST
    apart = (rows * scale.float()[:, None] - weight).abs()
    assert (apart <= 1.01 * weight.abs().amax(1, keepdim=True) / int8.LARGEST).all() and apart[4].max() == 0
    assert apart.mean(1).div(weight.abs().amax(1).clamp_min(1e-30)).max() < 0.3 / int8.LARGEST


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize(("n_in", "n_out"), [(1, 1), (3, 7), (64, 65), (65, 64), (100, 130)])
@pytest.mark.parametrize("chunk", [1, 1 << 24])
def test_few_rows_and_many_are_the_product_with_the_weights_as_they_are_held(
    n_in: int, n_out: int, bias: bool, chunk: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(int8, "CHUNK", chunk)
    g = torch.Generator().manual_seed(n_in)
    weight, offset = torch.randn(n_out, n_in, generator=g), torch.randn(n_out, generator=g) if bias else None
    layer = Int8Linear(weight, offset)
    rows, scale = quantized(weight)
    held = rows * scale.float()[:, None]
    for shape in ((n_in,), (1, 1, n_in), (FEW, n_in), (FEW + 1, n_in), (2, 9, n_in)):
        x = torch.randn(shape, generator=g)
        expected = F.linear(x.bfloat16().float(), held, offset)
        out = layer(x)
        assert out.shape == expected.shape and out.dtype == torch.float32
        torch.testing.assert_close(out, expected, atol=0.02 * n_in**0.5, rtol=0.01)


@pytest.mark.parametrize("tied", [False, True])
def test_a_model_in_8_bits_says_nearly_the_same(tied: bool, tiny: MakeModel, chars: CharTokenizer) -> None:
    def made() -> GPT:
        return for_decoding(tiny(chars.vocab_size, tie_embeddings=tied, **WIDE))

    whole, small = made(), to_int8(made())
    ids = torch.randint(chars.vocab_size, (2, 20), generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        logits, near = whole(ids), small(ids)
    assert float((near - logits).norm() / logits.norm()) < 0.02 and not torch.equal(near, logits)
    held = {type(module).__name__ for module in small.modules()}
    assert "Int8Linear" in held and "Linear" not in held
    texts = []
    for model in (whole, small):
        settings = SamplingSettings(temperature=0.0, max_tokens=60)
        (done,) = (each for each in generate(model, chars, "ab", settings) if isinstance(each, Done))
        texts.append(done.text)
    assert texts[0][:8] == texts[1][:8] and len(texts[1]) == 60


def test_weights_are_a_quarter(tiny: MakeModel) -> None:
    model = to_int8(tiny(40, **WIDE))
    layers = [module for module in model.modules() if isinstance(module, Int8Linear)]
    assert len(layers) == 2 * 4 + 1
    assert all(layer.rows.element_size() == 1 and layer.rows.size(1) == -(-layer.n_in // 64) * 64 for layer in layers)


def test_what_has_no_matrices_is_refused(tiny: MakeModel) -> None:
    with pytest.raises(UserError, match=r"kind bigram.*leave --int8 out"):
        to_int8(tiny(30, kind="bigram", position="none"))
