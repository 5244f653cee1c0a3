"""How the workbench ends: its screen, in whichever way, and then the training that its process holds."""

from __future__ import annotations

import os
import signal
import sys
import termios
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from engine.errors import UserError
from tui.state import detached
from tui.terminal.driver import Terminal
from tui.terminal.hangup import hung_up
from tui.terminal.signals import Ending, Signals, leave_if_hurried
from tui.text import clean

if TYPE_CHECKING:
    from engine.runs.layout import RunDir
    from tui.app import Workbench
    from tui.state.training import Training

SCREEN_ENDS = 10.0
"""Seconds that a screen which was told to end may take, once nothing is trained any more."""

OF_A_SCREEN = (signal.SIGTSTP, signal.SIGCONT, signal.SIGWINCH, signal.SIGTTIN, signal.SIGTTOU)
"""Signals that Textual has handlers for; they speak to a loop that may have ended."""


def run_screen(app: Workbench, signals: Signals) -> tuple[Ending, Exception | None]:
    """The screen until it ends: why it did, and the error that ended it if one did."""
    broken: Exception | None = None
    ending: Ending | None = None
    with undone():
        try:
            ending = app.run(mouse=app.session.kept.get("mouse") is not False)
        except Exception as error:
            broken = error
            with suppress(Exception):
                if app._driver is not None:
                    app._driver.stop_application_mode()
                    app._driver.close()
    if ending is Ending.HANGUP or (ending is None and terminal_gone(app)):
        signals.hang_up()  # whatever went wrong then, went wrong for want of it
    if signals.ending is not None:
        return signals.ending, None
    broken = broken or app._exception
    if broken is not None or app.return_code:
        return Ending.BROKEN, broken
    return ending or Ending.LEAVE, None


def terminal_gone(app: Workbench) -> bool:
    """Whether the terminal that the screen was on is no more there."""
    return isinstance(app._driver, Terminal) and hung_up(app._driver.fileno)


@contextmanager
def undone() -> Iterator[None]:
    """Afterwards the handlers of a screen are gone and the terminal's modes are those before, whatever happened."""
    handlers = {number: signal.getsignal(number) for number in OF_A_SCREEN}
    modes = None
    with suppress(termios.error):
        modes = termios.tcgetattr(0)
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
        with suppress(termios.error):
            if modes is not None and termios.tcgetattr(0) != modes:
                termios.tcsetattr(0, termios.TCSANOW, modes)


class ScreenEnder:
    """Ends `app` once a signal asks for it, from a thread of its own: again and again, until the screen is gone.

    The main thread may be about to start the screen, or stuck in ending it. A training that is to end is told at once,
    without waiting for the screen; and a screen that cannot end keeps the process no longer than what it trains.
    """

    def __init__(self, app: Workbench) -> None:
        self._app = app
        self._gone = threading.Event()

    def gone(self) -> None:
        """The screen has ended."""
        self._gone.set()

    def __call__(self, signals: Signals) -> None:
        """Listens to `signals`."""
        idle_since: float | None = None
        while not self._gone.is_set():
            training = self._app.session.training
            if training is not None and signals.stopping:
                training.stop()
            if signals.hung_up and isinstance(self._app._driver, Terminal):
                self._app._driver.abandon()
            if (loop := self._app._loop) is not None and self._app.is_running:
                with suppress(RuntimeError):  # the loop has just ended
                    loop.call_soon_threadsafe(self._app.exit, signals.ending)
            if training is not None and training.alive:
                idle_since = None
            elif idle_since is None:
                idle_since = time.monotonic()
            elif time.monotonic() - idle_since > SCREEN_ENDS:
                os._exit(signals.exit_code)
            self._gone.wait(0.2)


def finish(training: Training | None, runs_dir: Path, ending: Ending, signals: Signals) -> int:
    """What becomes of this process' training after the screen: stopped, handed over, or waited for. The exit code."""
    if training is None or not training.alive:
        return ending.exit_code
    if ending is Ending.BROKEN:
        tell("the screen ended by a bug; training goes on here, Ctrl-C stops it with a checkpoint")
    if ending in (Ending.HANGUP, Ending.BROKEN) and outlasted(training, signals):
        return 0
    while ending is Ending.DETACH and training.starting and not signals.stopping:
        training.wait(0.25)  # only a run that has begun can be handed over
    if training.run is not None and training.left is not None:
        return tell_left(training.run, runs_dir, training.left)
    tell(f"{name_of(training)}: writing a checkpoint …")
    end_training(training, signals)
    if ending is Ending.DETACH and not signals.stopping:
        return hand_over(training, runs_dir)
    tell_end(training, runs_dir)
    return signals.exit_code or ending.exit_code


def outlasted(training: Training, signals: Signals) -> bool:
    """Wait until the training has ended by itself; False when it is to be ended."""
    while not signals.stopping:
        if not training.alive:
            return True
        training.wait(0.25)
    return False


def end_training(training: Training, signals: Signals) -> None:
    """Stop the training with a checkpoint, and wait for it as long as it is worth while."""
    while training.alive:
        training.stop()
        training.wait(0.1)
        if training.host is not None and training.host.alive:
            leave_if_hurried(training.host, signals)


def hand_over(training: Training, runs_dir: Path) -> int:
    """A background process goes on with what this one has stopped; the exit code."""
    host = training.host
    if training.run is None or host is None or host.state != "stopped":
        tell_end(training, runs_dir)
        return 0 if host is not None and host.error is None else 1
    try:
        pid = detached.leave(training.run, runs_dir)
    except UserError as error:
        tell(f"{name_of(training)} could not be detached: {error}")
        return 1
    return tell_left(training.run, runs_dir, pid)


def tell_left(run: RunDir, runs_dir: Path, pid: int) -> int:
    """What is trained by process `pid` now; the exit code."""
    for line in detached.left_words(run, runs_dir, pid):
        tell(line)
    return 0


def tell_end(training: Training, runs_dir: Path) -> None:
    """The last words about a training that was asked to end."""
    name, run, host = name_of(training), training.run, training.host
    if run is not None and training.left is not None:
        tell_left(run, runs_dir, training.left)
        return
    if run is None or host is None:
        tell(f"{name}: {training.error or 'ended before its training began'}")
        return
    if host.error is not None:
        tell(f"{name}: {host.error}")
    elif host.state == "finished":
        tell(f"{name}: finished")
    elif host.state == "stopped":
        tell(f"{name}: stopped with a checkpoint; go on with: {detached.how_to('train --resume', run, runs_dir)}")
    else:
        tell(f"{name}: ended without a checkpoint; go on with: {detached.how_to('train --resume', run, runs_dir)}")
    tell(f"open it with: {detached.how_to('open', run, runs_dir)}")


def name_of(training: Training) -> str:
    return training.run.name if training.run is not None else "the run"


def tell(line: str) -> None:
    """A line for whoever still looks; a terminal that is gone is no error."""
    try:
        sys.stdout.write(clean(line, keep_newlines=False) + "\n")
        sys.stdout.flush()
    except OSError:
        pass
