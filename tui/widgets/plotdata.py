"""What a chart shows: `Series`, `PlotData`, the `View` of it, and the `Area` it takes in the picture."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from tui.state.chart import Axis, Mark, View
from tui.text import fmt_loss
from tui.widgets.reduce import column_of, default_half_life

__all__ = ["Area", "PlotData", "Series", "View"]

Array = npt.NDArray[Any]

EMPTY = "the loss will be drawn here; n starts a run"


@dataclass(frozen=True, eq=False)
class Series:
    """One run: train loss (N,) at steps (N,), validation loss (M,) at val_steps (M,); steps never decrease.

    xs (N,) and val_xs (M,) say where they stand on the x axis where that is not the steps; they never decrease either.
    """

    name: str
    steps: npt.ArrayLike
    loss: npt.ArrayLike
    val_steps: npt.ArrayLike = ()
    val_loss: npt.ArrayLike = ()
    xs: npt.ArrayLike | None = None
    val_xs: npt.ArrayLike | None = None

    def arrays(self) -> tuple[Array, Array, Array, Array]:
        """steps, loss, val_steps, val_loss as arrays, not copied where they are arrays already."""
        return np.asarray(self.steps), np.asarray(self.loss), np.asarray(self.val_steps), np.asarray(self.val_loss)

    @property
    def x(self) -> Array:
        """(N,) where the losses stand on the x axis."""
        return np.asarray(self.steps if self.xs is None else self.xs)

    @property
    def val_x(self) -> Array:
        """(M,) where the validation losses stand on the x axis."""
        return np.asarray(self.val_steps if self.val_xs is None else self.val_xs)


@dataclass(frozen=True, eq=False)
class PlotData:
    """A snapshot to draw. The arrays may be views of growing ones: only what is in them now is read.

    cursor is the step of the crosshair, pointers are steps with a letter, marks stand on the x axis; lr (N,) goes with
    the first series and is said under the crosshair; label and say name its values; warmup is the number of steps that
    the range of an `auto` scale leaves out.
    """

    series: tuple[Series, ...] = ()
    checkpoints: tuple[int, ...] = ()
    cursor: int | None = None
    pointers: tuple[tuple[str, int], ...] = ()
    total_steps: int | None = None
    half_life: float | None = None
    empty: str = EMPTY
    axis: Axis = "steps"
    marks: tuple[Mark, ...] = ()
    lr: npt.ArrayLike = ()
    warmup: int = 0
    label: str = "train"
    say: Callable[[float | None], str] = fmt_loss

    @classmethod
    def run(
        cls,
        steps: npt.ArrayLike,
        loss: npt.ArrayLike,
        val_steps: npt.ArrayLike = (),
        val_loss: npt.ArrayLike = (),
        *,
        name: str = "",
        checkpoints: tuple[int, ...] = (),
        cursor: int | None = None,
        pointers: tuple[tuple[str, int], ...] = (),
        total_steps: int | None = None,
        empty: str = EMPTY,
    ) -> PlotData:
        """The snapshot of one run. `total_steps` fixes the x axis while the run grows."""
        one = Series(name, steps, loss, val_steps, val_loss)
        return cls((one,), checkpoints, cursor, pointers, total_steps, None, empty)

    @property
    def last_step(self) -> int:
        """The newest step of all series, 0 without any."""
        return max(
            (int(np.asarray(s)[-1]) for one in self.series for s in (one.steps, one.val_steps) if np.size(s)), default=0
        )

    @property
    def span(self) -> tuple[float, float]:
        """The whole x axis: from 0 to the planned end, or a round number past the newest step."""
        last = self.last_step
        if self.axis == "steps":
            return 0.0, float(max(last, self.total_steps)) if self.total_steps else _round_up(last)
        known = self.x_of(last)
        planned = self.x_of(self.total_steps) if self.total_steps and self.axis == "tokens" else 0.0
        return 0.0, planned if planned > known else _round_up(math.ceil(known))

    @property
    def smoothing(self) -> float:
        """The half-life of the average, in steps."""
        steps = float(max(self.last_step, self.total_steps or _round_up(self.last_step)))
        return self.half_life if self.half_life is not None else default_half_life(max(steps, 1.0))

    def x_of(self, step: float) -> float:
        """Where a step stands on the x axis; beyond the newest as far on as the run went on average."""
        if self.axis == "steps" or not self.series or not np.size(self.series[0].steps):
            return float(step)
        steps, xs = np.asarray(self.series[0].steps), self.series[0].x
        if step > steps[-1]:
            return float(xs[-1]) * step / max(1.0, float(steps[-1]))
        return float(np.interp(step, [0.0, *_around(steps, step)], [0.0, *_around(steps, step, xs)]))

    def xs_of(self, steps: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """(M,) where these steps (M,) stand on the x axis; those beyond the newest at the newest."""
        if self.axis == "steps" or not self.series or not np.size(self.series[0].steps):
            return steps
        return np.interp(steps, np.asarray(self.series[0].steps), self.series[0].x)

    def step_of(self, x: float) -> int:
        """The step that stands at `x` on the x axis."""
        if self.axis == "steps" or not self.series or not np.size(self.series[0].steps):
            return round(x)
        steps, xs = np.asarray(self.series[0].steps), self.series[0].x
        return int(steps[min(int(np.searchsorted(xs, x)), len(steps) - 1)])


def _around(steps: Array, step: float, values: Array | None = None) -> list[float]:
    """The steps before and after `step`, or what `values` has there."""
    at = int(np.searchsorted(steps, step))
    around: list[float] = (steps if values is None else values)[max(0, at - 1) : at + 1].tolist()
    return around


def _round_up(step: int) -> float:
    power = 10.0 ** max(1, len(str(max(1, step))) - 1)
    return next(m * power for m in (1, 1.5, 2, 3, 4, 5, 6, 8, 10, 15) if m * power >= step)


class Area(NamedTuple):
    """Where the curves lie in the picture, in cells, and what the x axis is at the ends of it."""

    x: int
    y: int
    width: int
    height: int
    first: float
    last: float

    def column(self, x: float) -> int | None:
        """The cell column, from the left of the picture, of `x`; None when it is out of the window."""
        if not self.first <= x <= self.last:
            return None
        return self.x + int(column_of([x], self.first, self.last, 2 * self.width)[0]) // 2

    def at(self, column: int) -> float:
        """What the x axis is under a cell column of the picture."""
        fraction = (column - self.x + 0.25) * 2 / max(1, 2 * self.width - 1)
        return self.first + min(1.0, max(0.0, fraction)) * (self.last - self.first)
