"""The loss chart as rows of text: what `LossPlot` shows and `tinytui runs plot` prints.

    data = PlotData.run(steps, loss, val_steps, val_loss, checkpoints=(500, 1000), total_steps=5000)
    data = PlotData((Series("a", …), Series("b", …)))           # several runs over each other
    print(draw_text(data, 100, 24, color=True))

Behind the smoothed line lies the band of the least and greatest loss of each column, in one calm tint. The y range of
the `auto` scale is that of what comes after the warm-up, and what lies beyond it stands as `▲ 6.0` at the edge, so that
no spike is hidden; losses that are NaN or infinite stand as red `×` at the top. Colours are always doubled by a mark
or a word.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from tui.text import Row, nothing
from tui.widgets.axes import frame, legend
from tui.widgets.curves import ChartState, curve_cells, y_limits
from tui.widgets.plotdata import Area, PlotData, Series, View

__all__ = ["Area", "ChartState", "Picture", "PlotData", "Series", "View", "draw", "draw_text"]

MAX_SERIES = 8


class Picture(NamedTuple):
    """Rows of runs, and where in them the curves lie (None when there are none)."""

    rows: Sequence[Row]
    area: Area | None


def draw(
    data: PlotData,
    width: int,
    height: int,
    view: View | None = None,
    state: ChartState | None = None,
    tinted: bool = True,
) -> Picture:
    """The picture of `data` in width x height cells (from 8x1). Where there is no tint, the band is a light pattern."""
    view, state = view or View(), state or ChartState()
    data = replace(data, series=data.series[:MAX_SERIES])
    if not any(np.size(one.steps) or np.size(one.val_steps) for one in data.series):
        return Picture(nothing(data.empty, width)[:height], None)
    window = view.window or data.span
    area = _layout(width, height, window)
    half_life, dots = data.smoothing * view.smooth, 2 * area.width
    memories = [state.update(i, one, half_life, window, dots, view.log) for i, one in enumerate(data.series)]
    limits = y_limits(data, memories, window, view.scale, state)
    cells = curve_cells(data, memories, area, limits, view.log, tinted)
    rows = frame(data, cells, area, limits, view.log, width, height)
    if area.y:
        rows[0] = legend(data, memories, area, width)
    return Picture(rows, area)


def _layout(width: int, height: int, window: tuple[float, float]) -> Area:
    left = 7 if width >= 30 else 0
    top = 1 if height >= 5 else 0
    bottom = 2 if height >= 7 else 1 if height >= 4 else 0
    right = 1 if left else 0
    return Area(left, top, max(1, width - left - right), max(1, height - top - bottom), *window)


_SGR = {
    "train": "94",
    "val": "33",
    "good": "32",
    "alarm": "91",
    "dim": "2",
    "bright": "",
    "band": "34",
    "rule": "90",
    **{f"series-{index + 1}": code for index, code in enumerate(("94", "95", "92", "91", "96", "93", "33", "97"))},
}


def draw_text(data: PlotData, width: int, height: int, color: bool, log: bool = False) -> str:
    """The chart as lines of text for a pipe or a terminal; without `color` there is not one escape sequence in it."""
    lines = []
    for row in draw(data, width, height, View(scale="log" if log else "auto"), tinted=False).rows:
        parts = []
        for text, look in row:
            words = look.split(" on ")[0].split()
            code = ";".join(filter(None, (_SGR.get(words[0], ""), "1" if "bold" in words else ""))) if words else ""
            parts.append(f"\x1b[{code}m{text}\x1b[0m" if color and code and text.strip() else text)
        lines.append("".join(parts).rstrip())
    return "\n".join(lines)
