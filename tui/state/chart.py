"""How a run's chart is looked at: which numbers, over what, how much of them. It outlives the screens that draw it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from tui.state.summary import event_words
from tui.text import clean, fmt_count, fmt_loss, fmt_lr

Scale = Literal["auto", "whole", "log"]
Axis = Literal["steps", "tokens", "time"]
SCALES: tuple[Scale, ...] = ("auto", "whole", "log")
AXES: tuple[Axis, ...] = ("steps", "tokens", "time")
SMOOTHING = (1.0, 4.0, 0.0)
"""Times the usual half-life; 0 draws every value as it is."""


@dataclass(frozen=True)
class View:
    """What of a chart is looked at: a window on the x axis in its own unit (None: all), the scales, the smoothing."""

    window: tuple[float, float] | None = None
    scale: Scale = "auto"
    axis: Axis = "steps"
    smooth: float = 1.0

    @property
    def log(self) -> bool:
        return self.scale == "log"


def after(kinds: tuple[Any, ...], one: Any) -> Any:
    """The next of `kinds`, the first after the last."""
    return kinds[(kinds.index(one) + 1) % len(kinds)] if one in kinds else kinds[0]


@dataclass(frozen=True)
class Metric:
    """One column of a run's numbers: its name in the legend, how it is said, and what it is divided by."""

    key: str
    name: str
    say: Callable[[float | None], str]
    unit: float = 1.0


METRICS = (
    Metric("loss", "train", fmt_loss),
    Metric("lr", "lr", fmt_lr),
    Metric("grad_norm", "|g|", lambda value: "–" if value is None else f"{value:.3f}"),
    Metric("tokens_per_s", "tok/s", fmt_count),
    Metric("mem_bytes", "memory, MiB", fmt_count, 2.0**20),
    Metric("val_bpb", "bits per byte", fmt_loss),
)


@dataclass
class ChartLook:
    """The chart of one run as it was left. `cursor` is the step under the crosshair."""

    view: View = field(default_factory=View)
    metric: Metric = METRICS[0]
    cursor: int | None = None

    def words(self) -> str:
        """What differs from the usual, in a few words; empty where nothing does."""
        said = [] if self.metric is METRICS[0] else [self.metric.name]
        said += [] if self.view.scale == "auto" else [f"y {self.view.scale}"]
        said += [] if self.view.axis == "steps" else [f"x {self.view.axis}"]
        said += {1.0: [], 0.0: ["not smoothed"]}.get(self.view.smooth, ["smoother"])
        return "  ".join(said)

    def turn(self, **changes: Any) -> None:
        """Change the view; another x axis shows all of it."""
        self.view = replace(self.view, **changes)


def logged(series: Any) -> list[Metric]:
    """The metrics of which the run has logged any value, looked at where it would stand: at the ends."""
    found = []
    for metric in METRICS:
        values = getattr(series, metric.key)
        if len(values) and (values[-1] == values[-1] or (values == values).any()):
            found.append(metric)
    return found or [METRICS[0]]


@dataclass(frozen=True)
class Mark:
    """Something that happened at `step`, by one character on the x axis; `words` say what it was."""

    step: int
    sign: str
    look: str
    words: str


SIGNS = {"alarm": "!", "fork": "Y", "rate": "η", "pause": "‖", "resume": "»", "checkpoint": "▲"}
"""The first of these stands where several things happened in one column."""


def marks_of(events: Iterable[Mapping[str, Any]], info: Mapping[str, Any]) -> tuple[Mark, ...]:
    """What happened to a run, in the order of its events."""
    found = []
    parent = info.get("parent")
    if isinstance(parent, Mapping) and isinstance(parent.get("step"), int):
        name = clean(str(parent.get("run", "")), keep_newlines=False)
        found.append(Mark(parent["step"], SIGNS["fork"], "accent bold", f"forked from {name}"))
    for event in events:
        step = event.get("step")
        if isinstance(step, int) and (mark := _mark(step, event)) is not None:
            found.append(mark)
    return tuple(found)


def _mark(step: int, event: Mapping[str, Any]) -> Mark | None:
    match event.get("kind"):
        case "checkpoint":
            return Mark(step, SIGNS["checkpoint"], "dim", "checkpoint")
        case "paused":
            return Mark(step, SIGNS["pause"], "val", "paused")
        case "resumed":
            return Mark(step, SIGNS["resume"], "foreground", "resumed")
        case "learning_rate":
            before, value = event.get("before"), event.get("value")
            numbers = isinstance(before, int | float) and isinstance(value, int | float)
            said = f" from {fmt_lr(before)} to {fmt_lr(value)}" if numbers else ""
            return Mark(step, SIGNS["rate"], "accent bold", f"learning rate set{said}")
        case "alarm" | "rollback" | "not_finite" | "early_stop":
            words = event_words(event)
            said = words[0] if words is not None else str(event.get("kind")).replace("_", " ")
            return Mark(step, SIGNS["alarm"], "alarm bold", clean(said, keep_newlines=False))
    return None
