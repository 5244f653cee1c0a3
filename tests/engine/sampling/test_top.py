"""What is known of the tokens that did not travel: their mass lies within the bounds that are told of it."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from engine.sampling.kept import TopLogits
from engine.sampling.settings import SamplingSettings

OFF = SamplingSettings(temperature=1)


@given(
    st.lists(st.one_of(st.just(-math.inf), st.floats(-8, 8)), min_size=3, max_size=20),
    st.integers(1, 3),
    st.floats(0.1, 4),
    st.sampled_from([1.0, 0.5, 2.0]),
)
def test_the_sum_of_the_others_lies_between_its_bounds(
    values: list[float], most: int, beta: float, penalty: float
) -> None:
    row = torch.tensor([9.0, 8.5, 8.2, *values], dtype=torch.float64)
    others = row.clone()
    top = TopLogits.of(row, most)
    others[torch.from_numpy(top.ids)] = -math.inf
    ceiling = float(top.logits.min())
    if penalty < 1:
        ceiling = max(ceiling, ceiling * penalty, ceiling / penalty)
    low, high = top._bounds(beta, ceiling, penalty)
    for penalized in {1.0, penalty}:
        there = torch.where(others > 0, others / penalized, others * penalized)
        true = float((there * beta).logsumexp(0))
        assert low <= true + 1e-9 and true - 1e-9 <= high
    if penalty == 1 and beta == 1:
        assert low == pytest.approx(high)


def test_others_that_are_ruled_out_have_no_mass() -> None:
    top = TopLogits.of(torch.tensor([1.0, 0.5, -math.inf, -math.inf]), 2)
    assert top.log_sum == -math.inf and top._bounds(2.0, 0.5, 1) == (-math.inf, -math.inf)
    assert top.row().tolist() == [1.0, 0.5, -math.inf, -math.inf]
    assert top.beyond(OFF.replace(temperature=0.1)) == ()


def test_where_the_sum_is_no_number_all_is_an_estimate() -> None:
    far = TopLogits.of(torch.tensor([1.0, 0.9, -800.0, -801.0]), 2)
    assert far.beyond(OFF.replace(temperature=0.5)) == ()
    endless = TopLogits.of(torch.tensor([math.inf, 1.0, 0.5]), 2)
    assert endless.beyond(OFF) == endless.beyond(OFF.replace(top_p=0.5)) == ("temperature",)


def test_what_is_held_is_counted() -> None:
    top = TopLogits.of(torch.randn(50), 7)
    assert top.nbytes == 7 * (8 + 4)
