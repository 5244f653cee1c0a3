"""What a run's records mean on the screen: rates, time left, words and colours of states. Small, pure, quick."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tui.text import Part, clean, fmt_count, fmt_duration, fmt_loss, fmt_lr

if TYPE_CHECKING:
    from engine.runs.reader import RunReader, RunView
    from engine.runs.series import Series
    from tui.state.several import Several

# state -> (mark, word, role)
STATES: dict[str, tuple[str, str, str]] = {
    "running": ("●", "training", "good"),
    "paused": ("‖", "paused", "val"),
    "finished": ("✔", "finished", "good"),
    "stopped": ("■", "stopped", "dim"),
    "failed": ("✖", "failed", "alarm"),
    "crashed": ("✖", "crashed", "alarm"),
    "damaged": ("✖", "damaged", "alarm"),
    "new": ("○", "not started", "dim"),
    "starting": ("○", "starting", "accent"),
    "reading": ("○", "reading", "accent"),
}


PHASES = {"training": "", "": ""}  # those that the state's own word says


def state_part(state: str, phase: str = "") -> Part:
    """`● training` in its colour; a live run says what it is doing, padded so that the line does not move."""
    mark, word, look = STATES.get(state, ("?", clean(state, keep_newlines=False) or "unknown", "dim"))
    if state == "running":
        word = f"{clean(PHASES.get(phase, phase), keep_newlines=False) or word:<13}"
    return f"{mark} {word}", look


@dataclass(frozen=True)
class Latest:
    """The newest of everything a screen says in numbers; None where nothing was logged yet."""

    state: str = ""
    phase: str = ""
    step: int = 0
    steps: int = 0
    loss: float | None = None
    lr: float | None = None
    grad_norm: float | None = None
    tokens_per_s: float | None = None
    mem_bytes: float | None = None
    tokens: float | None = None
    val_loss: float | None = None
    val_step: int | None = None
    val_bpb: float | None = None
    best_loss: float | None = None
    best_step: int | None = None
    train_s: float | None = None
    left_s: float | None = None
    several: Several | None = None
    """The processes that train it, where there is more than one."""

    @property
    def fraction(self) -> float:
        return min(1.0, self.step / self.steps) if self.steps else 0.0


def latest(reader: RunReader | RunView) -> Latest:
    """The newest numbers of a run. Reads the ends of its series only, and the evaluations."""
    import numpy as np

    status, series = reader.status, reader.series
    step = max(int(status.get("step") or 0), int(series.step[-1]) if len(series.step) else 0)
    steps = int(status.get("steps") or 0) or int(_train_settings(reader.info).get("max_steps") or 0)
    losses = np.where(np.isfinite(series.val_loss), series.val_loss, np.inf)
    best = int(losses.argmin()) if len(losses) and np.isfinite(losses.min()) else None
    left = seconds_left(series, step, steps) if status.get("state") in ("running", "paused") else None
    return Latest(
        state=str(status.get("state", "")),
        phase=str(status.get("phase") or ""),
        step=step,
        steps=steps,
        loss=last(series.loss),
        lr=last(series.lr),
        grad_norm=last(series.grad_norm),
        tokens_per_s=rate(series),
        mem_bytes=last(series.mem_bytes),
        tokens=last(series.tokens),
        val_loss=last(series.val_loss),
        val_step=int(series.val_step[-1]) if len(series.val_step) else None,
        val_bpb=last(series.val_bpb),
        best_loss=None if best is None else float(series.val_loss[best]),
        best_step=None if best is None else int(series.val_step[best]),
        train_s=last(series.time_s),
        left_s=left,
    )


def event_words(event: Mapping[str, Any]) -> tuple[str, bool] | None:
    """What an event of the run has to say to who is looking, and whether it is bad; None for the daily round."""
    step, best = event.get("step"), event.get("best_val_loss")
    said = f"best {fmt_loss(best)} at step {event.get('best_step')}" if isinstance(best, int | float) else ""
    match event.get("kind"):
        case "alarm" if event.get("alarm") == "overfitting":
            return f"overfitting: val rises while train falls; {said}", True
        case "alarm":
            return str(event.get("message") or event.get("alarm")), True
        case "resumed" if event.get("warnings"):
            return "; ".join(map(str, event["warnings"])), True
        case "rollback":
            return f"the loss spiked at step {step}; back to step {event.get('to')} and on with other batches", True
        case "early_stop":
            return f"stopped early: val got no better; {said}", False
        case "learning_rate":
            return f"peak learning rate {fmt_lr(event.get('value'))} since step {step}", False
        case "finished":
            return f"finished at step {step}", False
    return None


def last(values: Any) -> float | None:
    """The newest number that is one; looks back a few records at most."""
    for value in values[-1:-9:-1]:
        if value == value:
            return float(value)
    return None


def rate(series: Series, window: int = 32) -> float | None:
    """Tokens a second, the mean over the last `window` records, so that the figure stands still."""
    values = series.tokens_per_s[-window:]
    values = values[values == values]
    return float(values.mean()) if len(values) else None


def seconds_left(series: Series, step: int, steps: int, window: int = 64) -> float | None:
    """Time to the last step at the pace of the last `window` records, evaluations included."""
    at, when = series.step[-window:], series.time_s[-window:]
    if len(at) < 2 or steps <= 0 or at[-1] <= at[0] or when[-1] <= when[0]:
        return None
    return float(max(0, steps - step) * (when[-1] - when[0]) / (at[-1] - at[0]))


def _train_settings(info: Mapping[str, Any]) -> Mapping[str, Any]:
    config = info.get("config")
    found = config.get("train") if isinstance(config, Mapping) else None
    return found if isinstance(found, Mapping) else {}


def setting(info: Mapping[str, Any], section: str, name: str) -> Any:
    """One setting of a run, from its run.json; None when it is not there."""
    config = info.get("config")
    found = config.get(section) if isinstance(config, Mapping) else None
    return found.get(name) if isinstance(found, Mapping) else None


def name_in(info: Mapping[str, Any], key: str) -> str:
    """The name under `key` in run.json, which is a name or a table with one."""
    value = info.get(key)
    return str(value.get("name", "") if isinstance(value, Mapping) else value or "")


def ago(when: float, now: float | None = None) -> str:
    """A moment as people say it: `3m ago`, `yesterday`, `12 Nov`."""
    now = time.time() if now is None else now
    seconds = max(0.0, now - when)
    if seconds < 60:
        return "just now"
    if seconds < 3600:
        return f"{seconds // 60:.0f}m ago"
    if seconds < 86400:
        return f"{seconds // 3600:.0f}h ago"
    if seconds < 7 * 86400:
        return f"{seconds // 86400:.0f}d ago"
    moment = time.localtime(when)
    return time.strftime("%d %b" if moment.tm_year == time.localtime(now).tm_year else "%d %b %Y", moment).lstrip("0")


def step_of(step: int, steps: int) -> str:
    """`1,240/5,000`, the step padded so that the line does not move."""
    whole = f"{steps:,}"
    return f"{step:>{len(whole)},}/{whole}" if steps else f"{step:,}"


def per_second(value: float | None) -> str:
    """`118k tok/s`, padded to one width."""
    return f"{fmt_count(value):>5} tok/s"


def eta(seconds: float | None) -> str:
    """`ETA 3m12s`, padded to one width."""
    return f"ETA {fmt_duration(seconds):<6}"
