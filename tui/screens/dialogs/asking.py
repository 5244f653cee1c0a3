"""What is asked before a run is stopped, detached, resumed or given another learning rate; every screen asks the same.

Each question is about the run it was asked of, whatever is shown by the time it is answered.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from engine.errors import ConfigError
from tui.screens.dialogs.ask import AskScreen
from tui.screens.dialogs.confirm import ConfirmScreen, Way
from tui.screens.dialogs.rate import RateScreen, Schedule
from tui.state.detached import ranks_in
from tui.state.news import Notice
from tui.state.summary import name_in, setting
from tui.state.training import ForkFrom, Resume, Training
from tui.text import clean, fmt_lr

if TYPE_CHECKING:
    from collections.abc import Mapping

    from engine.runs.layout import RunDir
    from engine.runs.reader import RunView
    from tui.app import Workbench


def ask_to_stop(app: Workbench, run: RunDir) -> None:
    """Stop the trainer of `run` with a checkpoint, after asking, whichever process it is in."""
    here = app.session.trains(run)
    who = "is trained by this process" if here else "is trained outside this screen; that training ends then"
    words = [[(clean(run.name, keep_newlines=False), "bright bold"), (f" {who}", "foreground")]]
    ways = (
        Way("y", "stop", "write a checkpoint and end; it can be resumed exactly", True),
        Way("escape", "keep", "train on", False),
    )

    def stop(yes: bool | None) -> None:
        said, training = f"{run.name} writes a checkpoint and stops", app.session.training
        if yes and training is not None and app.session.trains(run):
            training.stop()  # also before it takes commands
            app.say(Notice(said))
        elif yes:
            app.session.send(run, "stop", said)

    app.push_screen(ConfirmScreen("stop this run?", words, ways, first=1), stop)


def ask_to_give_up(app: Workbench, training: Training) -> None:
    """Give up a training that has not begun yet, after asking."""
    ways = (
        Way("y", "give up", "begin no training; what is prepared of the corpus is kept", True),
        Way("escape", "keep", "go on to the first step", False),
    )
    said = [[("the training has not begun yet: ", "foreground"), (training.stage, "bright")]]
    app.push_screen(
        ConfirmScreen("give this start up?", said, ways, first=1), lambda yes: training.stop() if yes else None
    )


def ask_to_detach(app: Workbench) -> None:
    """Go on with this process' training in the background, without this screen, after asking."""
    run = app.session.run
    if run is None:
        return
    said = [[(clean(run.name, keep_newlines=False), "bright bold"), (" is trained by this process", "foreground")]]
    ways = (
        Way("y", "detach", "write a checkpoint, then train on without this screen", True),
        Way("escape", "stay", "go on watching", False),
    )
    app.push_screen(
        ConfirmScreen("go on in the background?", said, ways, first=1), lambda yes: app.detach() if yes else None
    )


def ask_to_resume(app: Workbench, run: RunDir, *, state: str, step: int, steps: int) -> None:
    """Go on with `run` in this process: where it stopped, or to more steps when it has made all of them."""
    if state != "finished":
        app.train(Resume(run))
    elif step < steps:  # its patience ended before its steps did
        app.say(Notice(f"{run.name} stopped early at step {step:,}; it goes on with its patience anew"))
        app.train(Resume(run))
    else:
        about = f"it has made all of its {step:,} steps; to how many shall it go on?"

        def go_on(wanted: int | None) -> None:
            if wanted is not None:
                app.train(Resume(run, max_steps=wanted))

        title = f"more steps for {clean(run.name, keep_newlines=False)}"
        app.push_screen(AskScreen(title, about, str(2 * step), lambda text: parse_steps(text, step)), go_on)


def ask_learning_rate(app: Workbench, view: RunView, rate: float | None, scale: float, step: int) -> None:
    """Set the learning rate in force at `step`, filled in as `rate`; left as it is, nothing is sent."""
    run, info, series = view.run, view.info, view.series

    def send(value: float | None) -> None:
        if value is not None and value != rate:
            app.session.send(run, "learning_rate", "", value=value)

    filled = "" if rate is None else repr(rate)
    about = f"AdamW's at the next update; {schedule_words(info, scale)}"
    schedule = Schedule(info, step, rate, series.step, series.lr)
    app.push_screen(RateScreen("learning rate in force", about, filled, parse_learning_rate, schedule), send)


def ask_to_fork(app: Workbench, view: RunView, step: int) -> None:
    """The form of a new run that goes on from a checkpoint of this one, filled in with its settings."""
    from engine.config import make_config
    from tui.screens.newrun.screen import NewRunScreen
    from tui.state.kit import expected_in

    try:
        config = make_config(view.info.get("config") or {})
    except ConfigError as error:
        app.say(Notice(f"{view.run.name} cannot be forked: {error}", bad=True))
        return
    corpus, preset = name_in(view.info, "corpus"), name_in(view.info, "preset") or "custom"
    fork = ForkFrom(view.run, step, config, corpus, preset, ranks_in(view.info), expected_in(view.info))
    app.push_screen(NewRunScreen(app.session, fork), lambda start: app.train(start) if start is not None else None)


def schedule_words(info: Mapping[str, Any], scale: float) -> str:
    """What becomes of a rate that is set: the schedule goes on from it, in proportion."""
    kind, end = setting(info, "train", "schedule"), setting(info, "train", "min_learning_rate")
    if kind not in ("cosine", "linear", "wsd") or not isinstance(end, int | float):
        return "the later ones follow in proportion"
    return f"the {kind} schedule goes on to {fmt_lr(end * scale)}"


def parse_learning_rate(text: str) -> float:
    """A learning rate as typed. Raises ConfigError with the bounds."""
    try:
        value = float(text)
    except ValueError:
        raise ConfigError(f"{text!r} is not a number; try 3e-4") from None
    if not 0 < value <= 10:
        raise ConfigError("a learning rate is above 0 and at most 10")
    return value


def parse_steps(text: str, done: int) -> int:
    """A number of steps above `done`, as typed. Raises ConfigError with the bounds."""
    try:
        value = int(text.replace(",", "").replace("_", ""))
    except ValueError:
        raise ConfigError(f"{text!r} is not a number of steps; try {2 * done}") from None
    if not done < value <= 100_000_000:
        raise ConfigError(f"{done:,} steps are made already; name more, 100,000,000 at most")
    return value
