"""A gauge in one row: `━━━━━━━╸──`."""

from __future__ import annotations

import math


def bar(fraction: float, width: int) -> tuple[str, str]:
    """The filled and the empty part of a bar of `width` cells, to half a cell; never empty for a fraction above 0."""
    fraction = 0.0 if not math.isfinite(fraction) else min(1.0, max(0.0, fraction))
    halves = round(2 * width * fraction)
    if fraction > 0:
        halves = max(1, halves)
    if fraction < 1:
        halves = min(halves, 2 * width - 1)
    full = "━" * (halves // 2) + "╸" * (halves % 2)
    return full[:width], "─" * (width - len(full))
