"""The loss pane: the curve of the run, and under it what went wrong."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING, ClassVar

from textual.app import ComposeResult

from tui.state.summary import Latest
from tui.text import clean
from tui.widgets.pane import Pane
from tui.widgets.plot import LossPlot, PlotData
from tui.widgets.rows import Rows

if TYPE_CHECKING:
    from engine.runs.reader import RunView

MOST_LINES = 3
EMPTY = "the loss is drawn here from the first step on"


class LossPane(Pane):
    """Train loss smoothed over its min/max band, validation loss, checkpoints, and the step the reader points at."""

    scope = "loss"
    title = "loss"
    about: ClassVar[tuple[str, ...]] = (
        "Cross entropy, nats a token. Train is smoothed over the band of its least",
        "and greatest value in each column, so no spike is hidden; validation is",
        "exact, over the whole held-out part. ▲ marks checkpoints.",
        "+ and - zoom, ← → pan, 0 shows the whole run, L is a log scale;",
        "[ and ] point at the checkpoint before and after, and turn the samples.",
    )

    def __init__(self) -> None:
        super().__init__(id="loss")
        self._problem = ""

    def compose(self) -> ComposeResult:
        yield LossPlot(PlotData(empty=EMPTY))
        yield Rows(id="problem")

    def focus_target(self) -> None:
        self.query_one(LossPlot).focus()

    def clear(self) -> None:
        """Draw no run; the next one is seen whole, whatever was zoomed into before."""
        self.query_one(LossPlot).clear(EMPTY)
        self.say_problem("")

    def show(self, view: RunView, now: Latest, cursor: int | None, problem: str = "") -> None:
        """Draw the run as it stands; `cursor` is the step of the sample shown, `problem` what else is to be said."""
        series = view.series
        self.query_one(LossPlot).show(
            PlotData.run(
                series.step,
                series.loss,
                series.val_step,
                series.val_loss,
                checkpoints=tuple(point["step"] for point in view.checkpoints),
                cursor=cursor,
                total_steps=now.steps or None,
                empty=EMPTY,
            )
        )
        self.say_problem(problem or str(view.status.get("problem") or view.status.get("message") or ""))

    def say_problem(self, problem: str) -> None:
        """What went wrong, in a few lines under the curve; nothing takes them away."""
        self._problem = problem
        room = max(16, self.size.width - 6)
        lines = textwrap.wrap(clean(problem, keep_newlines=False), room)[: max(MOST_LINES, self.size.height // 2)]
        rows = self.query_one("#problem", Rows)
        rows.display = bool(lines)
        if lines:
            rows.styles.height = len(lines)
            rows.show([[("✖ " if i == 0 else "  ", "alarm bold"), (line, "alarm")] for i, line in enumerate(lines)])

    def on_resize(self) -> None:
        self.say_problem(self._problem)
