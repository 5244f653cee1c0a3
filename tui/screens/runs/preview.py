"""The curve of the run under the cursor of the list, read beside the screen."""

from __future__ import annotations

from typing import TYPE_CHECKING

from textual.app import ComposeResult
from textual.content import Content

from tui.state.reading import Reading, one_line
from tui.state.summary import latest
from tui.text import clean, fit
from tui.widgets.pane import Pane
from tui.widgets.plot import LossPlot, PlotData

if TYPE_CHECKING:
    from engine.runs.layout import RunDir
    from engine.runs.reader import RunReader

EMPTY = "the loss of the chosen run"
REST = 1  # polls that the cursor must rest on a run before it is read


class RunPreview(Pane):
    """Shows one run's loss; a run of a million steps is read in a thread and shown when it is there."""

    title = "loss"

    def __init__(self) -> None:
        super().__init__(id="preview")
        self._wanted: RunDir | None = None
        self._rested = 0
        self._reading: Reading | None = None
        self._reader: RunReader | None = None

    def compose(self) -> ComposeResult:
        plot = LossPlot(PlotData(empty=EMPTY))
        plot.can_focus = False
        yield plot

    @property
    def shown(self) -> RunDir | None:
        """The run whose curve is on the screen."""
        return self._reader.run if self._reader is not None else None

    def look_at(self, run: RunDir | None) -> None:
        """Show this run as soon as the cursor rests on it; of the one before nothing stays."""
        if run != self._wanted:
            self._wanted, self._rested, self._reading, self._reader = run, 0, None, None
            self.query_one(LossPlot).clear(EMPTY)
            self.say_title(Content("loss"))
            self._say("")

    def tick(self) -> None:
        """Called at every poll of the app."""
        if not self.display or self._wanted is None:
            return
        self._rested += 1
        if self._reading is None:
            if self._rested > REST:
                self._reading = Reading(self._wanted)
        elif self._reading.done:
            self._follow(self._reading)

    def _follow(self, reading: Reading) -> None:
        """Show what was read, and what was added since; a run that cannot be read is left alone until the cursor comes
        back to it."""
        reader = reading.reader
        try:
            changed = reader is not None and reader.poll()
        except Exception as error:  # damaged since it was read
            reading.reader, reading.error = None, one_line(error)
        if reading.reader is None:
            self._say(reading.error)
        elif changed or self._reader is None:
            self._reader = reader
            self._draw()

    def _draw(self) -> None:
        reader = self._reader
        if reader is None:
            return
        series, now = reader.series, latest(reader)
        self.query_one(LossPlot).show(
            PlotData.run(
                series.step,
                series.loss,
                series.val_step,
                series.val_loss,
                name=reader.run.name,
                checkpoints=tuple(point["step"] for point in reader.checkpoints()),
                total_steps=now.steps or None,
                empty="this run has no step yet",
            )
        )
        self.say_title(Content.assemble(("loss  ", ""), (clean(reader.run.name, keep_newlines=False), "bold $bright")))
        self._say(str(reader.status.get("problem") or reader.status.get("message") or ""))

    def _say(self, text: str) -> None:
        room = max(10, self.size.width - 8)
        self.say_below(Content.styled(fit(text, min(len(text), room)), "$alarm") if text else Content(""))
