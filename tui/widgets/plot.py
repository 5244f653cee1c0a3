"""`LossPlot`: the live loss chart. The drawing itself is in chart.py.

    plot = LossPlot()
    plot.show(PlotData.run(steps, loss, val_steps, val_loss, checkpoints=…, cursor=…, total_steps=…))
    plot.show(PlotData((Series("a", …), Series("b", …))))       # runs over each other
    plot.look = ChartLook()                                     # how it is looked at, kept by whoever shows it
    plot.zoom(2.0), plot.zoom(0.5), plot.pan(0.25), plot.reset(), plot.turn("scale")
    on LossPlot.CursorMoved(plot, step): the reader pointed at a step; the chart draws the crosshair when the next
    snapshot carries it, so that one owner moves it everywhere.

Keys: + - zoom, ← → pan, 0 the whole run, y X the axes, e smoothing, [ ] the crosshair, `,` and `.` take it from
checkpoint to checkpoint.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from threading import Thread
from typing import ClassVar

from textual import events
from textual.binding import BindingType
from textual.message import Message

from tui.actions import bindings
from tui.state.chart import AXES, SCALES, SMOOTHING, ChartLook, Mark, after
from tui.text import Row, fit
from tui.theme import ANSI
from tui.widgets.axes import marks_in
from tui.widgets.canvas import warm
from tui.widgets.chart import MAX_SERIES, Area, ChartState, PlotData, Series, View, draw, draw_text
from tui.widgets.curves import Memory, averaged
from tui.widgets.paint import Painted

__all__ = ["LossPlot", "PlotData", "Series", "View", "draw_text"]

MIN_WINDOW = 4.0  # steps, tokens or seconds
AT_ONCE = 1_000_000
"""Points that are averaged while the screen waits, some 30 ms on a slow machine; more are averaged beside it."""


class LossPlot(Painted, can_focus=True):
    """The loss of one run or several; see the module's text."""

    DEFAULT_CSS = "LossPlot { height: 1fr; width: 1fr; min-height: 1; }"
    BINDINGS: ClassVar[list[BindingType]] = bindings("plot")
    scope = "plot"

    @dataclass
    class CursorMoved(Message):
        """The reader pointed at `step`, or at nothing any more."""

        plot: LossPlot
        step: int | None

        @property
        def control(self) -> LossPlot:
            return self.plot

    @dataclass
    class Turned(Message):
        """It is looked at in another way."""

        plot: LossPlot

    def __init__(self, data: PlotData | None = None, *, id: str | None = None, classes: str | None = None) -> None:
        super().__init__(id=id, classes=classes)
        self._data = data or PlotData()
        self.look = ChartLook()
        self._state = ChartState()
        self._area: Area | None = None
        self._averaging: tuple[int, float] | None = None

    def on_mount(self) -> None:
        self.call_after_refresh(Thread(target=warm, name="import-plotext", daemon=True).start)

    @property
    def data(self) -> PlotData:
        """The snapshot shown."""
        return self._data

    @property
    def view(self) -> View:
        """Window, scales and smoothing."""
        return self.look.view

    def show(self, data: PlotData) -> None:
        """Show a snapshot. While the widget is hidden it is only kept."""
        if [one.name for one in data.series] != [one.name for one in self._data.series]:
            self._state = ChartState()
        self._data = data
        if self.view.window is not None and self.view.window[1] > data.span[1]:  # a run begun anew is shorter
            self.look.turn(window=None)
        self.repaint()

    def clear(self, empty: str) -> None:
        """Show nothing but a word about it; the next snapshot is of something else, and seen whole."""
        self._state, self.look = ChartState(), ChartLook()
        self._data = PlotData(empty=empty)
        self.repaint()

    def zoom(self, factor: float) -> None:
        """Show 1/factor of the present window, around the cursor if it is in it, else around the newest point."""
        first, last = self._window
        full_first, full_last = self._data.span
        size = max(MIN_WINDOW, (last - first) / factor)
        if size >= full_last - full_first:
            self.reset()
            return
        cursor = None if self._data.cursor is None else self._data.x_of(self._data.cursor)
        newest = self._data.x_of(self._data.last_step)
        focus = cursor if cursor is not None and first <= cursor <= last else min(last, max(first, newest))
        start = focus - (focus - first) / (last - first) * size
        self._look_at(start, size)

    def pan(self, fraction: float) -> None:
        """Move the window by a fraction of itself."""
        first, last = self._window
        self._look_at(first + fraction * (last - first), last - first)

    def reset(self) -> None:
        """Show the whole run."""
        self.look.turn(window=None)
        self.repaint()

    def turn(self, what: str) -> None:
        """The next `scale`, `axis` or `smooth`ing; another axis shows the whole run."""
        kinds: tuple[object, ...] = {"scale": SCALES, "axis": AXES, "smooth": SMOOTHING}[what]
        self.look.turn(**{what: after(kinds, getattr(self.view, what))})
        if what == "axis":
            self.look.turn(window=None)
        self.repaint()
        self.post_message(self.Turned(self))

    @property
    def _window(self) -> tuple[float, float]:
        return self.view.window or self._data.span

    def _look_at(self, start: float, size: float) -> None:
        full_first, full_last = self._data.span
        start = min(max(start, full_first), max(full_first, full_last - size))
        whole = size >= full_last - full_first
        self.look.turn(window=None if whole else (start, start + size))
        self.repaint()

    def action_zoom(self, factor: float) -> None:
        self.zoom(factor)

    def action_pan(self, fraction: float) -> None:
        self.pan(fraction)

    def action_reset(self) -> None:
        self.reset()

    def action_turn(self, what: str) -> None:
        self.turn(what)

    def action_point(self, columns: int) -> None:
        """Move the crosshair by so many columns; where there is none, it comes at the newest step in sight."""
        area, data = self._area, self._data
        if area is None:
            return
        here = None if data.cursor is None else area.column(data.x_of(data.cursor))
        if here is None:
            newest = min(area.last, data.x_of(data.last_step))
            step = data.step_of(area.at(area.column(newest) or area.x))
        else:
            step = data.step_of(area.at(max(area.x, min(here + columns, area.x + area.width - 1))))
        self.post_message(self.CursorMoved(self, max(0, min(step, data.last_step))))

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        return self._data.cursor is not None if action == "point_nowhere" else True

    def action_point_nowhere(self) -> None:
        """Take the crosshair away."""
        self.post_message(self.CursorMoved(self, None))

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
            step = self._data.step_of(area.at(offset.x))
            self.post_message(self.CursorMoved(self, max(0, min(step, self._data.last_step))))

    def _average_beside(self, half_life: float) -> None:
        """Have all points averaged in a thread; then paint."""
        state, series = self._state, self._data.series[:MAX_SERIES]
        if self._averaging == (wanted := (id(state), half_life)):
            return
        self._averaging = wanted

        def average() -> None:
            found = averaged(series, half_life)
            with suppress(RuntimeError):  # the screen has ended
                self.app.call_from_thread(take, found)

        def take(found: dict[int, Memory]) -> None:
            if self._averaging == wanted and self._state is state and self.is_attached:
                self._averaging = None
                state.series.update(found)
                self.repaint()

        Thread(target=average, name="average", daemon=True).start()

    def paint(self, width: int, height: int) -> Sequence[Row]:
        half_life = self._data.smoothing * self.view.smooth
        if (behind := self._state.behind(self._data.series[:MAX_SERIES], half_life)) > AT_ONCE:
            self._average_beside(half_life)
            return [[(fit(f"averaging {behind:,} points …", width), "dim")]]
        tinted = not self.app.no_color and self.app.theme != ANSI
        rows, self._area = draw(self._data, width, height, self.view, self._state, tinted)
        return rows

    def pointed(self) -> list[Mark]:
        """What happened in the column of the crosshair."""
        area, data = self._area, self._data
        column = None if area is None or data.cursor is None else area.column(data.x_of(data.cursor))
        return marks_in(data, area).get(column, []) if area is not None and column is not None else []
