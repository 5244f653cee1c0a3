"""`LossPlot`: the live loss chart. The drawing itself is in chart.py.

    plot = LossPlot()
    plot.show(PlotData.run(steps, loss, val_steps, val_loss, checkpoints=…, cursor=…, total_steps=…))
    plot.show(PlotData((Series("a", …), Series("b", …))))       # runs over each other
    plot.zoom(2.0), plot.zoom(0.5), plot.pan(0.25), plot.reset(), plot.toggle_log()
    on LossPlot.CursorMoved(plot, step): the reader pointed at a step (mouse, or `[` and `]` from checkpoint to
    checkpoint); the chart draws the cursor when the next snapshot carries it, so that one owner moves it everywhere.

Keys: + - zoom, ← → pan, 0 the whole run, L log scale, [ ] cursor to the checkpoint before and after.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from threading import Thread
from typing import ClassVar

from textual import events
from textual.binding import BindingType
from textual.message import Message

from tui.actions import bindings
from tui.text import Row
from tui.widgets.canvas import warm
from tui.widgets.chart import Area, ChartState, PlotData, Series, View, draw, draw_text
from tui.widgets.paint import Painted

__all__ = ["LossPlot", "PlotData", "Series", "View", "draw_text"]

MIN_WINDOW = 4.0  # steps


class LossPlot(Painted, can_focus=True):
    """The loss of one run or several; see the module's text."""

    DEFAULT_CSS = "LossPlot { height: 1fr; width: 1fr; min-height: 1; }"
    BINDINGS: ClassVar[list[BindingType]] = bindings("plot")
    scope = "plot"

    @dataclass
    class CursorMoved(Message):
        """The reader pointed at `step`."""

        plot: LossPlot
        step: int

        @property
        def control(self) -> LossPlot:
            return self.plot

    def __init__(self, data: PlotData | None = None, *, id: str | None = None, classes: str | None = None) -> None:
        super().__init__(id=id, classes=classes)
        self._data = data or PlotData()
        self._view = View()
        self._state = ChartState()
        self._area: Area | None = None

    def on_mount(self) -> None:
        self.call_after_refresh(Thread(target=warm, name="import-plotext", daemon=True).start)

    @property
    def data(self) -> PlotData:
        """The snapshot shown."""
        return self._data

    @property
    def view(self) -> View:
        """Window and scale."""
        return self._view

    def show(self, data: PlotData) -> None:
        """Show a snapshot. While the widget is hidden it is only kept."""
        if {one.name for one in data.series} != {one.name for one in self._data.series}:
            self._forget()
        self._data = data
        if self._view.window is not None and self._view.window[1] > data.span[1]:  # a run begun anew is shorter
            self._view = replace(self._view, window=None)
        self.repaint()

    def clear(self, empty: str) -> None:
        """Show nothing but a word about it; the next snapshot is of something else, and seen whole."""
        self._forget()
        self._data = PlotData(empty=empty)
        self.repaint()

    def _forget(self) -> None:
        self._state, self._view = ChartState(), replace(self._view, window=None)

    def zoom(self, factor: float) -> None:
        """Show 1/factor of the present window, around the cursor if it is in it, else around the newest point."""
        first, last = self._window
        full_first, full_last = self._data.span
        size = max(MIN_WINDOW, (last - first) / factor)
        if size >= full_last - full_first:
            self.reset()
            return
        cursor = self._data.cursor
        focus = (
            cursor if cursor is not None and first <= cursor <= last else min(last, max(first, self._data.last_step))
        )
        start = focus - (focus - first) / (last - first) * size
        self._look_at(start, size)

    def pan(self, fraction: float) -> None:
        """Move the window by a fraction of itself."""
        first, last = self._window
        self._look_at(first + fraction * (last - first), last - first)

    def reset(self) -> None:
        """Show the whole run."""
        self._view = replace(self._view, window=None)
        self.repaint()

    def toggle_log(self) -> None:
        """Logarithmic loss, or linear again."""
        self._view = replace(self._view, log=not self._view.log)
        self.repaint()

    @property
    def _window(self) -> tuple[float, float]:
        return self._view.window or self._data.span

    def _look_at(self, start: float, size: float) -> None:
        full_first, full_last = self._data.span
        start = min(max(start, full_first), max(full_first, full_last - size))
        whole = size >= full_last - full_first
        self._view = replace(self._view, window=None if whole else (start, start + size))
        self.repaint()

    def action_zoom(self, factor: float) -> None:
        self.zoom(factor)

    def action_pan(self, fraction: float) -> None:
        self.pan(fraction)

    def action_reset(self) -> None:
        self.reset()

    def action_toggle_log(self) -> None:
        self.toggle_log()

    def action_checkpoint(self, direction: int) -> None:
        """Point at the checkpoint before or after the cursor."""
        at = self._data.cursor if self._data.cursor is not None else self._data.last_step + 1
        if direction < 0:
            step = max((step for step in self._data.checkpoints if step < at), default=None)
        else:
            step = min((step for step in self._data.checkpoints if step > at), default=None)
        if step is not None:
            self.post_message(self.CursorMoved(self, step))

    def on_click(self, event: events.Click) -> None:
        offset = event.get_content_offset(self)
        area = self._area
        if offset is not None and area is not None and area.x <= offset.x < area.x + area.width:
            self.post_message(self.CursorMoved(self, area.step(offset.x)))

    def paint(self, width: int, height: int) -> Sequence[Row]:
        rows, self._area = draw(self._data, width, height, self._view, self._state)
        return rows
