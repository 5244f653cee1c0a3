"""The loss of the run under the cursor of the table."""

from __future__ import annotations

from textual.app import ComposeResult
from textual.content import Content

from engine.runs.layout import RunDir
from tui.state.reading import Follower, Look
from tui.state.session import LOOK_EVERY, Session
from tui.text import clean, fit
from tui.widgets.pane import Pane
from tui.widgets.plot import LossPlot, PlotData

EMPTY = "the loss of the chosen run"
REST = 1  # polls that the cursor must rest on a run before it is read


class RunPreview(Pane):
    """Shows one run's loss; a run of a million steps is shown when it has been read."""

    title = "loss"

    def __init__(self, session: Session) -> None:
        super().__init__(id="preview")
        self._session = session
        self._wanted: RunDir | None = None
        self._rested = 0
        self.shown: RunDir | None = None
        """The run whose curve is on the screen."""

    def compose(self) -> ComposeResult:
        plot = LossPlot(PlotData(empty=EMPTY))
        plot.can_focus = False
        yield plot

    def on_unmount(self) -> None:
        self._session.reads.drop("preview")

    def look_at(self, run: RunDir | None) -> None:
        """Show this run as soon as the cursor rests on it; of the one before nothing stays."""
        if run != self._wanted:
            self._wanted, self._rested, self.shown = run, 0, None
            self._session.reads.drop("preview")
            self.query_one(LossPlot).clear(EMPTY)
            self.say_title(Content("loss"))
            self._say("")

    def tick(self) -> None:
        """Called at every poll of the app."""
        if self.display and self._wanted is not None:
            self._rested += 1
            if self._rested == REST + 1:
                look = Follower(self._wanted).look
                self._session.reads.ask("preview", look, self._draw, self._say, every=LOOK_EVERY)

    def _draw(self, look: Look) -> None:
        view, series = look.view, look.view.series
        self.shown = view.run
        self.query_one(LossPlot).show(
            PlotData.run(
                series.step,
                series.loss,
                series.val_step,
                series.val_loss,
                name=view.run.name,
                checkpoints=tuple(point["step"] for point in view.checkpoints),
                total_steps=look.now.steps or None,
                empty="this run has no step yet",
            )
        )
        self.say_title(Content.assemble(("loss  ", ""), (clean(view.run.name, keep_newlines=False), "bold $bright")))
        self._say(str(view.status.get("problem") or view.status.get("message") or ""))

    def _say(self, text: str) -> None:
        room = max(10, self.size.width - 8)
        self.say_below(Content.styled(fit(text, min(len(text), room)), "$alarm") if text else Content(""))
