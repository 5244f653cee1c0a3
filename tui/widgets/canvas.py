"""Braille drawing surfaces: polylines by plotext, filled bands by numpy. Dots count from the lower left corner.

A cell is two dots wide and four high. plotext is imported with the first line (or by `warm`), not before: it takes time
that the first paint does not have.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from tui.widgets.reduce import Floats, Ints

_BITS = np.array([[0x01, 0x08], [0x02, 0x10], [0x04, 0x20], [0x40, 0x80]])
_token = re.compile(r"\x1b\[0m|\x1b\[38;5;(\d+)m|([^\x1b]+)")

Polyline = tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]
"""Dot columns and dot rows of the points to be joined, in order."""
Dot = tuple[int, int, str, int]
"""A drawn cell: row from the top, column, braille character, index of its line."""


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
_drawn: tuple[object, list[Dot]] | None = None


def warm() -> None:
    """Import plotext ahead of the first chart; it takes a tenth of a second, in any thread."""
    importlib.import_module("plotext")


def thin(xs: Ints, ys: Ints) -> Polyline:
    """The polyline without points inside a straight horizontal run: the same dots from fewer points."""
    if xs.size < 3:
        return xs, ys
    keep = np.ones(xs.size, dtype=bool)
    keep[1:-1] = (ys[1:-1] != ys[:-2]) | (ys[1:-1] != ys[2:])
    return xs[keep], ys[keep]


def draw_lines(lines: Sequence[Polyline], width: int, height: int) -> list[Dot]:
    """The cells of a width x height canvas that the polylines touch.

    Where lines share a cell their dots are joined and the later line owns it. Points outside the canvas are cut. Lines
    that have not moved by a dot since the last call are not drawn again: most frames of a long run are like the last.
    """
    global _figure, _drawn
    index = [i for i, line in enumerate(lines) if line[0].size]
    drawn = [thin(*lines[i]) for i in index]
    key = (width, height, index, [(xs.tobytes(), ys.tobytes()) for xs, ys in drawn])
    if _drawn is None or _drawn[0] != key:
        if _figure is None:
            _figure = _Figure()
        _drawn = key, _parse(_figure.draw(drawn, width, height), index, width, height) if drawn else []
    return _drawn[1]


def _parse(text: str, index: list[int], width: int, height: int) -> list[Dot]:
    """The drawn cells of plotext's string, whose colour i + 1 stands for line index[i]."""
    cells: list[Dot] = []
    for y, line in enumerate(text.split("\n")[:height]):
        x, owner = 0, -1
        for match in _token.finditer(line):
            code, run = match.groups()
            if run is None:
                owner = -1 if code is None else index[int(code) - 1]
                continue
            if owner >= 0:
                stop = x + min(len(run), width - x)
                cells += [(y, at, run[at - x], owner) for at in range(x, stop) if run[at - x] not in " \u2800"]
            x += len(run)
    return cells


def draw_band(low: Floats, high: Floats, width: int, height: int) -> Ints:
    """(height, width) braille patterns (0..255) with every dot from low[c] to high[c] of dot column c set.

    low, high: (2 * width,) dot rows, NaN where there is nothing; what lies outside the canvas is cut at its edge.
    """
    with np.errstate(invalid="ignore"):
        some = np.isfinite(low)
        bottom = np.where(some, np.clip(low, 0, 4 * height - 1), 4 * height)
        top = np.where(some, np.clip(high, 0, 4 * height - 1), -1)
    dots = np.arange(4 * height - 1, -1, -1)[:, None]
    filled = (dots >= bottom) & (dots <= top)
    patterns: Ints = (filled.reshape(height, 4, width, 2) * _BITS[None, :, None, :]).sum(axis=(1, 3))
    return patterns
