"""A series in one row: `lr ▁▅▇▇▇▆▅▃▂ 9.1e-4`.

spark = Sparkline("|g|", label_width=4, value_width=8, keep="max")
spark.show(values, "0.41")     # any 1-D float array, oldest first; NaN and inf are gaps marked `×`
"""

from __future__ import annotations

from typing import Literal

import numpy as np
import numpy.typing as npt

from tui.text import fit
from tui.widgets.paint import Painted, Row

BLOCKS = "▁▂▃▄▅▆▇"  # never the whole cell: one line of blocks under another stays apart from it
Keep = Literal["max", "mean"]


def spark(values: npt.ArrayLike, width: int, keep: Keep = "max") -> str:
    """`values` (N,) in `width` block characters, or N if fewer.

    Each character stands for an equal share of the series and shows its largest value (`max`, so no spike is lost) or
    its mean. The scale runs from zero, so that half the height is half the value and a speed that trembles by a percent
    is a level line; only what is negative takes it lower. `×` where nothing in the share is finite.
    """
    series = np.asarray(values, dtype=np.float64)
    if series.size == 0 or width < 1:
        return ""
    if series.size > width:
        starts = np.arange(width) * series.size // width
        finite = np.isfinite(series)
        if keep == "max":
            shares = np.maximum.reduceat(np.where(finite, series, -np.inf), starts)
        else:
            counts = np.add.reduceat(finite.astype(np.int64), starts)
            sums = np.add.reduceat(np.where(finite, series, 0.0), starts)
            shares = np.where(counts > 0, sums / np.maximum(counts, 1), np.nan)
        series = shares
    finite = np.isfinite(series)
    if not finite.any():
        return "×" * series.size
    low = min(0.0, float(series[finite].min()))
    high = float(series[finite].max())
    span = high - low
    scaled = (series - low) / span if span > 0 else np.zeros(series.size)
    levels = np.clip(np.where(finite, scaled, 0.0) * 6.999, 0, 6).astype(np.int64)
    return "".join(BLOCKS[level] if ok else "×" for level, ok in zip(levels.tolist(), finite.tolist(), strict=True))


class Sparkline(Painted):
    """One row: label dim, blocks, value bright and right-aligned."""

    DEFAULT_CSS = "Sparkline { height: 1; width: 1fr; }"

    def __init__(
        self,
        label: str = "",
        *,
        label_width: int = 6,
        value_width: int = 8,
        keep: Keep = "max",
        look: str = "train",
        id: str | None = None,
        classes: str | None = None,
    ) -> None:
        super().__init__(id=id, classes=classes)
        self.label, self.label_width, self.value_width = label, label_width, value_width
        self.keep: Keep = keep
        self.look = look
        self._values: npt.NDArray[np.float64] = np.empty(0)
        self._text = ""

    def show(self, values: npt.ArrayLike, text: str = "") -> None:
        """Set the series (N,) and the value said after it."""
        self._values, self._text = np.asarray(values, dtype=np.float64), text
        self.repaint()

    def paint(self, width: int, height: int) -> list[Row]:
        label_width = min(self.label_width, max(0, width - self.value_width - 5)) if self.label else 0
        size = max(0, width - label_width - self.value_width - (2 if label_width else 1))
        drawn = spark(self._values, size, self.keep)
        row: Row = [(fit(self.label, label_width) + " ", "dim")] if label_width else []
        row += [(drawn, self.look), (" " * (size - len(drawn) + 1), "")]
        row.append((fit(self._text, self.value_width, "right"), "bright"))
        return [row]
