"""Braille drawing surfaces: polylines by plotext, filled bands by numpy. Dots count from the lower left corner.

A cell is two dots wide and four high. plotext is imported when the first line is drawn, not before: it takes a tenth of
a second that the first paint does not have.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from tui.widgets.reduce import Floats, Ints

BLANK = "\u2800"
_BITS = np.array([[0x01, 0x08], [0x02, 0x10], [0x04, 0x20], [0x40, 0x80]])
_token = re.compile(r"\x1b\[0m|\x1b\[38;5;(\d+)m|([^\x1b]+)")

Polyline = tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]
"""Dot columns and dot rows of the points to be joined, in order."""


class _Figure:
    """plotext's one figure, cleared of frame, ticks and colours: a bare canvas of cells."""

    def __init__(self) -> None:
        import plotext

        self._plotext: Any = plotext
        self._markers: dict[int, Any] = {}
        self._size = (0, 0)
        plotext.terminal.limit(False, False)

    def draw(self, lines: Sequence[Polyline], width: int, height: int) -> str:
        """The figure's string; the points of lines[i] carry colour i + 1."""
        figure = self._plotext.figure
        if self._size != (width, height):
            self._shape(width, height)
        figure.clear.data()
        for color, (xs, ys) in enumerate(lines, start=1):
            # Limits are the canvas' edges in cells, so half a dot further in is the middle of a dot.
            signal = figure.signal(((xs + 0.5) / 2).tolist(), ((ys + 0.5) / 4).tolist(), marker=self._marker(color))
            figure.draw(signal.lines())
        return str(figure.build().string())

    def _marker(self, color: int) -> Any:
        if color not in self._markers:
            self._markers[color] = self._plotext.marker("braille", self._plotext.pixel(foreground=color))
        return self._markers[color]

    def _shape(self, width: int, height: int) -> None:
        figure = self._plotext.figure
        figure.clear.all()
        figure.plot_size(width, height).axes(False).canvas("default").legend(False)
        for axis, size in ((0, width), (1, height)):
            for side in (0, 1):
                figure.ruler(axis, side).frequency(0)
            figure.ruler(axis, 0).lim(0, size).alignment(lim="edge")
        self._size = (width, height)


_figure: _Figure | None = None


def thin(xs: Ints, ys: Ints) -> Polyline:
    """The polyline without points inside a straight horizontal run: the same dots from fewer points."""
    if xs.size < 3:
        return xs, ys
    keep = np.ones(xs.size, dtype=bool)
    keep[1:-1] = (ys[1:-1] != ys[:-2]) | (ys[1:-1] != ys[2:])
    return xs[keep], ys[keep]


def draw_lines(lines: Sequence[Polyline], width: int, height: int) -> tuple[list[str], list[list[int]]]:
    """`height` rows of `width` characters (blank cells are spaces), and for each cell the index of its line, or -1.

    Where lines share a cell their dots are joined and the later line colours it. Points outside the canvas are cut.
    """
    global _figure
    drawn = [line for line in lines if line[0].size]
    if not drawn:
        return [" " * width] * height, [[-1] * width for _ in range(height)]
    if _figure is None:
        _figure = _Figure()
    index = [i for i, line in enumerate(lines) if line[0].size]
    rows, owners = [], []
    for line in _figure.draw([thin(*line) for line in drawn], width, height).split("\n")[:height]:
        characters: list[str] = []
        owner: list[int] = []
        color = -1
        for match in _token.finditer(line):
            code, text = match.groups()
            if text is None:
                color = -1 if code is None else index[int(code) - 1]
                continue
            characters.append(text)
            owner += [color] * len(text)
        rows.append("".join(characters).ljust(width)[:width])
        owners.append((owner + [-1] * width)[:width])
    return rows, owners


def draw_band(low: Floats, high: Floats, width: int, height: int) -> list[str]:
    """`height` rows of `width` characters with every dot from low[c] to high[c] of dot column c set.

    low, high: (2 * width,) dot rows, NaN where there is nothing; what lies outside the canvas is cut at its edge.
    """
    with np.errstate(invalid="ignore"):
        some = np.isfinite(low)
        bottom = np.where(some, np.clip(low, 0, 4 * height - 1), 4 * height)
        top = np.where(some, np.clip(high, 0, 4 * height - 1), -1)
    dots = np.arange(4 * height - 1, -1, -1)[:, None]
    filled = (dots >= bottom) & (dots <= top)
    codes = (filled.reshape(height, 4, width, 2) * _BITS[None, :, None, :]).sum(axis=(1, 3))
    return ["".join([chr(0x2800 + code) if code else " " for code in row]) for row in codes.tolist()]
