"""What the model is made of, as the papers write it: rotary positions pair by pair, a norm by its mean square."""

from __future__ import annotations

import torch
from torch import Tensor

from engine.model.gpt import ACTIVATIONS, RMS_EPS, rms_norm, rope_tables, rotate


def drawn(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(5), dtype=torch.float64)


def test_a_head_is_turned_pair_by_pair() -> None:
    x = drawn(2, 7, 3, 8)
    cos, signed = (table.double() for table in rope_tables(7, 8, 10_000.0))
    c, s, a, b = cos[..., :4], signed[..., 4:], x[..., :4], x[..., 4:]
    torch.testing.assert_close(rotate(x, (cos, signed)), torch.cat((a * c - b * s, b * c + a * s), dim=-1))
    torch.testing.assert_close(rotate(x, (cos, signed)).norm(dim=-1), x.norm(dim=-1), atol=1e-6, rtol=1e-6)


def test_a_norm_divides_by_the_root_of_the_mean_square() -> None:
    x, gain = drawn(3, 5, 8), drawn(8)
    size = (x.square().mean(-1, keepdim=True) + RMS_EPS).sqrt()
    torch.testing.assert_close(rms_norm(x), x / size)
    torch.testing.assert_close(rms_norm(x, gain), x / size * gain)


def test_a_rectifier_squared_is_nothing_below_zero() -> None:
    out = ACTIVATIONS["relu2"](torch.tensor([-2.0, 0.0, 0.5, 3.0]))
    assert out.tolist() == [0.0, 0.0, 0.25, 9.0]
