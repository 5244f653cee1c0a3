"""The loss chart as rows of text: what `LossPlot` shows and `tinytui runs plot` prints.

    data = PlotData.run(steps, loss, val_steps, val_loss, checkpoints=(500, 1000), total_steps=5000)
    data = PlotData((Series("a", …), Series("b", …)))           # several runs over each other
    print(draw_text(data, 100, 24, color=True))

Behind the smoothed line lies the band of the least and greatest loss of each dot column, so that no spike is hidden;
losses that are NaN or infinite stand as red `×` at the top. Colours are always doubled by a mark or a word.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from tui.text import clean, fit, fmt_count, fmt_loss
from tui.widgets.canvas import Polyline, draw_band, draw_lines
from tui.widgets.reduce import (
    Columns,
    Floats,
    Ints,
    Smoother,
    column_of,
    columns,
    default_half_life,
    joined,
    log_ticks,
    nice_ticks,
)

Run = tuple[str, str]
Row = list[Run]
Array = npt.NDArray[np.generic]

EMPTY = "the loss will be drawn here; n starts a run"
MAX_SERIES = 6


def _floats(values: npt.ArrayLike) -> Floats:
    return np.asarray(values, dtype=np.float64)


@dataclass(frozen=True, eq=False)
class Series:
    """One run: train loss (N,) at steps (N,), validation loss (M,) at val_steps (M,); steps never decrease."""

    name: str
    steps: npt.ArrayLike
    loss: npt.ArrayLike
    val_steps: npt.ArrayLike = ()
    val_loss: npt.ArrayLike = ()

    def arrays(self) -> tuple[Array, Array, Array, Array]:
        """steps, loss, val_steps, val_loss as arrays, not copied where they are arrays already."""
        return np.asarray(self.steps), np.asarray(self.loss), np.asarray(self.val_steps), np.asarray(self.val_loss)


@dataclass(frozen=True, eq=False)
class PlotData:
    """A snapshot to draw. The arrays may be views of growing ones: only what is in them now is read."""

    series: tuple[Series, ...] = ()
    checkpoints: tuple[int, ...] = ()
    cursor: int | None = None
    total_steps: int | None = None
    half_life: float | None = None
    empty: str = EMPTY

    @classmethod
    def run(
        cls,
        steps: npt.ArrayLike,
        loss: npt.ArrayLike,
        val_steps: npt.ArrayLike = (),
        val_loss: npt.ArrayLike = (),
        *,
        name: str = "",
        checkpoints: tuple[int, ...] = (),
        cursor: int | None = None,
        total_steps: int | None = None,
        empty: str = EMPTY,
    ) -> PlotData:
        """The snapshot of one run. `cursor` is a step; `total_steps` fixes the x axis while the run grows."""
        return cls((Series(name, steps, loss, val_steps, val_loss),), checkpoints, cursor, total_steps, None, empty)

    @property
    def last_step(self) -> int:
        """The newest step of all series, 0 without any."""
        return max((int(np.asarray(s)[-1]) for one in self.series for s in (one.steps, one.val_steps) if np.size(s)), default=0)

    @property
    def span(self) -> tuple[float, float]:
        """The whole x axis: from 0 to the planned end, or a round number past the newest step."""
        last = self.last_step
        return 0.0, float(max(last, self.total_steps)) if self.total_steps else _round_up(last)


def _round_up(step: int) -> float:
    power = 10.0 ** max(1, len(str(max(1, step))) - 1)
    return next(m * power for m in (1, 1.5, 2, 3, 4, 5, 6, 8, 10, 15) if m * power >= step)


class Area(NamedTuple):
    """Where the curves lie in the picture, in cells, and the steps at the ends of it."""

    x: int
    y: int
    width: int
    height: int
    first: float
    last: float

    def column(self, step: float) -> int | None:
        """The cell column, from the left of the picture, of a step; None when it is out of the window."""
        if not self.first <= step <= self.last:
            return None
        return self.x + int(column_of([step], self.first, self.last, 2 * self.width)[0]) // 2

    def step(self, column: int) -> int:
        """The step under a cell column of the picture."""
        fraction = (column - self.x + 0.25) * 2 / max(1, 2 * self.width - 1)
        return round(self.first + min(1.0, max(0.0, fraction)) * (self.last - self.first))


@dataclass
class _Memory:
    """What is known of a series from the frame before, so that only new points cost anything."""

    smoother: Smoother
    size: int = 0
    last: tuple[float, float] = (0.0, 0.0)
    key: tuple[float, float, int, bool] | None = None
    columns: Columns | None = None


@dataclass
class ChartState:
    """Memory of one chart between frames: averages, reduced columns, y limits that stay while they fit."""

    series: dict[str, _Memory] = field(default_factory=dict)
    limits: tuple[float, float] | None = None
    limits_key: object = None

    def update(self, one: Series, half_life: float, window: tuple[float, float], count: int, log: bool) -> _Memory:
        """Bring the memory of `one` up to date for a window of `count` dot columns."""
        steps, loss, _, _ = one.arrays()
        memory = self.series.get(one.name)
        size = len(steps)
        if memory is None or not self._grew(memory, steps, loss) or memory.smoother.half_life != half_life:
            memory = self.series[one.name] = _Memory(Smoother(half_life))
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
    def _grew(memory: _Memory, steps: Array, loss: Array) -> bool:
        """Whether the arrays are those of the frame before with points added at the end."""
        if memory.size == 0 or memory.size > len(steps):
            return memory.size == 0
        seen = np.array([steps[memory.size - 1], loss[memory.size - 1]], dtype=np.float64)
        return bool(np.array_equal(seen, memory.last, equal_nan=True))


def _grown(old: Columns, steps: Array, loss: Array, known: int, window: tuple[float, float], count: int, log: bool) -> Columns:
    """`old` with the points from index `known` on: only the column they begin in and those after it are reduced."""
    column = int(column_of([float(steps[known])], *window, count)[0]) if float(steps[known]) <= window[1] else count
    if column >= count:
        return old
    begin = known - int(old.count[column])
    fresh = columns(steps[begin:], loss[begin:], *window, count, log=log)
    tail = np.where(fresh.tail >= 0, fresh.tail + begin, -1)
    parts = zip(
        (old.low, old.high, old.tail, old.count, old.bad), (fresh.low, fresh.high, tail, fresh.count, fresh.bad), strict=True
    )
    return Columns(*(np.concatenate([before[:column], after[column:]]) for before, after in parts))


@dataclass(frozen=True)
class View:
    """What of the data is looked at: a window of steps (None: all of it), and whether y is logarithmic."""

    window: tuple[float, float] | None = None
    log: bool = False


class Picture(NamedTuple):
    """Rows of runs, and where in them the curves lie (None when there are none)."""

    rows: list[Row]
    area: Area | None


def draw(data: PlotData, width: int, height: int, view: View | None = None, state: ChartState | None = None) -> Picture:
    """The picture of `data` in width x height cells (from 8x1)."""
    view, state = view or View(), state or ChartState()
    data = replace(data, series=data.series[:MAX_SERIES])
    if not any(np.size(one.steps) or np.size(one.val_steps) for one in data.series):
        return Picture([[(fit(data.empty, width), "dim")]], None)
    window = view.window or data.span
    area = _layout(width, height, window)
    half_life = data.half_life or default_half_life(max(data.span[1], 1.0))
    dots = 2 * area.width
    memories = [state.update(one, half_life, window, dots, view.log) for one in data.series]
    limits = _limits(data, memories, window, view.log, state)
    cells = _curves(data, memories, area, limits, view.log)
    rows = _frame(data, cells, area, limits, view.log, width, height)
    if area.y:
        rows[0] = _legend(data, memories, area, width)
    return Picture(rows, area)


def _layout(width: int, height: int, window: tuple[float, float]) -> Area:
    left = 7 if width >= 30 else 0
    top = 1 if height >= 5 else 0
    bottom = 2 if height >= 7 else 1 if height >= 4 else 0
    right = 1 if left else 0
    return Area(left, top, max(1, width - left - right), max(1, height - top - bottom), *window)


# -- scales


def _limits(
    data: PlotData, memories: list[_Memory], window: tuple[float, float], log: bool, state: ChartState
) -> tuple[float, float]:
    """The y range (of logarithms when `log`): that of the frame before while the data fits and fills it."""
    found: list[float] = []
    for one, memory in zip(data.series, memories, strict=True):
        assert memory.columns is not None
        _, _, val_steps, val_loss = one.arrays()
        values = np.concatenate([memory.columns.low, memory.columns.high, _drawable(val_steps, val_loss, window, log)[1]])
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
    x, y = _floats(steps), _floats(values)
    with np.errstate(invalid="ignore"):
        keep = np.isfinite(y) & (x >= window[0]) & (x <= window[1]) & ((y > 0) | (not log))
    return x[keep], y[keep]


def _dot_rows(values: Floats, limits: tuple[float, float], height: int, log: bool) -> Floats:
    """The dot row (as floats, NaN kept) of each value."""
    low, high = limits
    with np.errstate(invalid="ignore", divide="ignore"):
        scaled = (np.log10(values) if log else values) - low
    rows: Floats = np.floor(scaled / (high - low) * (4 * height - 1) + 0.5)
    return rows


# -- curves


def _looks(data: PlotData) -> tuple[list[str], list[str]]:
    """The colours of the train and the validation curve of each series."""
    if len(data.series) == 1:
        return ["train"], ["val"]
    names = [f"series-{index + 1}" for index in range(len(data.series))]
    return names, names


def _curves(data: PlotData, memories: list[_Memory], area: Area, limits: tuple[float, float], log: bool) -> list[list[Run]]:
    """The cells of the area, row by row."""
    train_looks, val_looks = _looks(data)
    lows, highs, lines, looks = [], [], [], []
    vals: list[tuple[str, Ints, Ints, int]] = []
    bad = np.zeros(2 * area.width, dtype=bool)
    for index, (one, memory) in enumerate(zip(data.series, memories, strict=True)):
        assert memory.columns is not None
        low, high = joined(memory.columns.low, memory.columns.high)
        lows.append(_dot_rows(low, limits, area.height, log))
        highs.append(_dot_rows(high, limits, area.height, log))
        bad |= memory.columns.bad > 0
        lines.append(_smooth_line(memory, area, limits, log))
        looks.append(train_looks[index])
        _, _, val_steps, val_loss = one.arrays()
        x, y = _drawable(val_steps, val_loss, (area.first, area.last), log)
        xs = column_of(x, area.first, area.last, 2 * area.width)
        ys = _dot_rows(y, limits, area.height, log).astype(np.int64)
        lines.append((xs, ys))
        looks.append(val_looks[index])
        vals.append((val_looks[index], xs, ys, int(np.argmin(y)) if y.size else -1))
    characters, owners = draw_lines(lines, area.width, area.height)
    bands = [draw_band(low, high, area.width, area.height) for low, high in zip(lows, highs, strict=True)]
    cells = [
        [_cell(characters[r][c], owners[r][c], [band[r][c] for band in bands], looks) for c in range(area.width)]
        for r in range(area.height)
    ]
    _mark_vals(cells, vals, area, best=len(data.series) == 1)
    if len(data.series) > 1:
        _number_lines(cells, lines[::2], train_looks, area)
    for column in np.flatnonzero(bad):
        cells[0][column // 2] = ("×", "alarm bold")
    _mark_cursor(cells, data, area)
    return cells


def _smooth_line(memory: _Memory, area: Area, limits: tuple[float, float], log: bool) -> Polyline:
    assert memory.columns is not None
    filled = np.flatnonzero(memory.columns.tail >= 0)
    smooth = memory.smoother.values[memory.columns.tail[filled]]
    rows = _dot_rows(smooth, limits, area.height, log)
    some = np.isfinite(rows)
    return filled[some], np.clip(rows[some], 0, 4 * area.height - 1).astype(np.int64)


def _cell(character: str, owner: int, bands: list[str], looks: list[str]) -> Run:
    covered = 0
    for band in bands:
        covered |= ord(band) - 0x2800 if band != " " else 0
    if owner >= 0 and character != " ":
        return character, looks[owner] + (" on band-line" if covered else "")
    return (chr(0x2800 + covered), "band" if len(bands) == 1 else "rule") if covered else (" ", "")


def _mark_vals(cells: list[list[Run]], vals: list[tuple[str, Ints, Ints, int]], area: Area, best: bool) -> None:
    """`●` on validation points as far as there is room between them, `◆` on the best."""
    for look, xs, ys, least in vals:
        last = -9
        for index, (x, y) in enumerate(zip((xs // 2).tolist(), (area.height - 1 - ys // 4).tolist(), strict=True)):
            if best and index == least:
                cells[y][x] = ("◆", "good bold")
            elif x - last >= 4:
                last = x
                if cells[y][x][0] != "◆":
                    cells[y][x] = ("●", look)


def _number_lines(cells: list[list[Run]], lines: list[Polyline], looks: list[str], area: Area) -> None:
    """The number of a series at the end of its line, as in the legend."""
    for index, (xs, ys) in enumerate(lines):
        if xs.size:
            column = min(area.width - 1, int(xs[-1]) // 2 + 1)
            cells[area.height - 1 - int(ys[-1]) // 4][column] = (str(index + 1), looks[index] + " bold")


def _mark_cursor(cells: list[list[Run]], data: PlotData, area: Area) -> None:
    column = area.column(data.cursor) if data.cursor is not None else None
    if column is None:
        return
    for row in cells:
        character, look = row[column - area.x]
        look = look.split(" on ")[0] or "dim"
        row[column - area.x] = ("│" if character == " " else character, look + " on select")


# -- frame


def _frame(
    data: PlotData, cells: list[list[Run]], area: Area, limits: tuple[float, float], log: bool, width: int, height: int
) -> list[Row]:
    """All rows with axes and their labels; the legend's row is left empty."""
    from tui.widgets.paint import merge

    rows: list[Row] = [[] for _ in range(area.y)]
    labels = _y_labels(area, limits, log) if area.x else {}
    for index, line in enumerate(cells):
        label = labels.get(index)
        left: Row = []
        if area.x:
            left = [(f"{label or '':>{area.x - 1}}", "dim"), ("┤" if label else "│", "rule")]
        rows.append(left + merge(line))
    ticks = nice_ticks(area.first, area.last, max(2, area.width // 9))
    marks = {column: tick for tick in ticks if (column := area.column(tick)) is not None}
    if height - area.y - area.height == 2:
        rows.append(_x_axis(data, area, marks, width))
    if height - area.y - area.height >= 1:
        rows.append([(_x_labels(area, marks, width), "dim")])
    return rows


def _y_labels(area: Area, limits: tuple[float, float], log: bool) -> dict[int, str]:
    low, high = limits
    most = max(2, area.height // 3)
    ticks = log_ticks(10**low, 10**high, most) if log else nice_ticks(low, high, most)
    step = min((b - a for a, b in zip(ticks, ticks[1:], strict=False)), default=1.0)
    digits = min(4, max(0, int(np.ceil(-np.log10(step) - 1e-9)) + (1 if step < 1 and f"{step:g}"[-2:] == "25" else 0)))
    rows = _dot_rows(np.array(ticks), limits, area.height, log)
    places = (area.height - 1 - rows.astype(np.int64) // 4).tolist()
    texts = [f"{tick:.{max(1, digits)}f}" if abs(tick) < 1000 else fmt_count(tick) for tick in ticks]
    return {place: text for place, text in zip(places, texts, strict=True) if 0 <= place < area.height}


def _x_axis(data: PlotData, area: Area, marks: dict[int, float], width: int) -> Row:
    from tui.widgets.paint import merge

    line: list[Run] = [(" ", "")] * width
    if area.x:
        line[area.x - 1] = ("└", "rule")
    for column in range(area.x, area.x + area.width):
        line[column] = ("┬" if column in marks else "─", "rule")
    for step in data.checkpoints:
        if (place := area.column(step)) is not None:
            line[place] = ("▲", "bright" if step == data.cursor else "dim")
    return merge(line)


def _x_labels(area: Area, marks: dict[int, float], width: int) -> str:
    line = [" "] * width
    free = 0
    for column, step in sorted(marks.items()):
        text = _step_text(step)
        start = min(max(column - len(text) // 2, 0), width - len(text))
        if start >= free:
            line[start : start + len(text)] = text
            free = start + len(text) + 1
    return "".join(line)


def _step_text(step: float) -> str:
    if step != int(step):
        return f"{step:g}"
    return f"{step:,.0f}" if step < 10_000 else fmt_count(step).replace(".00", "").replace(".0k", "k")


def _legend(data: PlotData, memories: list[_Memory], area: Area, width: int) -> Row:
    """Newest values, or those under the cursor; fields of fixed width, the last ones dropped where there is no room."""
    fields: list[Row] = []
    looks, _ = _looks(data)
    if data.cursor is not None:
        fields.append([(f"step {data.cursor:<6,}", "bright")])
    for index, (one, memory) in enumerate(zip(data.series, memories, strict=True)):
        steps, _, val_steps, val_loss = one.arrays()
        place = int(np.searchsorted(steps, data.cursor, "right")) if data.cursor is not None else len(steps)
        smooth = float(memory.smoother.values[place - 1]) if place else None
        if len(data.series) > 1:
            name = clean(one.name, keep_newlines=False)
            fields.append([(f"{index + 1} ", looks[index] + " bold"), (f"{fit(name, min(18, len(name)))} ", "dim")])
            fields[-1].append((f"{fmt_loss(smooth):>6}", "bright"))
            continue
        fields.append([("─ ", "train bold"), ("train ", "dim"), (f"{fmt_loss(smooth):>6}", "bright")])
        seen = int(np.searchsorted(val_steps, data.cursor, "right")) if data.cursor is not None else len(val_steps)
        if len(val_steps):
            value = float(_floats(val_loss)[seen - 1]) if seen else None
            fields.append([("● ", "val"), ("val ", "dim"), (f"{fmt_loss(value):>6}", "bright")])
        finite = np.flatnonzero(np.isfinite(_floats(val_loss)))
        if finite.size:
            best = finite[np.argmin(_floats(val_loss)[finite])]
            said = f"{fmt_loss(float(_floats(val_loss)[best]))} at {_step_text(float(_floats(val_steps)[best]))}"
            fields.append([("◆ ", "good"), ("best ", "dim"), (said, "bright")])
    row: Row = [(" " * area.x, "")]
    used = area.x
    for field_row in fields:
        size = sum(len(text) for text, _ in field_row)
        if used + size > width:
            break
        row += [*field_row, ("   ", "")]
        used += size + 3
    return row if used <= width else [*row[:-1]]


_SGR = {
    "train": "94",
    "val": "33",
    "good": "32",
    "alarm": "91",
    "dim": "2",
    "bright": "",
    "band": "34",
    "rule": "90",
    **{f"series-{index + 1}": code for index, code in enumerate(("94", "95", "92", "91", "96", "93"))},
}


def draw_text(data: PlotData, width: int, height: int, color: bool, log: bool = False) -> str:
    """The chart as lines of text for a pipe or a terminal; without `color` there is not one escape sequence in it."""
    lines = []
    for row in draw(data, width, height, View(log=log)).rows:
        parts = []
        for text, look in row:
            words = look.split(" on ")[0].split()
            code = ";".join(filter(None, (_SGR[words[0]], "1" if "bold" in words else ""))) if words else ""
            parts.append(f"\x1b[{code}m{text}\x1b[0m" if color and code and text.strip() else text)
        lines.append("".join(parts).rstrip())
    return "\n".join(lines)
