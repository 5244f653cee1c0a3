"""What a loss chart shows: `Series`, `PlotData`, the `View` of it, and the `Area` it takes in the picture."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from tui.widgets.reduce import column_of

Array = npt.NDArray[Any]

EMPTY = "the loss will be drawn here; n starts a run"


@dataclass(frozen=True, eq=False)
class Series:
    """One run: train loss (N,) at steps (N,), validation loss (M,) at val_steps (M,); steps never decrease."""

    name: str
    steps: npt.ArrayLike
    loss: npt.ArrayLike
    val_steps: npt.ArrayLike = ()
    val_loss: npt.ArrayLike = ()

    def arrays(self) -> tuple[Array, Array, Array, Array]:
        """steps, loss, val_steps, val_loss as arrays, not copied where they are arrays already."""
        return np.asarray(self.steps), np.asarray(self.loss), np.asarray(self.val_steps), np.asarray(self.val_loss)


@dataclass(frozen=True, eq=False)
class PlotData:
    """A snapshot to draw. The arrays may be views of growing ones: only what is in them now is read."""

    series: tuple[Series, ...] = ()
    checkpoints: tuple[int, ...] = ()
    cursor: int | None = None
    pointers: tuple[tuple[str, int], ...] = ()
    total_steps: int | None = None
    half_life: float | None = None
    empty: str = EMPTY

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
        """The snapshot of one run. `cursor` is a step, `pointers` are steps with a letter; `total_steps` fixes the x
        axis while the run grows."""
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
        return 0.0, float(max(last, self.total_steps)) if self.total_steps else _round_up(last)


def _round_up(step: int) -> float:
    power = 10.0 ** max(1, len(str(max(1, step))) - 1)
    return next(m * power for m in (1, 1.5, 2, 3, 4, 5, 6, 8, 10, 15) if m * power >= step)


class Area(NamedTuple):
    """Where the curves lie in the picture, in cells, and the steps at the ends of it."""

    x: int
    y: int
    width: int
    height: int
    first: float
    last: float

    def column(self, step: float) -> int | None:
        """The cell column, from the left of the picture, of a step; None when it is out of the window."""
        if not self.first <= step <= self.last:
            return None
        return self.x + int(column_of([step], self.first, self.last, 2 * self.width)[0]) // 2

    def step(self, column: int) -> int:
        """The step under a cell column of the picture."""
        fraction = (column - self.x + 0.25) * 2 / max(1, 2 * self.width - 1)
        return round(self.first + min(1.0, max(0.0, fraction)) * (self.last - self.first))


@dataclass(frozen=True)
class View:
    """What of the data is looked at: a window of steps (None: all of it), and whether y is logarithmic."""

    window: tuple[float, float] | None = None
    log: bool = False
