"""The numbers that a seed gives, in every version."""

from __future__ import annotations

import torch

from engine.sampling.draw import make_generator, uniform


def test_a_seed_gives_these_numbers() -> None:
    plain = torch.rand(1000, dtype=torch.float64, generator=torch.Generator().manual_seed(7))
    found = uniform(1000, make_generator(7))
    assert found.tolist() == [each * (1 - 2.0**-52) for each in plain.tolist()]
    assert found.tolist() != plain.tolist() and float(found.max()) < 1
