from __future__ import annotations

import pytest
import torch

from engine.sampling.draw import draw, fresh_seed, make_generator, pick, pick_top, probabilities, uniform
from engine.sampling.rules import process
from engine.sampling.settings import SamplingSettings

DRAWS = 1_000_000


def chi_square(counts: torch.Tensor, probs: torch.Tensor) -> float:
    """Pearson's statistic over its degrees of freedom, standardized (about normal for many tokens)."""
    expected = probs[probs > 0].double() * counts.sum()
    statistic = ((counts[probs > 0] - expected) ** 2 / expected).sum()
    freedom = int((probs > 0).sum()) - 1
    return float((statistic - freedom) / (2 * freedom) ** 0.5)


@pytest.mark.parametrize(
    "settings",
    [SamplingSettings(temperature=1), SamplingSettings(temperature=0.8, top_k=40, top_p=0.95, min_p=0.01)],
)
def test_a_million_draws_follow_the_distribution(settings: SamplingSettings) -> None:
    logits = torch.randn(1, 65, generator=make_generator(3)) * 2
    mass = probabilities(process(logits, settings))
    probs = mass[0]
    summed = mass[0].cumsum(0, dtype=torch.float64)  # `pick`, with a million numbers for one row
    u = uniform(DRAWS, make_generator(4))
    ids = torch.searchsorted(summed, u * summed[-1], right=True)
    assert torch.equal(ids[:1000], pick(mass.expand(1000, -1), u[:1000]))
    counts = ids.bincount(minlength=65).double()
    assert len(counts) == 65 and counts[probs == 0].sum() == 0
    assert abs(chi_square(counts, probs)) < 4
    shifted = (counts.roll(1), probs)  # the test can fail
    assert chi_square(*shifted) > 100


def test_a_token_without_mass_is_never_drawn() -> None:
    mass = torch.tensor([[0.0, 0.0, 1e-30, 0.0, 1.0, 0.0]])
    for u in (0.0, 0.5, float(uniform(1, make_generator(0)).fill_(1 - 2**-53).mul_(1 - 2**-52))):
        assert mass[0, pick(mass, torch.tensor([u], dtype=torch.float64))] > 0


def test_the_same_seed_draws_the_same_and_rows_have_their_own_numbers() -> None:
    probs = torch.full((200, 50), 0.02)
    first, again = (draw(probs, make_generator(7)) for _ in range(2))
    assert torch.equal(first, again)
    assert len(first.unique()) > 20
    assert not torch.equal(first, draw(probs, make_generator(8)))


def test_drawing_leaves_torchs_global_generator_alone() -> None:
    before = torch.get_rng_state()
    draw(torch.ones(4, 10), make_generator(fresh_seed()))
    assert torch.equal(torch.get_rng_state(), before)


def test_the_likeliest_is_the_first_of_equals() -> None:
    assert pick_top(torch.tensor([[1.0, 5.0, 5.0], [3.0, 2.0, 1.0]])).tolist() == [1, 0]
    assert pick_top(torch.tensor([[1.0, float("nan")], [-torch.inf, -torch.inf]])).tolist() == [2, 2]
