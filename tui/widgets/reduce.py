"""Series reduced to what a chart of a given width can show, with every point counted. Numpy alone.

A chart of C dot columns shows, of any number of points, the least and the greatest value of each column (`columns`,
the min/max band) and one smoothed value (`at_columns`). Sampling points instead would hide spikes.

Smoothing is an exponential moving average over *steps*, not over points: a point stands for the steps since the point
before it and its weight halves every `half_life` steps (debiased as in Adam, Kingma & Ba 2015). The value at a step
therefore does not depend on how often the run logged, nor on the window looked at, and each point is folded in once.
"""

from __future__ import annotations

import math
from array import array
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

MAX_HALF_LIVES = 500.0  # in one vectorized block: 2**500 is far from overflow
MAX_POINTS = 16384  # likewise: what is made of so many stays in a core's own cache


@dataclass(frozen=True)
class Columns:
    """What each of C dot columns holds; NaN where a column has no drawable value.

    low, high: (C,) least and greatest drawable value. tail: (C,) index of the last point of the column, -1 without one.
    count: (C,) points that fell into the column, all of them. bad: (C,) those that were NaN, infinite, or not positive
    on a log scale.
    """

    low: Floats
    high: Floats
    tail: Ints
    count: Ints
    bad: Ints


def visible(steps: npt.NDArray[np.number], first: float, last: float) -> tuple[int, int]:
    """The slice of the sorted `steps` (N,) that lies in [first, last]."""
    return int(np.searchsorted(steps, first, "left")), int(np.searchsorted(steps, last, "right"))


def column_of(steps: npt.ArrayLike, first: float, last: float, columns: int) -> Ints:
    """The column 0..columns-1 of each step: the window's ends are the centres of the first and last column."""
    edges = _edges(first, last, columns)
    return np.clip(np.searchsorted(edges, np.asarray(steps, dtype=np.float64), "right") - 1, 0, columns - 1)


def _edges(first: float, last: float, columns: int) -> Floats:
    """Where each column begins; an empty window is all in column 0."""
    if last <= first or columns < 2:
        return np.concatenate([[first], np.full(columns - 1, np.inf)])
    return np.float64(first) + (np.arange(columns, dtype=np.float64) - 0.5) * ((last - first) / (columns - 1))


def columns(
    steps: npt.NDArray[np.number],
    values: npt.NDArray[np.floating],
    first: float,
    last: float,
    count: int,
    *,
    log: bool = False,
) -> Columns:
    """Reduce the points with first <= step <= last to `count` columns.

    steps: (N,) not decreasing; values: (N,). Costs a few milliseconds for a million points.
    """
    low, high = np.full(count, np.nan), np.full(count, np.nan)
    tails = np.full(count, -1, dtype=np.int64)
    counts, bads = np.zeros(count, dtype=np.int64), np.zeros(count, dtype=np.int64)
    begin, end = visible(steps, first, last)
    if end > begin:
        # Only the columns' first points are searched for: no array of N columns is built.
        starts = begin + np.searchsorted(steps[begin:end], _edges(first, last, count), "left")
        starts[0] = begin
        counts = np.diff(np.append(starts, end))
        filled = np.flatnonzero(counts)
        window = np.asarray(values[begin:end], dtype=np.float64)
        good = np.isfinite(window) & (window > 0) if log else np.isfinite(window)
        heads = starts[filled] - begin
        tails[filled] = np.append(starts[filled][1:], end) - 1
        if good.all():
            low[filled] = np.minimum.reduceat(window, heads)
            high[filled] = np.maximum.reduceat(window, heads)
        else:
            bads[filled] = np.add.reduceat((~good).astype(np.int64), heads)
            lows = np.minimum.reduceat(np.where(good, window, np.inf), heads)
            highs = np.maximum.reduceat(np.where(good, window, -np.inf), heads)
            some = np.isfinite(lows)
            low[filled[some]], high[filled[some]] = lows[some], highs[some]
    return Columns(low, high, tails, counts, bads)


def joined(low: Floats, high: Floats) -> tuple[Floats, Floats]:
    """The band (C,), (C,) made whole: empty columns between filled ones interpolated, steps joined by a stroke.

    A stroke stays in the column that jumps, so a spike of one column stays one column wide.
    """
    filled = np.flatnonzero(np.isfinite(low))
    if filled.size < 2:
        return low, high
    inside = np.arange(filled[0], filled[-1] + 1)
    low, high = low.copy(), high.copy()
    low[inside] = np.interp(inside, filled, low[filled])
    high[inside] = np.interp(inside, filled, high[filled])
    here, before = inside[1:], inside[:-1]
    low[here] = np.where(low[here] > high[before], high[before], low[here])
    high[here] = np.where(high[here] < low[before], low[before], high[here])
    return low, high


