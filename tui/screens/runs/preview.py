"""The loss of the run under the cursor of the table, or of all that are marked, over each other."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

from textual.app import ComposeResult
from textual.content import Content

from engine.runs.layout import RunDir
from tui.state.reading import Follower, Look
from tui.state.session import LOOK_EVERY, Session
from tui.state.worker import Ticket
from tui.text import clean, fit
from tui.widgets.pane import Pane
from tui.widgets.rows import Rows

if TYPE_CHECKING:
    from tui.widgets.plot import LossPlot

EMPTY = "the loss of the chosen run"
REST = 1  # polls that the cursor must rest on a run before it is read


class RunPreview(Pane):
    """Shows the loss of one run or of several; runs of a million steps are shown when they have been read."""

    title = "loss"

    def __init__(self, session: Session) -> None:
        super().__init__(id="preview")
        self._session = session
        self._wanted: list[RunDir] = []
        self._rested = self._looked = 0
        self.shown: RunDir | None = None
        """The first run whose curve is on the screen."""
        self._plot: LossPlot | None = None

    def compose(self) -> ComposeResult:
        """Words in the plot's place: that loads NumPy, and the table does not wait for it."""
        words = Rows()
        words.show([[(EMPTY, "dim")]])
        yield words

    def on_unmount(self) -> None:
        self._session.reads.drop("preview")

    def look_at(self, runs: Sequence[RunDir]) -> None:
        """Show these runs as soon as the cursor rests; of those before nothing stays."""
        if list(runs) != self._wanted:
            self._wanted, self._rested, self._looked, self.shown = list(runs), 0, 0, None
            self._session.reads.drop("preview")
            if self._plot is not None:
                self._plot.clear(EMPTY)
            self.say_title(Content("loss"))
            self._say("")

    def tick(self) -> None:
        """Called at every poll of the app."""
        if self.display and self._wanted:
            self._rested += 1
            if self._rested == REST + 1:
                overlay = Overlay(self._wanted, self._session)
                look = partial(self._look, overlay)
                self._session.reads.ask("preview", look, self._draw, self._say, every=LOOK_EVERY)

    def _look(self, overlay: Overlay, ticket: Ticket) -> list[Look] | None:
        """Nothing is read while another screen is shown, where no poll comes from. For the worker's thread."""
        import tui.widgets.plot  # noqa: F401 - loaded here, where no key waits for it

        before, self._looked = self._looked, self._rested
        return overlay.look(ticket) if before != self._looked else None

    def _plotted(self) -> LossPlot:
        """The plot, which comes with the first curve."""
        from tui.widgets.plot import LossPlot

        if self._plot is None:
            self._plot = LossPlot()
            self._plot.can_focus = False
            self.query(Rows).remove()
            self.mount(self._plot)
        return self._plot

    def _draw(self, looks: list[Look]) -> None:
        from tui.widgets.plotdata import PlotData, Series

        self.shown = looks[0].view.run
        plot = self._plotted()
        names = [clean(look.view.run.name, keep_newlines=False) for look in looks]
        if len(looks) == 1:
            view, series = looks[0].view, looks[0].view.series
            plot.show(
                PlotData.run(
                    series.step,
                    series.loss,
                    series.val_step,
                    series.val_loss,
                    name=view.run.name,
                    checkpoints=tuple(point["step"] for point in view.checkpoints),
                    total_steps=looks[0].now.steps or None,
                    empty="this run has no step yet",
                )
            )
            self._say(str(view.status.get("problem") or view.status.get("message") or ""))
        else:
            curves = [
                Series(name, of.step, of.loss, of.val_step, of.val_loss)
                for name, of in zip(names, (look.view.series for look in looks), strict=True)
            ]
            plot.show(PlotData(tuple(curves), empty="these runs have no step yet"))
        self.say_title(
            Content.assemble(("loss  ", ""), (names[0] if len(names) == 1 else f"{len(names)} runs", "bold $bright"))
        )

    def _say(self, text: str) -> None:
        room = max(10, self.size.width - 8)
        self.say_below(Content.styled(fit(text, min(len(text), room)), "$alarm") if text else Content(""))


class Overlay:
    """Follows several runs at once, the one that the session shows by its eyes. For a worker's thread."""

    def __init__(self, runs: Sequence[RunDir], session: Session) -> None:
        self._runs, self._session = runs, session
        self._followers: dict[RunDir, Follower] = {}
        self._looks: dict[RunDir, Look] = {}

    def look(self, ticket: Ticket) -> list[Look] | None:
        """All runs as they are now; None when nothing is new. Raises RunError for what is no run."""
        before = dict(self._looks)
        for run in self._runs:
            shown = self._session.look
            if shown is not None and shown.view.run == run:  # a million steps are held once
                self._looks[run] = shown
                self._followers.pop(run, None)
            elif (look := self._followers.setdefault(run, Follower(run)).look(ticket)) is not None:
                self._looks[run] = look
        return [self._looks[run] for run in self._runs] if self._looks != before else None
