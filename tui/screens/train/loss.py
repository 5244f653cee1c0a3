"""The loss pane: the curve of the run, and under it what went wrong."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from rich.cells import cell_len
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.content import Content
from textual.message import Message

from tui.actions import bindings
from tui.state.chart import METRICS, ChartLook, Mark, after, logged, marks_of
from tui.state.summary import Latest, setting
from tui.text import clean, fit, wrap
from tui.widgets.pane import Pane
from tui.widgets.plot import LossPlot, PlotData, Series
from tui.widgets.rows import Rows

if TYPE_CHECKING:
    from engine.runs.reader import RunView

MOST_LINES = 3
EMPTY = "the loss is drawn here from the first step on"
OF_TOKENS = ("loss", "bits per byte")
"""Of which tokens these are, is said where it is not all."""
_AT_SLASHES = re.compile(r"(?<=/)(?=.)")


def problem_lines(problem: str, width: int, most: int) -> list[str]:
    """`problem` in at most so many lines, broken at words and long paths at their slashes, so that every name in them
    can be read."""
    lines = [""]
    for word in problem.split():
        whole = cell_len(f"{lines[-1]} {word}") <= width
        for number, piece in enumerate([word] if whole else _AT_SLASHES.split(word)):
            gap = " " if lines[-1] and not number else ""
            if cell_len(lines[-1] + gap + piece) <= width:
                lines[-1] += gap + piece
            else:
                lines += [piece[start:end] for start, end in wrap(piece, width)]
    lines = [line for line in lines if line]
    return lines if len(lines) <= most else [*lines[: most - 1], fit(f"{lines[most - 1]} …", width).rstrip()]


class LossPane(Pane):
    """Any number of the run over steps, tokens or time; of the loss train and validation, with what happened."""

    scope = "loss"
    title = "loss"
    BINDINGS: ClassVar[list[BindingType]] = bindings("loss")
    about: ClassVar[str] = (
        "Cross entropy, nats a token. Train is smoothed over the band of its least "
        "and greatest value in each column; validation is exact, over the whole "
        "held-out part. The range is that of what comes after the warm-up; what lies "
        "beyond it stands at the edge as ▲ with its value, so no spike is hidden. "
        "Under it: ▲ checkpoint, ‖ paused, » resumed, η learning rate, ! alarm, "
        "Y forked. With the crosshair on one of them, its words stand below."
    )

    def __init__(self) -> None:
        super().__init__(id="loss")
        self._problem = ""
        self._look = ChartLook()
        self._view: RunView | None = None
        self._marks: tuple[object, tuple[Mark, ...]] = None, ()

    def compose(self) -> ComposeResult:
        yield LossPlot(PlotData(empty=EMPTY))
        yield Rows(id="problem")

    def focus_target(self) -> None:
        self.query_one(LossPlot).focus()

    def clear(self) -> None:
        """Draw no run."""
        self._view, self._look = None, ChartLook()
        self.query_one(LossPlot).clear(EMPTY)
        self.say_problem("")
        self._say_look()

    def show(self, view: RunView, now: Latest, look: ChartLook, problem: str = "") -> None:
        """Draw the run as it stands, looked at as `look` says; `problem` is what else is to be said."""
        plot = self.query_one(LossPlot)
        self._view, self._look, plot.look = view, look, look
        if self._marks[0] != (key := (len(view.events), id(view.events[-1]) if view.events else 0)):
            self._marks = key, marks_of(view.events, view.info)
        plot.show(chart_of(view, now, look, self._marks[1]))
        self._say_look()
        self.say_problem(problem or str(view.status.get("problem") or view.status.get("message") or ""))

    def _say_look(self) -> None:
        """In the border: what is drawn and how, and what happened under the crosshair."""
        name = self._look.metric.name if self._look.metric is not METRICS[0] else "loss"
        words = self._look.words().removeprefix(name).strip()
        if name in OF_TOKENS and self._view is not None and setting(self._view.info, "data", "loss") == "answers":
            name += " of answers"
        self.say_title(Content.assemble((name, ""), (f"  {words}" if words else "", "$accent")))
        room = max(0, self.size.width - 6)
        said = "; ".join(dict.fromkeys(mark.words for mark in self.query_one(LossPlot).pointed()))
        self.say_below(Content(fit(said, min(len(said), room)) if said else ""))

    def on_loss_plot_turned(self) -> None:
        self.post_message(self.Changed())

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        return self._view is not None if action == "metric" else True

    def action_metric(self) -> None:
        """The next number that the run has logged."""
        if self._view is not None:
            known = tuple(logged(self._view.series))
            self._look.metric = after(known, self._look.metric)
            self.post_message(self.Changed())

    class Changed(Message):
        """It is looked at in another way."""

    def say_problem(self, problem: str) -> None:
        """What went wrong, in a few lines under the curve; nothing takes them away."""
        self._problem = problem
        room = max(8, self.size.width - 6)
        lines = problem_lines(clean(problem, keep_newlines=False), room, max(MOST_LINES, self.size.height // 2))
        rows = self.query_one("#problem", Rows)
        rows.display = bool(lines)
        if lines:
            rows.styles.height = len(lines)
            rows.show([[("✖ " if i == 0 else "  ", "alarm bold"), (line, "alarm")] for i, line in enumerate(lines)])

    def on_resize(self) -> None:
        self.say_problem(self._problem)


def chart_of(view: RunView, now: Latest, look: ChartLook, marks: tuple[Mark, ...]) -> PlotData:
    """What is drawn of a run: the metric of `look` over its x axis."""
    series, metric, axis = view.series, look.metric, look.view.axis
    evaluated = metric.key.startswith("val_")
    steps: Any = series.val_step if evaluated else series.step
    values: Any = getattr(series, metric.key)
    column = {"tokens": "tokens", "time": "time_s"}.get(axis)
    xs = None if column is None else rising(getattr(series, f"val_{column}" if evaluated else column))
    val_xs = None if column is None else rising(getattr(series, f"val_{column}"))
    if column is not None and (xs is None or val_xs is None):  # an older run did not log it
        axis, xs, val_xs = "steps", None, None
    loss = metric is METRICS[0]
    one = Series(
        "",
        steps,
        values if metric.unit == 1.0 else values / metric.unit,
        series.val_step if loss else (),
        series.val_loss if loss else (),
        xs,
        val_xs if loss else None,
    )
    return PlotData(
        (one,),
        tuple(point["step"] for point in view.checkpoints),
        look.cursor,
        total_steps=now.steps or None,
        empty=EMPTY,
        axis=axis,
        marks=tuple(mark for mark in marks if mark.words != "checkpoint"),
        lr=() if evaluated or metric.key == "lr" else series.lr,
        warmup=setting(view.info, "train", "warmup_steps") or 0,
        label=metric.name,
        say=metric.say,
    )


def rising(values: Any) -> Any | None:
    """`values` (N,) where they are all numbers and never fall; None where they cannot be an axis."""
    return values if np.isfinite(values).all() and not (np.diff(values) < 0).any() else None
