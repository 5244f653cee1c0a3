"""A series in one row of blocks: `▁▅▇▇▇▆▅▃▂`."""

from __future__ import annotations

from typing import Literal

import numpy as np
import numpy.typing as npt

BLOCKS = "▁▂▃▄▅▆▇"  # never the whole cell: one line of blocks under another stays apart from it
Keep = Literal["max", "mean"]


def spark(values: npt.ArrayLike, width: int, keep: Keep = "max", top: float | None = None) -> str:
    """`values` (N,) in `width` block characters, or N if fewer.

    Each character stands for an equal share of the series and shows its largest value (`max`, so no spike is lost) or
    its mean. The scale runs from zero, so that half the height is half the value and a speed that trembles by a percent
    is a level line; only what is negative takes it lower. It ends at the largest value, or at `top`. `×` where nothing
    in the share is finite.
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
    high = float(series[finite].max()) if top is None else top
    span = high - low
    scaled = (series - low) / span if span > 0 else np.zeros(series.size)
    levels = np.clip(np.where(finite, scaled, 0.0) * 6.999, 0, 6).astype(np.int64)
    return "".join(BLOCKS[level] if ok else "×" for level, ok in zip(levels.tolist(), finite.tolist(), strict=True))
