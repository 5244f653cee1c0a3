"""`tinytui runs stop`, `pause`, `resume`, `checkpoint` and `set-lr`: commands to whoever trains the run now."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from engine.errors import RunError, TrainingError
from tui.cli.options import Json, Run, RunsDir
from tui.cli.output import print_json, say
from tui.state.detached import how_to

if TYPE_CHECKING:
    from engine.runs.layout import RunDir

PERIOD = 0.1  # seconds between two looks at the run
PATIENCE = 10.0  # seconds for a command that the trainer may carry out without leaving a mark

NoWait = Annotated[bool, typer.Option("--no-wait", help="Return as soon as the trainer has the command.")]

T = TypeVar("T")


def stop(run: Run, no_wait: NoWait = False, runs: RunsDir = Path("runs"), as_json: Json = False) -> None:
    """End a training with a checkpoint, wherever on this machine it runs. Waits until it has ended."""
    told = Told(run, runs, as_json, no_wait)
    told.send("stop")
    status = told.wait(lambda: None, ended=True)
    if status is None:
        return
    at = checkpoint_of(told.run, status)
    told.report(
        {"checkpoint": None if at is None else str(at)},
        f"{status['state']} at step {told.step(status):,} of {status.get('steps') or 0:,}, "
        + ("no checkpoint of this step" if at is None else f"checkpoint {at.name}"),
    )
    if status["state"] in ("failed", "crashed"):
        raise TrainingError(str(status.get("problem") or "training failed; see tinytui runs show"))
    if not as_json and status["state"] != "finished":
        say(f"go on with: {how_to('train --resume', told.run, runs)}")


def pause(run: Run, no_wait: NoWait = False, runs: RunsDir = Path("runs"), as_json: Json = False) -> None:
    """Let a training wait, with everything in memory, until it is resumed."""
    told = Told(run, runs, as_json, no_wait)
    told.send("pause")
    status = told.wait(lambda: told.status() if told.status().get("state") == "paused" else None)
    if status is not None:
        told.report({}, f"paused at step {told.step(status):,}")


def resume(run: Run, no_wait: NoWait = False, runs: RunsDir = Path("runs"), as_json: Json = False) -> None:
    """Let a training that was paused go on. One that has ended goes on with tinytui train --resume."""
    told = Told(run, runs, as_json, no_wait)
    told.send("resume")
    status = told.wait(lambda: told.status() if told.status().get("state") == "running" else None)
    if status is not None:
        told.report({}, f"goes on at step {told.step(status):,}")


def checkpoint(run: Run, no_wait: NoWait = False, runs: RunsDir = Path("runs"), as_json: Json = False) -> None:
    """Write a checkpoint now; training goes on."""
    told = Told(run, runs, as_json, no_wait)
    told.send("checkpoint")
    event = told.wait(lambda: told.event("checkpoint"))
    if event is not None:
        path = told.run.checkpoint(event["step"])
        told.report({"checkpoint": str(path)}, f"checkpoint {path.name}")


def set_lr(
    run: Run,
    value: Annotated[float, typer.Argument(metavar="RATE", help="AdamW's rate at the next update, such as 3e-4.")],
    no_wait: NoWait = False,
    runs: RunsDir = Path("runs"),
    as_json: Json = False,
) -> None:
    """Set the learning rate that is in force now; the schedule goes on from there in proportion."""
    told = Told(run, runs, as_json, no_wait)
    in_force = told.status().get("learning_rate")
    told.send("learning_rate", value=value)
    if in_force is not None and math.isclose(value, in_force, rel_tol=1e-12):  # the trainer leaves no event of it
        told.report({"learning_rate": in_force}, f"learning rate {in_force!r} already, nothing is changed")
        return
    event = told.wait(lambda: told.event("learning_rate", alarm="learning_rate"), patience=PATIENCE)
    if event is None:
        return
    if event["kind"] == "alarm":
        raise RunError(str(event.get("message") or "the rate was not set"))
    facts = {"learning_rate": value, "before": event.get("before")}
    told.report(facts, f"learning rate {value!r} from step {event['step']:,} on, before that {event.get('before')!r}")


class Told:
    """A live run that is sent one command, and what comes of it."""

    def __init__(self, name: str, runs: Path, as_json: bool, no_wait: bool) -> None:
        from engine.runs.layout import find_run
        from tui.cli.newest import Heard

        self.run: RunDir = find_run(name, runs)
        self.as_json, self.no_wait = as_json, no_wait
        self._heard = Heard(self.run)
        self._heard.poll()
        self._heard.events()  # what was before has nothing to do with the command
        self._events: list[dict[str, Any]] = []

    def send(self, do: str, **fields: Any) -> None:
        """Raises RunError in one line when nobody trains the run, or another machine or user does."""
        from engine.control import ControlClient

        ControlClient(self.run).send(do, **fields)

    def status(self) -> dict[str, Any]:
        return self._heard.status

    def step(self, facts: dict[str, Any]) -> int:
        return int(facts.get("step") or 0)

    def event(self, kind: str, alarm: str = "") -> dict[str, Any] | None:
        """The first event of that kind, or an alarm of that name, since the command was sent."""
        self._events += self._heard.events()
        for event in self._events:
            if event["kind"] == kind or (alarm and event.get("alarm") == alarm):
                return event
        return None

    def wait(
        self, come: Callable[[], dict[str, Any] | None], *, ended: bool = False, patience: float | None = None
    ) -> dict[str, Any] | None:
        """What `come` gives as soon as it gives something; with `ended` the status once the trainer is gone.

        None, told as sent, when that is not waited for. Raises RunError when training ends first, or waits itself.
        """
        if self.no_wait:
            self._sent()
            return None
        deadline = None if patience is None else time.monotonic() + patience
        while True:
            self._heard.poll()
            if (found := come()) is not None:
                return found
            if not self.run.live:
                self._heard.poll()
                if (found := self.status() if ended else come()) is not None:
                    return found
                raise RunError(f"run {self.run.name} has ended meanwhile; see tinytui runs show {self.run.name}")
            message = self.status().get("message")
            if not ended and self.status().get("state") == "paused" and message:  # such as a full disk
                raise RunError(f"run {self.run.name} waits: {message}")
            if deadline is not None and time.monotonic() > deadline:
                self._sent()
                return None
            time.sleep(PERIOD)

    def _sent(self) -> None:
        self.report({"sent": True}, "sent; it takes effect at the next step")

    def report(self, facts: dict[str, Any], said: str) -> None:
        """What came of it, as JSON or in one line."""
        if self.as_json:
            state, step = self.status().get("state"), self.step(self.status())
            print_json({"name": self.run.name, "state": state, "step": step, **facts})
        else:
            say(f"{self.run.name}: {said}")


def checkpoint_of(run: RunDir, status: dict[str, Any]) -> Path | None:
    """The folder of the checkpoint of the step that the status tells, where there is one."""
    step = int(status.get("step") or 0)
    return run.checkpoint(step) if step in run.checkpoint_steps() else None
