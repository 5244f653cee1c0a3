"""The curve of the run under the cursor of the list, read beside the screen."""

from __future__ import annotations

import threading
from collections import deque
from typing import TYPE_CHECKING

from textual.app import ComposeResult
from textual.content import Content

from engine.errors import UserError
from tui.panes.pane import Pane
from tui.text import clean, fit
from tui.view import latest
from tui.widgets.plot import LossPlot, PlotData

if TYPE_CHECKING:
    from engine.runs.layout import RunDir
    from engine.runs.reader import RunReader

REST = 1  # polls that the cursor must rest on a run before it is read


class RunPreview(Pane):
    """Shows one run's loss; a run of a million steps is read in a thread and shown when it is there."""

    title = "loss"

    def __init__(self) -> None:
        super().__init__(id="preview")
        self._wanted: RunDir | None = None
        self._rested = 0
        self._reader: RunReader | None = None
        self._read: deque[RunReader | str] = deque()
        self._reading = False

    def compose(self) -> ComposeResult:
        plot = LossPlot(PlotData(empty="the loss of the chosen run"))
        plot.can_focus = False
        yield plot

    @property
    def shown(self) -> RunDir | None:
        """The run whose curve is on the screen."""
        return self._reader.run if self._reader is not None else None

    def look_at(self, run: RunDir | None) -> None:
        """Show this run as soon as the cursor rests on it."""
        if run != self._wanted:
            self._wanted, self._rested, self._reader = run, 0, None

    def tick(self) -> None:
        """Called at every poll of the app."""
        if not self.display:
            return
        while self._read:
            found = self._read.popleft()
            self._reading = False
            if isinstance(found, str):
                self._say(found)
            elif found.run == self._wanted:
                self._reader = found
                self._draw()
        self._rested += 1
        if self._reader is not None:
            if self._reader.poll():
                self._draw()
        elif self._wanted is not None and not self._reading and self._rested > REST:
            self._reading = True
            threading.Thread(target=self._load, args=(self._wanted,), name="preview", daemon=True).start()

    def _load(self, run: RunDir) -> None:
        from engine.runs.reader import RunReader

        try:
            reader = RunReader(run)
            reader.poll()
        except (UserError, OSError) as error:
            self._read.append(str(error))
            return
        self._read.append(reader)

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
