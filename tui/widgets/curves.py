"""The curves of the loss chart as cells: bands, smoothed lines, validation points, marks.

`ChartState` keeps what is known from the frame before, so that a frame costs by its new points and not by the run.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from tui.state.chart import Scale
from tui.text import Part
from tui.widgets.canvas import Polyline, draw_band, draw_lines
from tui.widgets.plotdata import Area, Array, PlotData, Series
from tui.widgets.reduce import Columns, Floats, Ints, Smoother, column_of, columns, joined


def floats(values: npt.ArrayLike) -> Floats:
    """`values` as a float64 array."""
    return np.asarray(values, dtype=np.float64)


@dataclass
class Memory:
    """What is known of a series from the frame before, so that only new points cost anything."""

    smoother: Smoother
    size: int = 0
    last: tuple[float, float] = (0.0, 0.0)
    key: tuple[float, float, int, bool] | None = None
    columns: Columns | None = None
    smooth: Floats = field(default_factory=lambda: np.empty(0))
    """(C,) the average at the last point of each column, NaN where it has none."""


@dataclass
class ChartState:
    """Memory of one chart between frames: averages, reduced columns, y limits that stay while they fit."""

    series: dict[int, Memory] = field(default_factory=dict)
    limits: tuple[float, float] | None = None
    limits_key: object = None

    def update(
        self, index: int, one: Series, half_life: float, window: tuple[float, float], count: int, log: bool
    ) -> Memory:
        """Bring the memory of series `index` up to date for a window of `count` dot columns."""
        steps, loss, _, _ = one.arrays()
        xs = one.x
        memory = self.series.get(index)
        size = len(steps)
        if memory is None or not self._grew(memory, steps, loss) or memory.smoother.half_life != half_life:
            memory = self.series[index] = Memory(Smoother(half_life))
        memory.smoother.extend(steps[memory.size :], loss[memory.size :])
        key = (*window, count, log)
        before = memory.columns
        if memory.columns is None or memory.key != key:
            memory.columns = columns(xs, loss, *window, count, log=log)
        elif size > memory.size:
            memory.columns = _grown(memory.columns, xs, loss, memory.size, window, count, log)
        if memory.columns is not before:
            memory.smooth = np.full(count, np.nan)
            filled = memory.columns.tail >= 0
            memory.smooth[filled] = memory.smoother.at(memory.columns.tail[filled], steps, loss)
        memory.key, memory.size = key, size
        memory.last = (float(steps[-1]), float(loss[-1])) if size else (0.0, 0.0)
        return memory

    def behind(self, series: Sequence[Series], half_life: float) -> int:
        """How many points the next `update` of these would fold into averages."""
        count = 0
        for index, one in enumerate(series):
            steps, loss, _, _ = one.arrays()
            memory = self.series.get(index)
            known = memory is not None and memory.smoother.half_life == half_life and self._grew(memory, steps, loss)
            count += len(steps) - (memory.size if memory is not None and known else 0)
        return count

    @staticmethod
    def _grew(memory: Memory, steps: Array, loss: Array) -> bool:
        """Whether the arrays are those of the frame before with points added at the end."""
        if memory.size == 0 or memory.size > len(steps):
            return memory.size == 0
        seen = np.array([steps[memory.size - 1], loss[memory.size - 1]], dtype=np.float64)
        return bool(np.array_equal(seen, memory.last, equal_nan=True))


def averaged(series: Sequence[Series], half_life: float) -> dict[int, Memory]:
    """What a `ChartState` knows of these after their first `update`, but their columns. For any thread."""
    found = {}
    for index, one in enumerate(series):
        steps, loss, _, _ = one.arrays()
        memory = found[index] = Memory(Smoother(half_life), len(steps))
        memory.smoother.extend(steps, loss)
        memory.last = (float(steps[-1]), float(loss[-1])) if len(steps) else (0.0, 0.0)
    return found


def _grown(
    old: Columns, steps: Array, loss: Array, known: int, window: tuple[float, float], count: int, log: bool
) -> Columns:
    """`old` with the points from index `known` on: only the column they begin in and those after it are reduced."""
    column = int(column_of([float(steps[known])], *window, count)[0]) if float(steps[known]) <= window[1] else count
    if column >= count:
        return old
    begin = known - int(old.count[column])
    fresh = columns(steps[begin:], loss[begin:], *window, count, log=log)
    tail = np.where(fresh.tail >= 0, fresh.tail + begin, -1)
    parts = zip(
        (old.low, old.high, old.tail, old.count, old.bad),
        (fresh.low, fresh.high, tail, fresh.count, fresh.bad),
        strict=True,
    )
    return Columns(*(np.concatenate([before[:column], after[column:]]) for before, after in parts))


def y_limits(
    data: PlotData, memories: list[Memory], window: tuple[float, float], scale: Scale, state: ChartState
) -> tuple[float, float]:
    """The y range (of logarithms when `log`): that of the frame before while the data fits and fills it."""
    log = scale == "log"
    found = [
        _range(one, memory, window, data.warmup if scale == "auto" else None, log)
        for one, memory in zip(data.series, memories, strict=True)
    ]
    found = [each for each in found if each is not None]
    low = min((each[0] for each in found if each is not None), default=0.0)
    high = max((each[1] for each in found if each is not None), default=1.0)
    if log and found:
        low, high = float(np.log10(low)), float(np.log10(high))
    key = (window, scale, data.axis, data.label, tuple(one.name for one in data.series))
    if state.limits is not None and state.limits_key == key:
        bottom, top = state.limits
        if bottom <= low and high <= top and high - low >= 0.6 * (top - bottom):
            return state.limits
    room = (high - low) or max(abs(high), 1e-3) * 0.1
    state.limits, state.limits_key = (low - 0.08 * room, high + 0.03 * room), key
    return state.limits


SPIKE = 0.25
"""What lies further from most of a curve than this share of its range is left out of an `auto` range."""


def quantile(values: Floats, share: float) -> float:
    """As `np.quantile`, which loads all of masked arrays at its first call."""
    place = share * (values.size - 1)
    low = int(place)
    high = min(low + 1, values.size - 1)
    parted = np.partition(values, (low, high))
    return float(parted[low] + (parted[high] - parted[low]) * (place - low))


def _range(
    one: Series, memory: Memory, window: tuple[float, float], warmup: int | None, log: bool
) -> tuple[float, float] | None:
    """The least and greatest value to be drawn; with a `warmup`, of most of what comes after it, with the last ones."""
    assert memory.columns is not None
    _, _, _, val_loss = one.arrays()
    val_x, vals = _drawable(one.val_x, val_loss, window, log)
    low, high, some = memory.columns.low, memory.columns.high, np.isfinite(memory.columns.low)
    lows, highs, at, smooth = low[some], high[some], memory.columns.tail[some], memory.smooth[some]
    if not lows.size and not vals.size:
        return None
    if warmup is None or lows.size < 8:
        ends = np.concatenate([lows, highs, vals])
        return float(ends.min()), float(ends.max())
    steps = np.asarray(one.steps)
    begun = min(max(warmup, steps[-1] // 10), steps[-1] // 2)
    warm = steps[at] > begun
    if 4 * int(warm.sum()) >= warm.size:
        lows, highs, smooth = lows[warm], highs[warm], smooth[warm]
        vals = vals[val_x > float(one.x[min(int(np.searchsorted(steps, begun, "right")), len(steps) - 1)])]
    smooth = smooth[np.isfinite(smooth) & ((smooth > 0) | (not log))]
    curves = np.concatenate([smooth, vals])
    bottom = quantile(np.concatenate([lows, curves]), 0.02)
    top = quantile(np.concatenate([highs, curves]), 0.98)
    reach = SPIKE * (top - bottom)
    last = [float(smooth[-1])] if smooth.size else []
    last += [float(vals[-1])] if vals.size else []
    near = np.concatenate([lows, highs, curves])
    near = near[(near >= bottom - reach) & (near <= top + reach)]
    return min([float(near.min()), *last]), max([float(near.max()), *last])


def _drawable(steps: Array, values: Array, window: tuple[float, float], log: bool) -> tuple[Floats, Floats]:
    """The validation points in the window that can be drawn."""
    x, y = floats(steps), floats(values)
    with np.errstate(invalid="ignore"):
        keep = np.isfinite(y) & (x >= window[0]) & (x <= window[1]) & ((y > 0) | (not log))
    return x[keep], y[keep]


def dot_rows(values: Floats, limits: tuple[float, float], height: int, log: bool) -> Floats:
    """The dot row (as floats, NaN kept) of each value."""
    low, high = limits
    with np.errstate(invalid="ignore", divide="ignore"):
        scaled = (np.log10(values) if log else values) - low
    rows: Floats = np.floor(scaled / (high - low) * (4 * height - 1) + 0.5)
    return rows


# -- curves


def series_looks(data: PlotData) -> tuple[list[str], list[str]]:
    """The colours of the train and the validation curve of each series."""
    if len(data.series) == 1:
        return ["train"], ["val"]
    names = [f"series-{index + 1}" for index in range(len(data.series))]
    return names, names


def curve_cells(
    data: PlotData, memories: list[Memory], area: Area, limits: tuple[float, float], log: bool, tinted: bool
) -> list[list[Part]]:
    """The cells of the area, row by row."""
    train_looks, val_looks = series_looks(data)
    band = np.zeros((area.height, area.width), dtype=bool)
    lines: list[Polyline] = []
    looks: list[str] = []
    vals: list[tuple[str, Ints, Ints, int]] = []
    beyond = Beyond(area, limits, log)
    bad = np.zeros(2 * area.width, dtype=bool)
    for index, (one, memory) in enumerate(zip(data.series, memories, strict=True)):
        assert memory.columns is not None
        beyond.see(memory.columns.low, memory.columns.high)
        low, high = joined(memory.columns.low, memory.columns.high)
        low, high = dot_rows(low, limits, area.height, log), dot_rows(high, limits, area.height, log)
        band |= draw_band(low, high, area.width, area.height) > 0
        bad |= memory.columns.bad > 0
        _, _, _, val_loss = one.arrays()
        x, y = _drawable(one.val_x, val_loss, (area.first, area.last), log)
        xs = column_of(x, area.first, area.last, 2 * area.width)
        beyond.see_points(xs, y)
        rows = np.clip(dot_rows(y, limits, area.height, log), 0, 4 * area.height - 1).astype(np.int64)
        lines += [(xs, rows), _smooth_line(memory, area, limits, log)]  # the train curve over the other
        looks += [val_looks[index], train_looks[index]]
        vals.append((val_looks[index], xs, rows, int(np.argmin(y)) if y.size else -1))
    alone = len(data.series) == 1
    empty, filled = (" ", ""), (" ", "on band-line") if tinted else ("░", "band")
    cells: list[list[Part]] = [[filled if each else empty for each in row] for row in band.tolist()]
    for row, column, character, owner in draw_lines(lines, area.width, area.height):
        cells[row][column] = (character, looks[owner] + (" on band-line" if tinted and band[row, column] else ""))
    _mark_vals(cells, vals, area, best=alone)
    if not alone:
        _number_lines(cells, lines[1::2], train_looks, area)
    edges = beyond.mark(cells, "train" if alone else "bright")
    for column in np.flatnonzero(bad).tolist():
        cells[0][column // 2] = ("×", "alarm bold")
    _mark_pointers(cells, data, area)
    for edge in edges:  # now that all marks stand, under which no figure may lie
        edge.say(data)
    _mark_cursor(cells, data, area)
    return cells


REACH = 12
"""Cells beside a mark in which its value is written, where there is nothing else."""


@dataclass(frozen=True)
class Edge:
    """The first or last row with its marks: `out` says in which columns, `values` what stands there, of which
    `furthest` (max or min) chooses."""

    row: list[Part]
    values: Floats
    out: npt.NDArray[np.bool_]
    furthest: Callable[[list[float]], float]

    def say(self, data: PlotData) -> None:
        """The furthest value of neighbouring marks behind them, where nothing else stands."""
        row = self.row
        for group in _groups(self.out):
            text = data.say(self.furthest([float(self.values[column]) for column in group])).strip()
            text = f" {text[: text.index('.') + 2] if '.' in text and 'e' not in text else text} "
            for at in range(group[-1] + 1, min(group[-1] + REACH, len(row) - len(text))):
                if all(row[at + offset] == (" ", "") for offset in range(len(text))):
                    for offset, character in enumerate(text):
                        row[at + offset] = (character, "dim")
                    break


class Beyond:
    """What lies beyond the y range: a `▲` or `▼` at the edge in each column of it, with the furthest value beside."""

    def __init__(self, area: Area, limits: tuple[float, float], log: bool) -> None:
        self._area, self._log = area, log
        self._bottom: float = 10.0 ** limits[0] if log else limits[0]
        self._top: float = 10.0 ** limits[1] if log else limits[1]
        self._highest = np.full(2 * area.width, -np.inf)
        self._lowest = np.full(2 * area.width, np.inf)

    def see(self, low: Floats, high: Floats) -> None:
        """The least and greatest value (2 * width,) of each dot column, NaN where there is none."""
        self._highest = np.fmax(self._highest, high)
        self._lowest = np.fmin(self._lowest, low)

    def see_points(self, columns: Ints, values: Floats) -> None:
        """Values (M,) in dot columns (M,)."""
        np.maximum.at(self._highest, columns, values)
        np.minimum.at(self._lowest, columns, values)

    def mark(self, cells: list[list[Part]], look: str) -> list[Edge]:
        """Put the marks into the first and the last row; these rows, whose figures are to be said."""
        width = self._area.width
        highest, lowest = self._highest.reshape(width, 2).max(axis=1), self._lowest.reshape(width, 2).min(axis=1)
        edges = [(Edge(cells[0], highest, highest > self._top, max), "▲")]
        if not self._log:
            edges.append((Edge(cells[-1], lowest, lowest < self._bottom, min), "▼"))
        for edge, sign in edges:
            for column in np.flatnonzero(edge.out).tolist():
                edge.row[column] = (sign, look)
        return [edge for edge, _ in edges]


def _groups(some: npt.NDArray[np.bool_]) -> list[list[int]]:
    """Neighbouring columns together."""
    places = np.flatnonzero(some)
    return [group.tolist() for group in np.split(places, np.flatnonzero(np.diff(places) > 1) + 1) if group.size]


def _smooth_line(memory: Memory, area: Area, limits: tuple[float, float], log: bool) -> Polyline:
    rows = dot_rows(memory.smooth, limits, area.height, log)
    some = np.flatnonzero(np.isfinite(rows))
    return some, np.clip(rows[some], 0, 4 * area.height - 1).astype(np.int64)


def _mark_vals(cells: list[list[Part]], vals: list[tuple[str, Ints, Ints, int]], area: Area, best: bool) -> None:
    """`●` on validation points as far as there is room between them, `◆` on the best."""
    for look, xs, ys, least in vals:
        last = -9
        for index, (x, y) in enumerate(zip((xs // 2).tolist(), (area.height - 1 - ys // 4).tolist(), strict=True)):
            if best and index == least:
                _stamp(cells, y, x, "◆", "good bold")
            elif x - last >= 4:
                last = x
                if cells[y][x][0] != "◆":
                    _stamp(cells, y, x, "●", look)


def _stamp(cells: list[list[Part]], y: int, x: int, mark: str, look: str) -> None:
    """Put a mark into a cell; the ground stays."""
    _, on, ground = cells[y][x][1].partition(" on ")
    cells[y][x] = (mark, look + on + ground)


def _number_lines(cells: list[list[Part]], lines: list[Polyline], looks: list[str], area: Area) -> None:
    """The number of a series at the end of its line, as in the legend."""
    for index, (xs, ys) in enumerate(lines):
        if xs.size:
            column = min(area.width - 1, int(xs[-1]) // 2 + 1)
            row = area.height - 1 - int(ys[-1]) // 4
            free = [
                y for y in sorted(range(area.height), key=lambda y: abs(y - row)) if not cells[y][column][0].isdigit()
            ]
            if free:
                _stamp(cells, free[0], column, str(index + 1), looks[index] + " bold")


def _mark_cursor(cells: list[list[Part]], data: PlotData, area: Area) -> None:
    column = area.column(data.x_of(data.cursor)) if data.cursor is not None else None
    if column is None:
        return
    for row in cells:
        character, look = row[column - area.x]
        look = look.split(" on ")[0] or "dim"
        row[column - area.x] = ("│" if character == " " else character, look + " on select")


def _mark_pointers(cells: list[list[Part]], data: PlotData, area: Area) -> None:
    """A letter at the top of a line down to the axis; where two of them stand in one column, the letters beside."""
    taken: set[int] = set()
    for letter, step in data.pointers:
        column = area.column(data.x_of(step))
        if column is None:
            continue
        for row in cells[1:]:
            if row[column - area.x][0] == " ":
                row[column - area.x] = ("│", "dim")
        place = column - area.x
        while place in taken and place + 1 < area.width:
            place += 1
        taken.add(place)
        cells[0][place] = (letter, "bright bold on select")
