"""The command line: `tinytui` and `python -m tui.cli`."""

from __future__ import annotations

import sys

if sys.argv[0] == "-m" or sys.argv[0].endswith("/tinytui"):  # this process is the program, at its very first line
    import _signal  # type: ignore[import-not-found]

    # Ctrl-C ends it without a word from here on, and not in the middle of an import with all of Python's
    if _signal.getsignal(_signal.SIGINT) != _signal.SIG_IGN:
        _signal.signal(_signal.SIGINT, _signal.SIG_DFL)

import io
import os
import threading
from typing import TYPE_CHECKING

from tui.terminal.signals import PROCESS, leave_in_a_line, open_closed

if TYPE_CHECKING:
    from sys import UnraisableHookArgs

SPINS = 3000
"""How often a waiting thread of GNU OpenMP, which PyTorch computes with on Linux, looks before it sleeps.

Its own 300,000 turns are milliseconds in which a busy machine cannot run the thread that is waited for: two trainings
on two cores made a step of 22 ms take 2,600. With 3,000 a step on a quiet machine takes what it did.
"""


def main() -> None:
    """Run the command that the process' arguments name, and end the process with its exit status."""
    PROCESS.install()
    sys.unraisablehook = unraisable
    open_closed()
    spare_the_others()
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")  # they are sought in all that is installed
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a terminal of few letters shows question marks for the others
    code = 1
    try:
        from tui.cli.app import make_app

        make_app(sys.argv[1:])(prog_name="tinytui")
    except SystemExit as ending:
        code = ending.code if isinstance(ending.code, int) else 0
    except BrokenPipeError:  # whoever read it has gone
        pass
    except BaseException as error:
        if not PROCESS.interrupted:
            show_traceback(error)
    if PROCESS.interrupted:
        leave_in_a_line()
    leave(code)


def unraisable(problem: UnraisableHookArgs) -> None:
    """An interrupt that came where nothing can be raised, in a finalizer, is one all the same."""
    if PROCESS.interrupted and isinstance(problem.exc_value, KeyboardInterrupt):
        leave_in_a_line()
    sys.__unraisablehook__(problem)


def show_traceback(error: BaseException) -> None:
    """A traceback on stderr in which nothing drives a terminal, whatever a path, a name or a file held."""
    import traceback

    from tui.text import clean

    sys.stderr.write("".join(clean(line) for line in traceback.format_exception(error)))


def spare_the_others() -> None:
    """Set `SPINS` for this process and those it starts, where the user has not; PyTorch must not be loaded yet."""
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", str(SPINS))


def leave(code: int) -> None:
    """End the process once all that it does is done, without the second that PyTorch takes to be taken apart.

    Nor is a thread waited for that reads a terminal which is gone: Textual's may do so for ever.
    """
    for thread in threading.enumerate():
        if thread is not threading.current_thread() and not thread.daemon:
            # one that trains is waited for; one that still reads a dead terminal has nothing left to say
            thread.join(None if thread.name.startswith("train-") else 2.0)
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    except OSError:  # whoever read it has gone; what is left to be written would be tried again
        os._exit(code or 1)
    if "torch" in sys.modules or threading.active_count() > 1:
        os._exit(code)
    PROCESS.remove()
    sys.exit(code)
