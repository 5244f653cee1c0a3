"""What ends this process from outside: SIGHUP, SIGINT, SIGTERM and SIGQUIT, from its first moment on.

What a signal does hangs on what there is to lose:

- nothing yet, a command has just begun: SIGINT ends it in one line. SIGHUP takes the terminal away and no more, for
  what is about to begin may be a training.
- nothing at all, the command trains nothing (`plain`): SIGINT ends it in one line, the others end it as any program.
- a training, or a screen (`watching`): the signal is noted and the listeners are told; nothing ends by itself.

A handler runs between any two instructions of the main thread. That may hold any lock, be in the middle of an import,
or stand in a write that a stalled terminal does not take. So a handler takes no lock and waits for nothing: it gives up
the terminal, which frees that write, notes, and leaves the telling to a thread of its own. No event loop need be alive.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from enum import Enum
from queue import SimpleQueue
from types import FrameType
from typing import TYPE_CHECKING, Any

from tui.terminal.hangup import give_up

if TYPE_CHECKING:
    from engine.training.host import TrainingHost
    from engine.training.processes import Processes

HURRY = 30.0
"""Seconds that a checkpoint under way still gets once an end was asked for a second time."""


class Ending(Enum):
    """Why the screen went away, and so what becomes of the training of this process."""

    LEAVE = "leave"  # nothing trains here
    STOP = "stop"  # asked at the keyboard: checkpoint, then end
    DETACH = "detach"  # checkpoint, then a background process goes on
    HANGUP = "hangup"  # the terminal is gone: train on without it
    TERMINATE = "terminate"  # SIGTERM: checkpoint, then end
    INTERRUPT = "interrupt"  # SIGINT: the same
    QUIT = "quit"  # SIGQUIT: the same
    BROKEN = "broken"  # a bug ended the screen: as a hang-up, but said

    @property
    def exit_code(self) -> int:
        return next((128 + number for number, ending in SIGNALS.items() if ending is self), 0) if self.asked else 0

    @property
    def asked(self) -> bool:
        """Whether a signal asked for the end of training too."""
        return self in (Ending.TERMINATE, Ending.INTERRUPT, Ending.QUIT)


SIGNALS = {
    signal.SIGHUP: Ending.HANGUP,
    signal.SIGINT: Ending.INTERRUPT,
    signal.SIGQUIT: Ending.QUIT,
    signal.SIGTERM: Ending.TERMINATE,
}

Listener = Callable[["Signals"], None]


class Signals:
    """Holds the handlers: `install`, then `plain` or, as often as there is something to lose, `watching`."""

    def __init__(self) -> None:
        self.ending: Ending | None = None
        """What was asked for while watching: a hang-up, until an end is asked for, and then that for good."""
        self.hung_up = False
        self.interrupted = False
        """Whether SIGINT came while there was nothing to lose; whatever then goes wrong is its doing."""
        self._terminal: list[int] = []
        self._watching = self._plain = False
        self._times, self._deadline = 0, float("inf")
        self._told: SimpleQueue[bool] = SimpleQueue()
        self._before: dict[int, Any] = {}

    # -- life ----------------------------------------------------------------------------------------------------------

    def install(self) -> None:
        """Take the handlers (the main thread only); what the parent process had ignored stays ignored."""
        if self._before:
            return
        self._terminal = [fd for fd in (0, 1, 2) if os.isatty(fd)]  # of one that is gone it cannot be told
        for number in SIGNALS:
            if signal.getsignal(number) is not signal.SIG_IGN:
                self._before[number] = signal.signal(number, self._handle)

    def remove(self) -> None:
        """Put back the handlers that were there before."""
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before = {}

    def plain(self) -> None:
        """From here on nothing can be lost: a hang-up, also one that has come already, ends the process."""
        self._plain = True
        if self.hung_up:
            die(signal.SIGHUP)

    @contextmanager
    def watching(self, *listeners: Listener) -> Iterator[Signals]:
        """Inside, signals end nothing: they are noted here, and `listeners` called in a thread that may wait."""
        mine = not self._before
        self.install()
        self.ending = Ending.HANGUP if self.hung_up else None
        self._times, self._deadline, self._told = 0, float("inf"), SimpleQueue()
        telling = threading.Thread(target=self._tell, args=(self._told, listeners), name="signals", daemon=True)
        telling.start()
        self._watching = True
        if self.hung_up:
            self._told.put(True)
        try:
            yield self
        finally:
            self._watching = False
            self._told.put(False)
            if mine:
                self.remove()

    def _tell(self, told: SimpleQueue[bool], listeners: tuple[Listener, ...]) -> None:
        while told.get():
            for listener in listeners:
                listener(self)

    # -- what was asked ------------------------------------------------------------------------------------------------

    @property
    def stopping(self) -> bool:
        """Whether an end of the training was asked for."""
        return self.ending is not None and self.ending.asked

    @property
    def exit_code(self) -> int:
        return self.ending.exit_code if self.ending is not None else 0

    @property
    def hurried(self) -> bool:
        """Whether the end was asked for more than once."""
        return self._times > 1

    @property
    def out_of_time(self) -> bool:
        """Whether it was asked for a second time, and HURRY seconds ago."""
        return time.monotonic() > self._deadline

    @property
    def had_screen(self) -> bool:
        """Whether there was a terminal to draw on and to read keys from when this began; it may have gone since."""
        return {0, 1} <= set(self._terminal)

    def hang_up(self) -> None:
        """The terminal is gone, whether a signal said so or not."""
        self.ending = self.ending or Ending.HANGUP
        if not self.hung_up:
            self.hung_up = True
            with suppress(OSError):  # no descriptors left
                give_up(self._terminal)

    def write_to(self, log: str | os.PathLike[str]) -> None:
        """Put a file behind stdout and stderr in the place of the terminal that is gone."""
        with suppress(OSError):
            file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o666)
            for fd in self._terminal:
                if fd in (1, 2):
                    os.dup2(file, fd)
            os.close(file)

    # -- handlers ------------------------------------------------------------------------------------------------------

    def _handle(self, number: int, frame: FrameType | None) -> None:
        ending = SIGNALS[signal.Signals(number)]
        if ending is Ending.HANGUP:
            if self._plain and not self._watching:
                die(number)
            self.hang_up()
        elif not self._watching:
            self._end_now(number, frame)
        else:
            if not self.stopping:
                self.ending = ending
            self._times += 1
            if self._times == 2:
                self._deadline = time.monotonic() + HURRY
        if self._watching:
            self._told.put(True)

    def _end_now(self, number: int, frame: FrameType | None) -> None:
        """SIGINT lets a command tidy up, unless that is what it does already, or a half imported module would be all
        it had for it; the others end it at once."""
        if number != signal.SIGINT:
            die(number)
        if self.interrupted or importing(frame):
            leave_in_a_line()
        self.interrupted = True
        raise KeyboardInterrupt


def leave_if_hurried(host: TrainingHost | Processes, signals: Signals) -> None:
    """End the process without the checkpoint it waits for, when that is worth nothing or takes too long.

    That is, once an end was asked for twice: at once before the first step, else HURRY seconds later. Any number of
    signals costs no step otherwise. The status says what happened.
    """
    if not (signals.out_of_time or (signals.hurried and not host.begun)):
        return
    # from a thread: the trainer's may stand in a write, with the status' lock held
    why = "ended by a second signal, without a checkpoint"
    saying = threading.Thread(target=host.give_up, args=(why,), daemon=True)
    saying.start()
    saying.join(2.0)
    os._exit(signals.exit_code)


def importing(frame: FrameType | None) -> bool:
    """Whether a module is being imported at `frame`."""
    while frame is not None:
        if frame.f_code.co_filename.startswith("<frozen importlib"):
            return True
        frame = frame.f_back
    return False


def leave_in_a_line() -> None:
    """End the process with nothing but the word that it was asked to; the cursor may have been hidden."""
    with suppress(OSError):
        os.write(2, b"\x1b[?25htinytui: cancelled\n" if os.isatty(2) else b"tinytui: cancelled\n")
    os._exit(130)


def die(number: int) -> None:
    """End as a program ends that does not know the signal."""
    signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)


def open_closed() -> None:
    """Put silence behind those of stdin, stdout and stderr that are closed.

    Otherwise the next file opened would take the place, and the records of a run receive the warnings of a library.
    """
    for fd in (0, 1, 2):
        try:
            os.fstat(fd)
        except OSError:
            os.open(os.devnull, os.O_RDONLY if fd == 0 else os.O_WRONLY)  # the lowest number free: this one
            os.set_inheritable(fd, True)
    sys.stdin = sys.stdin or open(0, encoding="utf-8", closefd=False)  # noqa: SIM115
    sys.stdout = sys.stdout or open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
    sys.stderr = sys.stderr or open(2, "w", encoding="utf-8", closefd=False)  # noqa: SIM115


PROCESS = Signals()
"""This process' own."""
