"""A training of this process without a screen: its thread trains, the main thread watches the run directory and prints.

The trainer never prints and never waits for what is printed here.
"""

from __future__ import annotations

import os
import signal
from types import FrameType
from typing import TYPE_CHECKING

from engine.errors import TrainingError

if TYPE_CHECKING:
    from engine.runs.layout import RunDir
    from engine.runs.reader import RunReader
    from engine.training.host import TrainingHost
    from tui.cli.views import View

PERIOD = 0.25  # seconds between two looks at the run directory


class EndSignals:
    """Ctrl-C and SIGTERM ask for an end with a checkpoint (the second time: at once); a hang-up trains on into a log.

    Use as a context manager in the main thread. `code` is the exit code once an end was asked for.
    """

    def __init__(self, run: RunDir) -> None:
        self.code: int | None = None
        self.hung_up = False
        self._log = run.log
        self._on_terminal = [fd for fd in (1, 2) if os.isatty(fd)]  # of a terminal that is gone it could not be told
        self._before: dict[int, object] = {}

    def __enter__(self) -> EndSignals:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            if (
                number != signal.SIGHUP or signal.getsignal(number) is not signal.SIG_IGN
            ):  # nohup asked to be left alone
                self._before[number] = signal.signal(number, self._handle)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)  # type: ignore[arg-type]

    def _handle(self, number: int, _frame: FrameType | None) -> None:
        if number == signal.SIGHUP:
            self.leave_terminal()
        elif self.code is None:
            self.code = 128 + number
        else:
            if os.isatty(1):
                os.write(1, b"\x1b[?25h\n")  # the progress line hides the cursor
            os._exit(128 + number)

    def leave_terminal(self) -> None:
        """The terminal is gone: the run's log takes its place behind stdout and stderr, and nothing behind stdin."""
        if self.hung_up:
            return
        self.hung_up = True
        log = os.open(self._log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
        nothing = os.open(os.devnull, os.O_RDONLY)
        for fd in self._on_terminal:
            os.dup2(log, fd)
        os.dup2(nothing, 0)
        os.close(log)
        os.close(nothing)


def follow(host: TrainingHost, reader: RunReader, view: View, signals: EndSignals) -> int:
    """Show the run until its trainer has ended. Returns the exit code; raises TrainingError when training failed."""
    from tui.cli.views import Lines, ProgressLine, Silence

    stopping = False
    while True:
        ended = not host.alive
        if not ended:
            host.join(PERIOD)
        if signals.code is not None and not stopping:
            stopping = True
            host.stop(checkpoint=True)
        if signals.hung_up and isinstance(view, ProgressLine):
            view = Lines(reader)
        if reader.poll() or ended:
            try:
                view.update(reader)
            except BrokenPipeError:  # who read the lines is gone; the training is not theirs
                view = Silence()
            except OSError:  # the terminal went away without a signal
                signals.leave_terminal()
        if ended:
            break
    view.close()
    if host.error is not None:
        raise TrainingError(host.error)
    return signals.code or 0
