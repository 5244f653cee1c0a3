"""The chart's arithmetic: every point counts, spikes stay, smoothing does not depend on how it is looked at."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import ArrayLike

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


def averages(half_life: float, steps: ArrayLike, values: ArrayLike, each: int = 10**9) -> np.ndarray:
    """All averages of a series that came `each` points at a time."""
    smoother, x, y = Smoother(half_life), np.asarray(steps), np.asarray(values)
    for begin in range(0, len(x), each):
        smoother.extend(x[begin : begin + each], y[begin : begin + each])
    return smoother.at(np.arange(len(x)), x, y)


def test_the_average_is_that_of_its_recursion() -> None:
    rng = np.random.default_rng(3)
    steps, loss = np.cumsum(rng.integers(1, 5, 1000)), rng.random(1000)
    loss[[0, 7, 63, 64, 500]] = [np.nan, np.inf, np.nan, -np.inf, np.nan]
    total = weight = 0.0
    expected, before = [], steps[0] - 1
    for step, value in zip(steps, loss, strict=True):
        keep = 0.5 ** ((step - before) / 20.0)
        before, fresh = step, (1 - keep) * bool(np.isfinite(value))
        total = keep * total + fresh * (value if fresh else 0.0)
        weight = keep * weight + fresh
        expected.append(total / weight if weight else np.nan)
    np.testing.assert_allclose(averages(20.0, steps, loss), expected, rtol=1e-9)
    np.testing.assert_array_equal(averages(0.0, steps, loss), loss)


@pytest.mark.parametrize("each", [1, 7, 64, 65, 1000])
def test_the_average_does_not_depend_on_how_the_points_come(each: int) -> None:
    rng = np.random.default_rng(1)
    steps, loss = np.cumsum(rng.integers(1, 5, 3000)), rng.random(3000)
    np.testing.assert_allclose(averages(20.0, steps, loss, each), averages(20.0, steps, loss), rtol=1e-9)


def test_of_the_averages_of_a_million_points_little_is_kept() -> None:
    smoother = Smoother(100.0)
    smoother.extend(np.arange(1_000_000), np.ones(1_000_000))
    assert smoother.nbytes <= 1_000_000 / 3
    np.testing.assert_allclose(smoother.at(np.array([5, 999_999]), np.arange(1_000_000), np.ones(1_000_000)), 1.0)


@pytest.mark.parametrize("every", [2, 10, 25])
def test_the_average_does_not_depend_on_how_often_the_run_logged(every: int) -> None:
    steps = np.arange(1, 4001)
    loss = 1.0 + 3.0 * np.exp(-steps / 800.0)
    dense, sparse = averages(100.0, steps, loss), averages(100.0, steps[every - 1 :: every], loss[every - 1 :: every])
    late = slice(800 // every, None)
    np.testing.assert_allclose(sparse[late], dense[every - 1 :: every][late], rtol=0.02)


def test_the_average_is_unbiased_from_the_first_point_and_steps_over_nan() -> None:
    np.testing.assert_allclose(averages(50.0, [1, 2, 3, 4], [4.0, float("nan"), 4.0, float("inf")]), 4.0)


def test_the_average_survives_long_gaps() -> None:
    found = averages(2.0, [1, 2, 10_000_000, 10_000_001], [9.0, 9.0, 1.0, 1.0])
    np.testing.assert_allclose(found, [9.0, 9.0, 1.0, 1.0], rtol=1e-6)


def test_half_of_the_average_is_the_last_half_life() -> None:
    found = averages(10.0, np.arange(1010), np.concatenate([np.zeros(1000), np.ones(10)]))
    assert found[-1] == pytest.approx(0.5, abs=0.01)


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
