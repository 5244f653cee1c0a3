"""The chart's arithmetic: every point counts, spikes stay, smoothing does not depend on how it is looked at."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tui.widgets.reduce import Smoother, column_of, columns, joined, log_ticks, nice_ticks

losses = st.lists(
    st.floats(-5, 50) | st.sampled_from([float("nan"), float("inf"), -float("inf")]), min_size=1, max_size=120
)


@given(losses, st.integers(1, 60), st.integers(1, 9), st.booleans())
@settings(deadline=None)
def test_every_point_is_counted_in_its_column(values: list[float], count: int, stride: int, log: bool) -> None:
    steps = np.arange(len(values)) * stride
    loss = np.array(values)
    first, last = float(steps[0]), float(steps[-1])
    got = columns(steps, loss, first, last, count, log=log)
    assert got.count.sum() == len(values)
    where = column_of(steps, first, last, count)
    good = np.isfinite(loss) & ((loss > 0) | (not log))
    for column in range(count):
        inside = where == column
        assert got.count[column] == inside.sum()
        assert got.bad[column] == (inside & ~good).sum()
        if (inside & good).any():
            assert got.low[column] == loss[inside & good].min()
            assert got.high[column] == loss[inside & good].max()
        else:
            assert np.isnan(got.low[column])
        assert got.tail[column] == (np.flatnonzero(inside)[-1] if inside.any() else -1)


@given(st.integers(0, 4999), st.integers(0, 4000), st.integers(50, 999), st.integers(2, 300))
@settings(deadline=None)
def test_a_spike_of_one_sample_is_the_top_of_its_column_at_any_zoom(
    spike: int, first: int, size: int, count: int
) -> None:
    loss = np.ones(5000)
    loss[spike] = 9.0
    got = columns(np.arange(5000), loss, first, first + size, count)
    assert (np.nanmax(got.high) == 9.0) == (first <= spike <= first + size)


def test_a_million_points_reduce_to_what_a_chart_can_show() -> None:
    loss = np.random.default_rng(0).random(1_000_000)
    got = columns(np.arange(1_000_000), loss, 0, 1_000_000, 240)
    assert got.count.sum() == 1_000_000
    assert np.nanmin(got.low) == loss.min() and np.nanmax(got.high) == loss.max()


def test_the_average_does_not_depend_on_how_the_points_come() -> None:
    rng = np.random.default_rng(1)
    steps, loss = np.cumsum(rng.integers(1, 5, 3000)), rng.random(3000)
    whole, pieces = Smoother(20.0), Smoother(20.0)
    whole.extend(steps, loss)
    for begin in range(0, 3000, 7):
        pieces.extend(steps[begin : begin + 7], loss[begin : begin + 7])
    np.testing.assert_allclose(pieces.values, whole.values, rtol=1e-9)


@pytest.mark.parametrize("every", [2, 10, 25])
def test_the_average_does_not_depend_on_how_often_the_run_logged(every: int) -> None:
    steps = np.arange(1, 4001)
    loss = 1.0 + 3.0 * np.exp(-steps / 800.0)
    dense, sparse = Smoother(100.0), Smoother(100.0)
    dense.extend(steps, loss)
    sparse.extend(steps[every - 1 :: every], loss[every - 1 :: every])
    late = slice(800 // every, None)
    np.testing.assert_allclose(sparse.values[late], dense.values[every - 1 :: every][late], rtol=0.02)


def test_the_average_is_unbiased_from_the_first_point_and_steps_over_nan() -> None:
    smoother = Smoother(50.0)
    smoother.extend([1, 2, 3, 4], [4.0, float("nan"), 4.0, float("inf")])
    np.testing.assert_allclose(smoother.values, 4.0)


def test_the_average_survives_long_gaps() -> None:
    smoother = Smoother(2.0)
    smoother.extend([1, 2, 10_000_000, 10_000_001], [9.0, 9.0, 1.0, 1.0])
    np.testing.assert_allclose(smoother.values, [9.0, 9.0, 1.0, 1.0], rtol=1e-6)


def test_half_of_the_average_is_the_last_half_life() -> None:
    smoother = Smoother(10.0)
    smoother.extend(np.arange(1000), np.zeros(1000))
    smoother.extend(np.arange(1000, 1010), np.ones(10))
    assert smoother.values[-1] == pytest.approx(0.5, abs=0.01)


def test_a_band_is_joined_without_widening_a_spike() -> None:
    spike = np.array([1.0, 9.0, 1.0])
    assert [side.tolist() for side in joined(spike, spike)] == [[1.0, 1.0, 1.0], [1.0, 9.0, 1.0]]
    gap = np.array([np.nan, 1.0, np.nan, 9.0, np.nan])
    low, high = joined(gap, gap)
    assert low[1:4].tolist() == [1.0, 1.0, 5.0] and high[1:4].tolist() == [1.0, 5.0, 9.0]
    assert np.isnan(low[[0, 4]]).all()


@given(st.floats(-1e3, 1e3), st.floats(1e-3, 1e4), st.integers(2, 12))
def test_ticks_are_few_and_inside(low: float, size: float, most: int) -> None:
    ticks = nice_ticks(low, low + size, most)
    assert 1 <= len(ticks) <= most
    assert all(low - 1e-6 * size <= tick <= low + size * (1 + 1e-6) for tick in ticks)


@given(st.floats(0.01, 100), st.floats(1.01, 1000), st.integers(2, 12))
def test_log_ticks_are_few_and_inside(low: float, ratio: float, most: int) -> None:
    ticks = log_ticks(low, low * ratio, most)
    assert 1 <= len(ticks) <= most
    assert all(low * 0.999 <= tick <= low * ratio * 1.001 for tick in ticks)
