"""A gauge in one row: `gpu ━━━━━━━╸── 91%  64°C`.

meter = Meter("mem", label_width=4, text_width=16)
meter.show(0.42, "3.2/141 GiB")          # fraction 0..1 or None when unknown, text after the percentage
meter.show(0.97, "…", alarm=True)        # bar in the alarm colour, a `!` before the percentage
"""

from __future__ import annotations

import math

from tui.text import fit, fmt_percent
from tui.widgets.paint import Painted, Row


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


class Meter(Painted):
    """One row: label dim, bar, percentage and text bright; fixed widths, so nothing moves."""

    DEFAULT_CSS = "Meter { height: 1; width: 1fr; }"

    def __init__(
        self,
        label: str,
        *,
        label_width: int = 4,
        text_width: int = 0,
        id: str | None = None,
        classes: str | None = None,
    ) -> None:
        super().__init__(id=id, classes=classes)
        self.label, self.label_width, self.text_width = label, label_width, text_width
        self._state: tuple[float | None, str, bool] = (None, "", False)

    def show(self, fraction: float | None, text: str = "", *, alarm: bool = False) -> None:
        """Set the gauge; `None` draws an empty bar and `–`."""
        state = (fraction, text, alarm)
        if state != self._state:
            self._state = state
            self.repaint()

    def paint(self, width: int, height: int) -> list[Row]:
        fraction, text, alarm = self._state
        label_width = min(self.label_width, max(0, width - 10))
        text_width = self.text_width if width - label_width - self.text_width >= 13 else 0
        size = max(0, width - label_width - 6 - (text_width + 1 if text_width else 0))
        known = fraction is not None and math.isfinite(fraction)
        full, empty = bar(fraction if known and fraction is not None else 0.0, size)
        row: Row = [(fit(self.label, label_width), "dim"), (" ", "")]
        row += [(full, "alarm" if alarm else "train"), (empty, "rule")]
        row.append((("!" if alarm else " ") + fmt_percent(fraction), "alarm bold" if alarm else "bright"))
        if text_width:
            row.append((" " + fit(text, text_width, "right"), "bright"))
        return [row]
