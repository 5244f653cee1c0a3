"""What a training without a screen shows: a progress line, plain lines, or the records themselves."""

from __future__ import annotations

import json
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from tui.cli.output import console, one_line, print_json, say

if TYPE_CHECKING:
    from rich.text import Text

    from engine.runs.layout import RunDir
    from engine.runs.tail import Tail
    from tui.cli.newest import Newest

LINE_EVERY = 5.0  # seconds between two plain lines
FIRST_ESTIMATE = 5  # records before the time that is left is told
TOLD = ("alarm", "early_stop", "learning_rate", "paused", "unpaused", "waited", "not_finite", "rollback")
"""Events worth a line."""


@dataclass(frozen=True)
class Now:
    """Where a run stands; what is not known yet is None."""

    state: str
    step: int
    steps: int
    loss: float | None
    val_loss: float | None
    val_step: int | None
    tokens_per_second: float | None
    seconds_left: float | None
    message: str

    @classmethod
    def of(cls, newest: Newest) -> Now:
        series, val, status = newest.trained, newest.evaluated, newest.status
        logged, evaluated = len(series.step), len(val.val_step)
        return cls(
            state=str(status.get("state", "")),
            step=max(int(status.get("step") or 0), int(series.step[-1]) if logged else 0),
            steps=int(status.get("steps") or newest.info.get("config", {}).get("train", {}).get("max_steps") or 0),
            loss=float(series.loss[-1]) if logged else None,
            val_loss=float(val.val_loss[-1]) if evaluated else None,
            val_step=int(val.val_step[-1]) if evaluated else None,
            tokens_per_second=float(series.tokens_per_s.mean()) if logged else None,
            seconds_left=status.get("eta_s") if logged >= FIRST_ESTIMATE else None,
            message=str(status.get("message") or ""),
        )

    def facts(self) -> list[tuple[str, str]]:
        """(label, value) pairs in widths that do not jitter."""
        from tui.text import fmt_count, fmt_duration, fmt_loss

        return [
            ("step", f"{self.step:>{len(f'{self.steps:,}')},}/{self.steps:,}"),
            ("loss", f"{fmt_loss(self.loss):>7}"),
            ("val", f"{fmt_loss(self.val_loss):>7}"),
            ("tok/s", f"{fmt_count(self.tokens_per_second):>5}"),
            ("ETA", f"{fmt_duration(self.seconds_left):<6}"),
        ]


class View(Protocol):
    """What shows the progress of a run."""

    def update(self, newest: Newest) -> None: ...

    def close(self) -> None: ...


class News:
    """What is worth a line of its own: events of `TOLD`, and what the trainer says it waits for."""

    def __init__(self, newest: Newest) -> None:
        newest.events()  # what came before was told by others
        self._message = ""

    def lines(self, newest: Newest, now: Now) -> Iterator[str]:
        """Lines for what is new since the last call."""
        yield from (tell(event) for event in newest.events() if event.get("kind") in TOLD or event.get("warnings"))
        if now.message and now.message != self._message and now.state == "paused":
            yield f"step {now.step}: {now.message}"
        self._message = now.message


class Lines:
    """A line every few seconds and at every evaluation, for logs and pipes."""

    def __init__(self, newest: Newest) -> None:
        self._said = 0.0
        self._step = -1
        self._val_step = Now.of(newest).val_step
        self._news = News(newest)

    def update(self, newest: Newest) -> None:
        now = Now.of(newest)
        for line in self._news.lines(newest, now):
            say(line)
        moved = now.step != self._step and time.monotonic() - self._said > LINE_EVERY
        if now.loss is None or not (moved or now.val_step != self._val_step):
            return
        self._said, self._step, self._val_step = time.monotonic(), now.step, now.val_step
        say("  ".join(f"{label} {value}" for label, value in now.facts()).rstrip())

    def close(self) -> None:
        pass


class Silence:
    """Nothing, where nobody reads any more."""

    def update(self, newest: Newest) -> None:
        pass

    def close(self) -> None:
        pass


