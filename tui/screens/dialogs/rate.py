"""Ask for the learning rate in force, and draw the rest of the schedule as it would become."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from tui.screens.dialogs.ask import AskScreen
from tui.state.chart import ChartLook, View
from tui.state.schedule import planned
from tui.text import fmt_lr
from tui.widgets.plot import LossPlot, PlotData, Series

LEAST_HEIGHT = 24
"""Rows of the terminal from which on there is room for the drawing."""


@dataclass(frozen=True, eq=False)
class Schedule:
    """A run (its run.json) with `rate` in force at `step`, and the rates (N,) at steps (N,) so far."""

    info: Mapping[str, Any]
    step: int
    rate: float | None
    steps: npt.ArrayLike
    rates: npt.ArrayLike


class RateScreen(AskScreen):
    """`AskScreen` with a drawing: the rates so far, as planned, and as they would become with what is typed."""

    def __init__(self, title: str, about: str, value: str, parse: Callable[[str], Any], schedule: Schedule) -> None:
        super().__init__(title, about, value, parse)
        self._schedule = schedule

    def on_mount(self) -> None:
        plot = LossPlot(PlotData(empty="the schedule is not known"))
        plot.can_focus, plot.look = False, ChartLook(View(scale="whole", smooth=0.0))
        plot.styles.height = 11
        self.box.mount(plot)
        super().on_mount()

    def on_resize(self) -> None:
        for plot in self.query(LossPlot):
            plot.display = self.size.height >= LEAST_HEIGHT
        super().on_resize()

    def _check(self, text: str) -> Any:
        value, now = super()._check(text), self._schedule
        series = [
            Series("until now", np.asarray(now.steps), np.asarray(now.rates)),
            Series("as planned", *planned(now.info, now.step, now.rate)),
        ]
        if isinstance(value, float) and value != now.rate:
            series.append(Series(f"with {fmt_lr(value)}", *planned(now.info, now.step, value)))
        known = tuple(each for each in series if np.size(each.steps))
        for plot in self.query(LossPlot):
            plot.show(PlotData(known, empty="the schedule is not known", say=fmt_lr))
        return value
