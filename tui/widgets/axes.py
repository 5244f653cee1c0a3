"""What stands around the curves of the loss chart: axes with round ticks, checkpoint marks, the legend."""

from __future__ import annotations

import numpy as np
from rich.cells import cell_len

from tui.state.chart import SIGNS, Mark
from tui.text import Part, clean, fit, fmt_count, fmt_loss, fmt_lr, width_of
from tui.widgets.curves import Memory, dot_rows, floats, series_looks
from tui.widgets.paint import merge
from tui.widgets.plotdata import Area, PlotData
from tui.widgets.reduce import column_of, log_ticks, nice_ticks


def frame(
    data: PlotData, cells: list[list[Part]], area: Area, limits: tuple[float, float], log: bool, width: int, height: int
) -> list[list[Part]]:
    """All rows with axes and their labels; the legend's row is left empty."""
    rows: list[list[Part]] = [[] for _ in range(area.y)]
    labels = _y_labels(area, limits, log) if area.x else {}
    for index, line in enumerate(cells):
        label = labels.get(index)
        left: list[Part] = []
        if area.x:
            left = [(f"{label or '':>{area.x - 1}}", "dim"), ("┤" if label else "│", "rule")]
        rows.append(left + merge(line))
    unit, letter = _x_unit(data, area)
    ticks = [tick * unit for tick in nice_ticks(area.first / unit, area.last / unit, max(2, area.width // 9))]
    marks = {column: tick / unit for tick in ticks if (column := area.column(tick)) is not None}
    if height - area.y - area.height == 2:
        rows.append(_x_axis(data, area, marks, width))
    if height - area.y - area.height >= 1:
        rows.append([(_x_labels(marks, width, letter), "dim")])
    return rows


def _x_unit(data: PlotData, area: Area) -> tuple[float, str]:
    """What the labels of the x axis count: steps or tokens, or seconds, minutes, hours or days of training."""
    if data.axis != "time":
        return 1.0, ""
    size = area.last - area.first
    return next(
        each for each in ((86400.0, "d"), (3600.0, "h"), (60.0, "m"), (1.0, "s")) if size >= 2 * each[0] or each[0] == 1
    )


def _y_labels(area: Area, limits: tuple[float, float], log: bool) -> dict[int, str]:
    low, high = limits
    most = max(2, area.height // 3)
    ticks = log_ticks(10**low, 10**high, most) if log else nice_ticks(low, high, most)
    rows = dot_rows(np.array(ticks), limits, area.height, log)
    places = (area.height - 1 - rows.astype(np.int64) // 4).tolist()
    texts = _tick_texts(ticks)
    return {place: text for place, text in zip(places, texts, strict=True) if 0 <= place < area.height}


def _tick_texts(ticks: list[float]) -> list[str]:
    """The ticks with as many decimals as tell them apart, at least one; in six characters."""
    for digits in range(1, 5):
        texts = [f"{tick:.{digits}f}" for tick in ticks]
        if all(abs(float(text) - tick) < 1e-9 * max(1.0, abs(tick)) for text, tick in zip(texts, ticks, strict=True)):
            break
    if max(len(text) for text in texts) <= 6 and len(set(texts)) == len(texts):
        return texts
    return [fmt_count(tick) if abs(tick) >= 1000 else fmt_lr(tick) for tick in ticks]


def _x_axis(data: PlotData, area: Area, marks: dict[int, float], width: int) -> list[Part]:
    line: list[Part] = [(" ", "")] * width
    if area.x:
        line[area.x - 1] = ("└", "rule")
    for column in range(area.x, area.x + area.width):
        line[column] = ("┬" if column in marks else "─", "rule")
    here = None if data.cursor is None else area.column(data.x_of(data.cursor))
    for place, mark in marks_in(data, area).items():
        line[place] = (mark[0].sign, "bright bold" if place == here else mark[0].look)
    return merge(line)


def marks_in(data: PlotData, area: Area) -> dict[int, list[Mark]]:
    """What happened, by the cell column it stands in; what matters most comes first."""
    found: dict[int, list[Mark]] = {}
    checkpoints = [Mark(step, SIGNS["checkpoint"], "dim", "checkpoint") for step in data.checkpoints]
    marks = [*data.marks, *checkpoints]
    xs = data.xs_of(np.array([mark.step for mark in marks], dtype=np.float64))
    places = area.x + column_of(xs, area.first, area.last, 2 * area.width) // 2
    for mark, x, place in zip(marks, xs.tolist(), places.tolist(), strict=True):
        if area.first <= x <= area.last:
            found.setdefault(place, []).append(mark)
    rank = {sign: index for index, sign in enumerate(SIGNS.values())}
    for together in found.values():
        together.sort(key=lambda mark: rank.get(mark.sign, 0))
    return found


def _x_labels(marks: dict[int, float], width: int, letter: str) -> str:
    line = [" "] * width
    free = 0
    columns = sorted(marks)
    for column, tick in zip(columns, step_texts([marks[column] for column in columns]), strict=True):
        text = tick + letter if tick != "0" else tick
        start = min(max(column - len(text) // 2, 0), width - len(text))
        if start >= free:
            line[start : start + len(text)] = text
            free = start + len(text) + 1
    return "".join(line)


def step_texts(steps: list[float]) -> list[str]:
    """The labels of ticks, all in one unit and as short as tells them apart: `0 20k 40k`, but `123,450 123,460`."""
    greatest = max(steps, default=0.0)
    for unit, least, letter in ((1e9, 1e9, "B"), (1e6, 1e6, "M"), (1e3, 1e4, "k")):
        if greatest >= least and all(step * 10 % unit == 0 for step in steps):
            return [f"{step / unit:.1f}".removesuffix(".0") + letter if step else "0" for step in steps]
    return [f"{step:,.2f}".rstrip("0").rstrip(".") for step in steps]


def _step_text(step: float) -> str:
    if step != int(step):
        return f"{step:g}"
    return f"{step:,.0f}" if step < 10_000 else fmt_count(step).replace(".00", "").replace(".0k", "k")


def legend(data: PlotData, memories: list[Memory], area: Area, width: int) -> list[Part]:
    """Newest values, or those under the cursor; fields of fixed width, the last ones dropped where there is no room."""
    fields: list[list[Part]] = []
    looks, _ = series_looks(data)
    if data.cursor is not None:
        fields.append([(f"step {data.cursor:<6,}", "bright")])
    pointed = data.cursor is not None and len(data.series) == 1
    for index, (one, memory) in enumerate(zip(data.series, memories, strict=True)):
        steps, loss, val_steps, val_loss = one.arrays()
        place = int(np.searchsorted(steps, data.cursor, "right")) if data.cursor is not None else len(steps)
        smooth = float(memory.smoother.at(np.array([place - 1]), steps, loss)[0]) if place else None
        if len(data.series) > 1:
            fields.append([(f"{index + 1} ", looks[index] + " bold"), (clean(one.name, keep_newlines=False), "dim")])
            fields[-1].append((f" {data.say(smooth):>6}", "bright"))
            continue
        if np.size(one.steps):
            fields.append([("─ ", "train bold"), (f"{data.label} ", "dim"), (f"{data.say(smooth):>6}", "bright")])
        seen = int(np.searchsorted(val_steps, data.cursor, "right")) if data.cursor is not None else len(val_steps)
        if len(val_steps):
            value = float(floats(val_loss)[seen - 1]) if seen else None
            fields.append([("● ", "val"), ("val ", "dim"), (f"{fmt_loss(value):>6}", "bright")])
        if pointed and place and np.size(data.lr) >= place:
            fields.append([("lr ", "dim"), (fmt_lr(float(floats(data.lr)[place - 1])), "bright")])
        if pointed and (ends := _ends(data, memory, area)) is not None:
            fields.append([("min–max ", "dim"), (f"{ends[0]:.3g}–{ends[1]:.3g}", "foreground")])
        finite = np.flatnonzero(np.isfinite(floats(val_loss)))
        if finite.size:
            best = finite[np.argmin(floats(val_loss)[finite])]
            said = f"{fmt_loss(float(floats(val_loss)[best]))} at {_step_text(float(floats(val_steps)[best]))}"
            fields.append([("◆ ", "good"), ("best ", "dim"), (said, "bright")])
    if len(data.series) > 1:
        _shorten(fields, width - area.x)
    used = 1 if pointed else area.x
    row: list[Part] = [(" " * used, "")]
    for one_field in fields:
        size = width_of(one_field)
        if used + size > width:
            break
        row += [*one_field, ("   ", "")]
        used += size + 3
    return row if used <= width else row[:-1]


def _ends(data: PlotData, memory: Memory, area: Area) -> tuple[float, float] | None:
    """The least and the greatest value in the cell column of the crosshair."""
    column = area.column(data.x_of(data.cursor)) if data.cursor is not None else None
    if column is None or memory.columns is None:
        return None
    dots = slice(2 * (column - area.x), 2 * (column - area.x) + 2)
    low, high = memory.columns.low[dots], memory.columns.high[dots]
    if not np.isfinite(low).any():
        return None
    return float(np.nanmin(low)), float(np.nanmax(high))


def _shorten(fields: list[list[Part]], width: int) -> None:
    """Make the names of overlaid runs fit: first without their values, then cut to equal shares."""
    numbered = [one_field for one_field in fields if len(one_field) == 3]
    if sum(width_of(one_field) + 3 for one_field in fields) - 3 <= width:
        return
    for one_field in numbered:
        del one_field[2]
    if sum(width_of(one_field) + 3 for one_field in fields) - 3 > width:
        share = max(3, (width - 3 * (len(fields) - 1)) // len(fields) - 2)
        for one_field in numbered:
            name, look = one_field[1]
            one_field[1] = (fit(name, min(share, cell_len(name))), look)