class Smoother:
    """The debiased moving average of a growing series, each point folded in once.

    `extend` takes the new points only. What it has come to is kept after every EVERY-th of them, and `at` works out the
    others from there: of a million averages a chart shows some hundred. A value that is not finite carries the average
    on unchanged. With a half-life of 0 the values are what they are.
    """

    EVERY = 64

    def __init__(self, half_life: float) -> None:
        self.half_life = half_life
        self._sum = 0.0
        self._weight = 0.0
        self._step: float | None = None
        self._size = 0
        self._sums, self._weights = array("d", [0.0]), array("d", [0.0])
        """What `_sum` and `_weight` were before each EVERY points."""

    @property
    def nbytes(self) -> int:
        """What it takes in memory."""
        return 8 * (len(self._sums) + len(self._weights))

    def extend(self, steps: npt.ArrayLike, values: npt.ArrayLike) -> None:
        """Fold in new points: steps (n,) not decreasing and not before the last one, values (n,)."""
        new_steps = np.asarray(steps, dtype=np.float64)
        new_values = np.asarray(values, dtype=np.float64)
        if self.half_life <= 0:
            return
        begin = 0
        while begin < new_steps.size:
            limit = new_steps[begin] + MAX_HALF_LIVES * self.half_life
            end = max(begin + 1, min(begin + MAX_POINTS, int(np.searchsorted(new_steps, limit, "right"))))
            self._block(new_steps[begin:end], new_values[begin:end])
            begin = end

    def at(self, places: Ints, steps: npt.NDArray[Any], values: npt.NDArray[Any]) -> Floats:
        """(M,) the averages after the points at `places` (M,), of all steps (N,) and values (N,) folded in."""
        if self.half_life <= 0 or not places.size:
            return np.asarray(values[places], dtype=np.float64)
        rate = math.log(2.0) / self.half_life
        heads = places // self.EVERY * self.EVERY
        known = (inside := heads[:, None] + np.arange(self.EVERY)) <= places[:, None]
        inside = np.minimum(inside, places[:, None])
        here, found, last = steps[inside], values[inside], steps[places]
        known &= np.isfinite(found)
        before = np.where(inside > 0, steps[inside - 1], steps[0] - 1)
        weights = _weights(rate, here - before) * np.exp(-rate * (last[:, None] - here)) * known
        decay = np.exp(-rate * (last - np.where(heads > 0, steps[heads - 1], last)))
        sums = np.frombuffer(self._sums)[heads // self.EVERY] * decay + (np.where(known, found, 0.0) * weights).sum(1)
        totals = np.frombuffer(self._weights)[heads // self.EVERY] * decay + weights.sum(1)
        with np.errstate(invalid="ignore", divide="ignore"):
            averages: Floats = sums / totals
        return averages

    def _block(self, steps: Floats, values: Floats) -> None:
        rate = math.log(2.0) / self.half_life
        # The first point stands for one step; any other for the steps since the point before.
        before = steps[0] - 1.0 if self._step is None else self._step
        weights = _weights(rate, np.diff(steps, prepend=before))
        good = np.isfinite(values)
        growth = np.exp(rate * (steps - steps[0]))
        decay = math.exp(-rate * (steps[0] - before))
        sums = (self._sum * decay + np.cumsum(np.where(good, values, 0.0) * weights * good * growth)) / growth
        totals = (self._weight * decay + np.cumsum(weights * good * growth)) / growth
        kept = slice(-(self._size + 1) % self.EVERY, None, self.EVERY)
        self._sums.frombytes(sums[kept].tobytes())
        self._weights.frombytes(totals[kept].tobytes())
        self._size += steps.size
        self._sum, self._weight, self._step = float(sums[-1]), float(totals[-1]), float(steps[-1])


def _weights(rate: float, gaps: npt.NDArray[Any]) -> Floats:
    """How much of the average a point takes that stands for so many steps."""
    weights: Floats = -np.expm1(-rate * np.maximum(gaps, 1e-9))
    return weights


def default_half_life(steps: float) -> float:
    """Half-life in steps for a run of `steps`: 1/250 of the run, at least two steps."""
    return max(2.0, steps / 250.0)


def nice_ticks(low: float, high: float, most: int) -> list[float]:
    """At most `most` round values (1, 2, 2.5 or 5 times a power of ten apart) in [low, high], at least one."""
    if not (math.isfinite(low) and math.isfinite(high)) or high <= low or most < 2:
        return [low]
    raw = (high - low) / most
    power = 10.0 ** math.floor(math.log10(raw))
    for factor in (1.0, 2.0, 2.5, 5.0, 10.0, 20.0, 25.0, 50.0):
        step = factor * power
        first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
        if last - first + 1 <= most:
            return [index * step for index in range(first, last + 1)] or [low]
    return [low]


def log_ticks(low: float, high: float, most: int) -> list[float]:
    """At most `most` round values in [low, high], both positive, for a log scale."""
    for mantissas in ((1, 1.5, 2, 3, 4, 5, 6, 7, 8, 9), (1, 2, 3, 5), (1, 2, 5), (1, 3), (1,)):
        powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
        ticks = [mantissa * 10.0**power for power in powers for mantissa in mantissas]
        ticks = [tick for tick in ticks if low * (1 - 1e-9) <= tick <= high * (1 + 1e-9)]
        if len(ticks) <= most:
            break
    return ticks[:most] if len(ticks) >= 2 else nice_ticks(low, high, most)