class ProgressLine:
    """One line that is drawn over, with evaluations and news left standing above it."""

    def __init__(self, newest: Newest) -> None:
        from rich.live import Live

        self._live = Live(console=console(), auto_refresh=False, transient=True)
        self._live.start()
        self._val_step = Now.of(newest).val_step
        self._news = News(newest)

    def update(self, newest: Newest) -> None:
        from rich.text import Text

        now = Now.of(newest)
        for line in self._news.lines(newest, now):
            self._live.console.print(Text(one_line(line), style="yellow"), soft_wrap=True)
        if now.val_step is not None and now.val_step != self._val_step:
            self._live.console.print(evaluated(now), soft_wrap=True)
            self._val_step = now.val_step
        self._live.update(progress_text(now, self._live.console.width), refresh=True)

    def close(self) -> None:
        self._live.stop()


def evaluated(now: Now) -> Text:
    """The line that stays of an evaluation."""
    from rich.text import Text

    from tui.text import fmt_loss

    text = Text.assemble(("step ", "dim"), f"{now.val_step:,}  ", ("loss ", "dim"), f"{fmt_loss(now.loss)}  ")
    return text.append("val ", "dim").append(fmt_loss(now.val_loss), "bold")


def progress_text(now: Now, width: int) -> Text:
    """The progress line in less than `width` cells: a bar where there is room, then facts, cut at the end."""
    from rich.text import Text

    text = Text(no_wrap=True, overflow="crop")
    facts = now.facts()
    bar = min(24, width - sum(len(label) + len(value) + 3 for label, value in facts))
    if bar >= 8:
        filled = round(bar * min(1.0, now.step / max(1, now.steps)))
        text.append("━" * filled, "bold cyan").append("━" * (bar - filled), "dim").append("  ")
    for label, value in facts:
        text.append(f"{label} ", "dim").append(f"{value}  ")
    if now.state == "paused":
        text.append("paused", "yellow")
    text.truncate(max(1, width - 1))
    return text


def tell(event: dict[str, Any]) -> str:
    """An event as a line: its step, its kind, and what it says."""
    head = f"step {event.get('step', '?')}: {str(event.get('kind', '')).replace('_', ' ')}"
    said = event.get("message") or event.get("warnings") or event.get("what")
    if isinstance(said, list | tuple):
        said = "; ".join(map(str, said))
    facts = {key: value for key, value in event.items() if key not in ("step", "time", "kind")}
    plain = (f"{key.replace('_', ' ')} {value}" for key, value in facts.items() if isinstance(value, str | int | float))
    return ", ".join([head, str(said)] if said else [head, *plain])


class Records:
    """The run's records as JSON, one object a line, as they are written; nothing else."""

    def __init__(self, run: RunDir) -> None:
        from engine.runs.tail import Tail

        self._tails = (Tail(run.metrics), Tail(run.samples), Tail(run.events))
        for tail in self._tails:
            deque(tail.blocks(), maxlen=0)  # what is there already was told when it was written

    def update(self, newest: Newest) -> None:
        """Print what has been written since, in the order of steps."""
        metrics, samples, events = (read(tail) for tail in self._tails)
        typed = [
            *({"type": "eval" if "val_loss" in record else "metric", **record} for record in metrics),
            *({"type": "sample", **record} for record in samples),
            *({"type": event_type(record), **record} for record in events),
        ]
        for record in sorted(typed, key=lambda record: int(record["step"])):
            print_json(record, indent=None)

    def close(self) -> None:
        pass


def read(tail: Tail) -> list[dict[str, Any]]:
    """The records appended since the last time; marks between them, and what is damaged, are left out."""
    records: list[dict[str, Any]] = []
    for block in tail.blocks():
        for line in block.splitlines():
            try:
                record = json.loads(line)
            except (ValueError, RecursionError):
                continue
            if isinstance(record, dict) and isinstance(record.get("step"), int):
                records.append(record)
    return records


def event_type(event: dict[str, Any]) -> str:
    """`checkpoint`, `finished`, ...; the event that notes a sample is an `event`, the `sample` record has the text."""
    kind = str(event.get("kind", "event"))
    return "event" if kind in ("sample", "metric", "eval") else kind
