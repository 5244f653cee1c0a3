"""A training of this process without a screen: its thread trains, the main thread watches the run directory and prints.

The trainer never prints and never waits for what is printed here.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from engine.errors import TrainingError
from tui.terminal.signals import Signals, leave_if_hurried

if TYPE_CHECKING:
    from engine.runs.layout import RunDir
    from engine.training.host import TrainingHost
    from engine.training.processes import Processes
    from tui.cli.newest import Newest
    from tui.cli.views import View

PERIOD = 0.25  # seconds between two looks at the run directory


def follow(host: TrainingHost | Processes, newest: Newest, view: View, signals: Signals) -> int:
    """Show the run until its trainer has ended. Returns the exit code; raises TrainingError when training failed.

    SIGINT, SIGTERM and SIGQUIT end it with a checkpoint. When the terminal has gone, it trains on into the run's log.
    """
    from tui.cli.views import Silence

    stopping = logged = False
    broken: Exception | None = None
    while True:
        ended = not host.alive
        if not ended:
            host.join(PERIOD)
        if signals.stopping and not stopping:
            stopping = True
            host.stop(checkpoint=True)
        if signals.hung_up and not logged:
            logged = True
            view = into_log(view, host.run, newest, signals)
        try:
            news, untold = newest.poll(), host.untold()
            newest.status |= untold
            if news or untold or ended:
                view.update(newest)
        except BrokenPipeError:  # who read the lines is gone; the training is not theirs
            view = Silence()
        except OSError:  # the terminal went away without a signal
            signals.hang_up()
        except Exception as error:  # a bug in what is shown; the training ends first, then it is told
            broken, view = error, Silence()
        if ended:
            break
        leave_if_hurried(host, signals)
    view.close()
    if host.error is not None:
        raise TrainingError(host.error)
    if broken is not None:
        raise broken
    return signals.exit_code


@contextmanager
def cursor_while_stopped() -> Iterator[None]:
    """Inside, Ctrl-Z gives the shell its cursor back, which a progress line hides, and `fg` hides it again."""

    def stop(*_: object) -> None:
        with suppress(OSError):
            os.write(1, b"\x1b[?25h")
        # its own action and not SIGSTOP: where nobody could wake the process, the kernel lets it run
        signal.signal(signal.SIGTSTP, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGTSTP)
        signal.signal(signal.SIGTSTP, stop)
        with suppress(OSError):
            os.write(1, b"\x1b[?25l")

    before = signal.signal(signal.SIGTSTP, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTSTP, before)


def into_log(view: View, run: RunDir, newest: Newest, signals: Signals) -> View:
    """What is shown from now on of a run whose terminal has gone: lines for its log, where it was drawn before."""
    from tui.cli.views import Lines, ProgressLine

    view.close()
    signals.write_to(run.log)
    return Lines(newest) if isinstance(view, ProgressLine) else view
