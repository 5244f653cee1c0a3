from __future__ import annotations

import pytest
import torch

from engine.errors import UserError
from engine.sampling.rules import (
    BELOW_ONE,
    RANDOM_BLOCK,
    Dice,
    check_drawn,
    fresh_seed,
    pick,
    pick_top,
    probabilities,
    process,
    sample,
    uniform,
)
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
    logits = torch.randn(1, 65, generator=torch.Generator().manual_seed(3)) * 2
    mass = probabilities(process(logits, settings))
    probs = mass[0]
    summed = mass[0].cumsum(0, dtype=torch.float64)  # `pick`, with a million numbers for one row
    u = uniform(DRAWS, torch.Generator().manual_seed(4))
    ids = torch.searchsorted(summed, u * summed[-1], right=True)
    assert torch.equal(ids[:1000], pick(mass.expand(1000, -1), u[:1000]))
    counts = ids.bincount(minlength=65).double()
    assert len(counts) == 65 and counts[probs == 0].sum() == 0
    assert abs(chi_square(counts, probs)) < 4
    shifted = (counts.roll(1), probs)  # the test can fail
    assert chi_square(*shifted) > 100


def test_a_token_without_mass_is_never_drawn() -> None:
    mass = torch.tensor([[0.0, 0.0, 1e-30, 0.0, 1.0, 0.0]])
    for u in (0.0, 0.5, float(uniform(1, torch.Generator().manual_seed(0)).fill_(1 - 2**-53).mul_(1 - 2**-52))):
        assert mass[0, pick(mass, torch.tensor([u], dtype=torch.float64))] > 0


def test_the_same_seed_draws_the_same_and_rows_have_their_own_numbers() -> None:
    probs = torch.full((200, 50), 0.02)
    first, again, other = (pick(probs, uniform(200, torch.Generator().manual_seed(seed))) for seed in (7, 7, 8))
    assert torch.equal(first, again)
    assert len(first.unique()) > 20
    assert not torch.equal(first, other)


def test_drawing_leaves_torchs_global_generator_alone() -> None:
    before = torch.get_rng_state()
    sample(torch.ones(4, 10), SamplingSettings(), Dice([fresh_seed()] * 4, torch.device("cpu")), torch.ones(4, 1))
    assert torch.equal(torch.get_rng_state(), before)


def test_the_likeliest_is_the_first_of_equals() -> None:
    assert pick_top(torch.tensor([[1.0, 5.0, 5.0], [3.0, 2.0, 1.0]])).tolist() == [1, 0]
    assert pick_top(torch.tensor([[1.0, float("nan")], [-torch.inf, -torch.inf]])).tolist() == [2, 2]


@pytest.mark.parametrize("vocab", [2, 65, 1024, 4097, 50_257])
@pytest.mark.parametrize("kind", [torch.float32, torch.bfloat16])
def test_among_many_equals_greedy_takes_the_first(vocab: int, kind: torch.dtype) -> None:
    """However the device searches: all equal, a third of them, two far apart, in rows and in columns."""
    g = torch.Generator().manual_seed(vocab)
    many = torch.randint(3, (5, vocab), generator=g)
    far = torch.zeros(5, vocab)
    far[:, vocab // 2] = far[:, -1] = 1
    for logits in (many, torch.zeros(5, vocab), far, torch.randint(3, (vocab, 5), generator=g).t()):
        logits = logits.to(kind)
        first = [int((row == row.max()).nonzero()[0]) for row in logits]
        assert pick_top(logits).tolist() == first
        kept = process(logits, SamplingSettings(temperature=0)) > -torch.inf
        assert kept.nonzero().tolist() == [[row, token] for row, token in enumerate(first)]
        settings = SamplingSettings(temperature=0, repetition_penalty=1.5)
        assert sample(logits.float(), settings, Dice([0] * 5, logits.device), many[:, :0].long()).tolist() == first


def test_a_token_owns_its_part_of_the_distribution_function() -> None:
    mass = torch.tensor([[1.0, 0.0, 2.0, 1.0]])
    for u, token in ((0.0, 0), (0.2499, 0), (0.25, 2), (0.7499, 2), (0.75, 3), (BELOW_ONE, 3)):
        assert pick(mass, torch.tensor([u], dtype=torch.float64)).tolist() == [token]
    rows = torch.tensor([[1.0, 1.0], [3.0, 1.0], [0.0, 5.0]])
    assert pick(rows, torch.full((3,), 0.5, dtype=torch.float64)).tolist() == [1, 0, 1]


def test_random_numbers_are_those_of_the_seed_and_below_one() -> None:
    n = 3 * RANDOM_BLOCK + 1
    dice = Dice([7, 8], torch.device("cpu"))
    thrown = torch.stack([dice.throw() for _ in range(n)], 1)
    for row, seed in zip(thrown, (7, 8), strict=True):
        assert torch.equal(row, uniform(n, torch.Generator().manual_seed(seed)))
    plain = torch.rand(n, dtype=torch.float64, generator=torch.Generator().manual_seed(7))
    assert torch.allclose(thrown[0], plain, rtol=1e-12) and (thrown < 1).all() and (thrown >= 0).all()
    assert 1.0 * BELOW_ONE < 1 and 1 - BELOW_ONE < 1e-12


def test_fresh_seeds_can_be_typed_again_and_are_fresh() -> None:
    seeds = {fresh_seed() for _ in range(100)}
    assert len(seeds) > 95 and all(0 <= seed < 2**31 for seed in seeds)
    assert max(seeds) > 2**30 > min(seeds)


def test_nothing_to_draw_from_is_one_past_the_last_token() -> None:
    bad = torch.tensor([[float("nan"), 1.0, 1.0], [0.0, 0.0, 0.0]])
    assert pick(bad[:1], torch.tensor([0.5], dtype=torch.float64)).tolist() == [3]
    check_drawn(2, 3)
    for token in (3, 4):
        with pytest.raises(UserError, match="not a number"):
            check_drawn(token, 3)


def test_a_seed_gives_these_numbers_in_every_version() -> None:
    plain = torch.rand(1000, dtype=torch.float64, generator=torch.Generator().manual_seed(7))
    found = uniform(1000, torch.Generator().manual_seed(7))
    assert found.tolist() == [each * (1 - 2.0**-52) for each in plain.tolist()]
    assert found.tolist() != plain.tolist() and float(found.max()) < 1
