from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from engine.errors import UserError
from engine.sampling import rules
from engine.sampling.rules import check_drawn, pick, probabilities, process
from engine.sampling.settings import SamplingSettings
from tests.later import Later

transformers = Later("transformers")

INF = math.inf
OFF = SamplingSettings(temperature=1)


def rows(*values: float) -> Tensor:
    return torch.tensor([values])


def kept(logits: Tensor) -> list[int]:
    return (logits[0] > -INF).nonzero()[:, 0].tolist()


def reference(s: SamplingSettings) -> Any:
    """transformers' processors for these settings, in our order."""
    return transformers.LogitsProcessorList(
        [
            transformers.RepetitionPenaltyLogitsProcessor(s.repetition_penalty),
            transformers.TemperatureLogitsWarper(s.temperature),
            transformers.TopKLogitsWarper(s.top_k),
            transformers.TopPLogitsWarper(s.top_p),
            transformers.MinPLogitsWarper(s.min_p),
        ]
    )


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("vocab", [65, 1500])
def test_ten_thousand_random_cases_equal_transformers(vocab: int, ties: bool) -> None:
    g = torch.Generator().manual_seed(vocab)

    def number(low: float, high: float) -> float:
        return low + (high - low) * torch.rand(1, generator=g).item()

    for _ in range(100):
        logits = torch.randn(25, vocab, generator=g) * number(0.1, 8)
        if ties:
            logits = (logits * 2).round() / 2
        ids = torch.randint(vocab, (25, 12), generator=g)
        s = SamplingSettings(
            temperature=number(0.05, 3),
            top_k=int(number(1, vocab * 1.2)) if number(0, 1) < 0.5 else int(number(1, 60)),
            top_p=number(0.01, 1),
            min_p=number(0, 0.3),
            repetition_penalty=number(0.7, 2),
        )
        theirs = reference(s)(ids, logits)
        ours = process(logits, s, ids)
        probs, expected = probabilities(ours), theirs.softmax(-1)
        if ties:  # which of equals top-p keeps is chance in transformers, how many is not
            probs, expected = probs.sort(-1).values, expected.sort(-1).values
        assert torch.equal(probs > 0, expected > 0), s
        assert torch.allclose(probs, expected, atol=1e-6), s


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (lambda x, ids: rules.apply_repetition_penalty(x, ids, 1.3), ("RepetitionPenaltyLogitsProcessor", 1.3)),
        (lambda x, ids: rules.keep_top_k(x, 7), ("TopKLogitsWarper", 7)),
        (lambda x, ids: rules.keep_top_p(x, 0.6), ("TopPLogitsWarper", 0.6)),
        (lambda x, ids: rules.keep_min_p(x, 0.2), ("MinPLogitsWarper", 0.2)),
    ],
)
def test_each_rule_alone_equals_transformers(ours, theirs) -> None:  # type: ignore[no-untyped-def]
    name, value = theirs
    g = torch.Generator().manual_seed(1)
    logits, ids = torch.randn(500, 65, generator=g) * 3, torch.randint(65, (500, 20), generator=g)
    assert torch.equal(ours(logits, ids), getattr(transformers, name)(value)(ids, logits.clone()))


# in steps that no rule's rounding makes equal
LOGITS = st.lists(st.integers(-2000, 2000), min_size=2, max_size=40).map(lambda steps: torch.tensor([steps]) / 64)


@given(LOGITS, st.floats(0.001, 0.999))
def test_top_p_keeps_the_fewest_tokens_that_reach_p(logits: Tensor, p: float) -> None:
    probs = logits.double().softmax(-1)[0]
    left = probs[kept(rules.keep_top_p(logits, p))]
    assert left.sum() >= p - 1e-6
    assert left.sum() - left.min() <= p + 1e-6  # without the least of them it would not


@given(LOGITS, st.integers(0, 50))
def test_top_k_keeps_k_and_what_is_tied_with_the_kth(logits: Tensor, k: int) -> None:
    ordered = logits[0].sort(descending=True).values
    expected = len(ordered) if k == 0 or k >= len(ordered) else int((ordered >= ordered[k - 1]).sum())
    assert len(kept(rules.keep_top_k(logits, k))) == expected


@given(
    LOGITS,
    st.floats(0, 5),
    st.integers(0, 50),
    st.floats(0, 1),
    st.floats(0, 1),
    st.sampled_from([0.5, 1.0, 2.0]),
    st.lists(st.integers(0, 1), max_size=4),
)
@settings(max_examples=200)
def test_rules_only_cut_and_always_leave_the_likeliest(
    logits: Tensor, t: float, k: int, p: float, min_p: float, penalty: float, seen: list[int]
) -> None:
    s = SamplingSettings(temperature=t, top_k=k, top_p=p, min_p=min_p, repetition_penalty=penalty)
    ids = torch.tensor([seen], dtype=torch.int64)
    out = process(logits, s, ids)
    penalized = rules.apply_repetition_penalty(logits, ids, penalty)[0]
    assert not out.isnan().any()
    left = kept(out)
    assert penalized[left].max() == penalized.max()
    if t > 0:  # likelier than something kept: kept as well
        assert set((penalized > penalized[left].min()).nonzero()[:, 0].tolist()) <= set(left)


