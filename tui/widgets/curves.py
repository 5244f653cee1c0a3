"""The curves of the loss chart as cells: bands, smoothed lines, validation points, marks.

`ChartState` keeps what is known from the frame before, so that a frame costs by its new points and not by the run.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

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
        memory = self.series.get(index)
        size = len(steps)
        if memory is None or not self._grew(memory, steps, loss) or memory.smoother.half_life != half_life:
            memory = self.series[index] = Memory(Smoother(half_life))
        memory.smoother.extend(steps[memory.size :], loss[memory.size :])
        key = (*window, count, log)
        if memory.columns is None or memory.key != key:
            memory.columns = columns(steps, loss, *window, count, log=log)
        elif size > memory.size:
            memory.columns = _grown(memory.columns, steps, loss, memory.size, window, count, log)
        memory.key, memory.size = key, size
        memory.last = (float(steps[-1]), float(loss[-1])) if size else (0.0, 0.0)
        return memory

    @staticmethod
    def _grew(memory: Memory, steps: Array, loss: Array) -> bool:
        """Whether the arrays are those of the frame before with points added at the end."""
        if memory.size == 0 or memory.size > len(steps):
            return memory.size == 0
        seen = np.array([steps[memory.size - 1], loss[memory.size - 1]], dtype=np.float64)
        return bool(np.array_equal(seen, memory.last, equal_nan=True))


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
    data: PlotData, memories: list[Memory], window: tuple[float, float], log: bool, state: ChartState
) -> tuple[float, float]:
    """The y range (of logarithms when `log`): that of the frame before while the data fits and fills it."""
    found: list[float] = []
    for one, memory in zip(data.series, memories, strict=True):
        assert memory.columns is not None
        _, _, val_steps, val_loss = one.arrays()
        values = np.concatenate(
            [memory.columns.low, memory.columns.high, _drawable(val_steps, val_loss, window, log)[1]]
        )
        values = values[np.isfinite(values)]
        if values.size:
            found += [float(values.min()), float(values.max())]
    low, high = (min(found), max(found)) if found else (0.0, 1.0)
    if log and found:
        low, high = float(np.log10(low)), float(np.log10(high))
    key = (window, log, tuple(one.name for one in data.series))
    if state.limits is not None and state.limits_key == key:
        bottom, top = state.limits
        if bottom <= low and high <= top and high - low >= 0.6 * (top - bottom):
            return state.limits
    room = (high - low) or max(abs(high), 1e-3) * 0.1
    state.limits, state.limits_key = (low - 0.08 * room, high + 0.03 * room), key
    return state.limits


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
    data: PlotData, memories: list[Memory], area: Area, limits: tuple[float, float], log: bool
) -> list[list[Part]]:
    """The cells of the area, row by row."""
    train_looks, val_looks = series_looks(data)
    lows, highs, lines, looks = [], [], [], []
    vals: list[tuple[str, Ints, Ints, int]] = []
    bad = np.zeros(2 * area.width, dtype=bool)
    for index, (one, memory) in enumerate(zip(data.series, memories, strict=True)):
        assert memory.columns is not None
        low, high = joined(memory.columns.low, memory.columns.high)
        lows.append(dot_rows(low, limits, area.height, log))
        highs.append(dot_rows(high, limits, area.height, log))
        bad |= memory.columns.bad > 0
        _, _, val_steps, val_loss = one.arrays()
        x, y = _drawable(val_steps, val_loss, (area.first, area.last), log)
        xs = column_of(x, area.first, area.last, 2 * area.width)
        ys = dot_rows(y, limits, area.height, log).astype(np.int64)
        lines += [(xs, ys), _smooth_line(memory, area, limits, log)]  # the train curve over the other
        looks += [val_looks[index], train_looks[index]]
        vals.append((val_looks[index], xs, ys, int(np.argmin(y)) if y.size else -1))
    band = np.zeros((area.height, area.width), dtype=np.int64)
    for low, high in zip(lows, highs, strict=True):
        band |= draw_band(low, high, area.width, area.height)
    alone = len(data.series) == 1
    cells: list[list[Part]] = [[(" ", "")] * area.width for _ in range(area.height)]
    patterns = band.tolist()
    for row, column in np.argwhere(band).tolist():
        cells[row][column] = (chr(0x2800 + patterns[row][column]), "band" if alone else "rule")
    for row, column, character, owner in draw_lines(lines, area.width, area.height):
        ground = " on band-line" if alone and patterns[row][column] else ""
        cells[row][column] = (character, looks[owner] + ground)
    _mark_vals(cells, vals, area, best=alone)
    if not alone:
        _number_lines(cells, lines[1::2], train_looks, area)
    for column in np.flatnonzero(bad).tolist():
        cells[0][column // 2] = ("×", "alarm bold")
    _mark_cursor(cells, data, area)
    _mark_pointers(cells, data, area)
    return cells


def _smooth_line(memory: Memory, area: Area, limits: tuple[float, float], log: bool) -> Polyline:
    assert memory.columns is not None
    filled = np.flatnonzero(memory.columns.tail >= 0)
    smooth = memory.smoother.values[memory.columns.tail[filled]]
    rows = dot_rows(smooth, limits, area.height, log)
    some = np.isfinite(rows)
    return filled[some], np.clip(rows[some], 0, 4 * area.height - 1).astype(np.int64)


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
    column = area.column(data.cursor) if data.cursor is not None else None
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
        column = area.column(step)
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