def test_rules_that_are_off_leave_the_logits_as_they_are() -> None:
    logits = torch.randn(3, 65)
    assert process(logits, OFF, torch.zeros(3, 4, dtype=torch.int64)) is logits
    for s in (OFF.replace(top_k=65), OFF.replace(top_k=1000)):
        assert torch.equal(process(logits, s), logits)


def test_order_is_penalty_temperature_top_k_top_p_min_p() -> None:
    # top-p sees what temperature made of the logits: flat at 10, so all four of top-k are needed
    logits = rows(8.0, 4.0, 3.0, 2.0, 1.0)
    assert kept(process(logits, SamplingSettings(temperature=10, top_k=4, top_p=0.9))) == [0, 1, 2, 3]
    assert kept(process(logits, SamplingSettings(temperature=1, top_k=4, top_p=0.9))) == [0]
    # top-k counts after the penalty
    s = SamplingSettings(temperature=1, top_k=1, repetition_penalty=4)
    assert kept(process(logits, s, torch.tensor([[0]]))) == [1]


def test_the_ends_of_every_range_are_defined() -> None:
    logits = rows(1.0, 3.0, 2.0, 3.0)
    assert kept(process(logits, SamplingSettings(temperature=0))) == [1]  # the first of equals
    assert kept(process(logits, OFF.replace(top_p=0))) == [1]
    assert kept(process(logits, OFF.replace(top_p=1))) == [0, 1, 2, 3]
    assert kept(process(logits, OFF.replace(top_k=1))) == [1, 3]
    assert kept(process(logits, OFF.replace(min_p=1))) == [1, 3]
    assert kept(process(logits, OFF.replace(min_p=0))) == [0, 1, 2, 3]
    assert kept(process(rows(5.0), SamplingSettings(top_k=9, top_p=0.1, min_p=0.9))) == [0]


def test_what_stands_on_the_border_of_a_rule() -> None:
    even = rows(0.0, 0.0, 0.0, 0.0)  # a quarter each, exactly
    for p, left in ((0.25, [3]), (0.5, [2, 3]), (0.51, [1, 2, 3]), (0.75, [1, 2, 3]), (0.76, [0, 1, 2, 3])):
        assert kept(rules.keep_top_p(even, p)) == left  # just reaching p is enough
    half = rows(0.0, math.log(0.5), math.log(0.25))
    assert kept(rules.keep_min_p(half, 0.5)) == [0, 1] and kept(rules.keep_min_p(half, 0.51)) == [0]
    assert kept(rules.keep_top_k(rows(3.0, 1.0, 2.0, 2.0), 2)) == [0, 2, 3]
    assert kept(rules.keep_top_k(rows(3.0, 1.0), 1)) == [0]


def test_each_rule_by_hand() -> None:
    logits = rows(2.0, -2.0, 0.0, 1.0)
    ids = torch.tensor([[0, 1, 2, 0]])  # seen twice is punished once
    assert rules.apply_repetition_penalty(logits, ids, 2.0).tolist() == [[1.0, -4.0, 0.0, 1.0]]
    assert rules.apply_repetition_penalty(logits, ids, 0.5).tolist() == [[4.0, -1.0, 0.0, 1.0]]
    assert rules.apply_temperature(logits, 0.5).tolist() == [[4.0, -4.0, 0.0, 2.0]]
    assert rules.apply_temperature(logits, rules.COLD).tolist() == (logits / rules.COLD).tolist()
    assert rules.apply_temperature(logits, rules.COLD / 2)[0, 0] == 0  # shifted, so that nothing overflows
    assert rules.apply_temperature(rows(1e30, 0.0), 1e-20).tolist() == [[0.0, -INF]]
    assert rules.keep_top(logits).tolist() == [[2.0, -INF, -INF, -INF]]


@pytest.mark.parametrize("temperature", [1e-45, 1e-6, 1.0, 100.0])
@pytest.mark.parametrize("change", [{}, {"top_k": 3}, {"top_p": 0.9}, {"min_p": 0.1}])
def test_infinite_logits_share_the_mass_and_minus_infinity_has_none(
    temperature: float, change: dict[str, float]
) -> None:
    s = SamplingSettings(temperature=temperature).replace(**change)
    mass = probabilities(process(rows(1.0, INF, -INF, INF), s))[0]
    assert mass.tolist() == [0, 0.5, 0, 0.5]
    alone = probabilities(process(rows(-INF, -INF, 1.0), s))[0]
    assert alone.tolist() == [0, 0, 1]


@pytest.mark.parametrize(
    "s",
    [
        OFF,
        SamplingSettings(),
        SamplingSettings(top_k=2),
        SamplingSettings(top_p=0.5),
        SamplingSettings(min_p=0.5),
        SamplingSettings(top_k=2, top_p=0.5, min_p=0.5, repetition_penalty=2),
    ],
)
@pytest.mark.parametrize("bad", [rows(1.0, math.nan, 2.0), rows(-INF, -INF, -INF)])
def test_nan_and_nothing_to_draw_from_are_an_error(s: SamplingSettings, bad: Tensor) -> None:
    mass = probabilities(process(bad, s, torch.tensor([[0]])))
    with pytest.raises(UserError, match="not a number"):
        check_drawn(int(pick(mass, torch.tensor([0.5], dtype=torch.float64))), 3)
