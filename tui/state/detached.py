"""A training that goes on in a background process, and how to reach it from a command line."""

from __future__ import annotations

import os
import shlex
import signal
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine import process
from engine.errors import TrainingError

if TYPE_CHECKING:
    from engine.runs.layout import RunDir
    from engine.training.processes import Processes

MOST_SAID = 1 << 16  # bytes at the end of a log among which its last line is
DETACHED_WITHIN = 60.0  # seconds in which a background process must have taken its run


def leave(run: RunDir, runs: Path, size: int = 1, restarts: int = 0) -> int:
    """Train `run` in a background process (or several) with a session of its own; its pid, once it has the run.

    Raises TrainingError where the process ended without having begun.
    """
    from engine.runs.status import read_status

    pid = detach(run, runs, size, restarts)
    deadline = time.monotonic() + DETACHED_WITHIN
    try:
        while time.monotonic() < deadline and not at_work(read_status(run), pid):
            if (code := exit_code(pid)) is not None:
                if code:
                    raise TrainingError(last_line(run) or f"the background process ended at once; see {run.log}")
                break  # a short run may be over by now
            time.sleep(0.05)
    except KeyboardInterrupt:  # cancelled is cancelled: nothing trains on behind one's back
        os.kill(pid, signal.SIGTERM)
        raise
    return pid


def left_words(run: RunDir, runs: Path, pid: int) -> tuple[str, str]:
    """What is said of a run that trains in the background now."""
    return (
        f"{run.name} trains in the background, process {pid}",
        f"open it with: {how_to('open', run, runs)}, stop it with: {how_to('runs stop', run, runs)}",
    )


def detach(run: RunDir, runs_dir: Path, size: int = 1, restarts: int = 0) -> int:
    """Start a process of its own that resumes `run` exactly where it stopped; its pid.

    Its output goes to the run's log; it survives this process and its terminal. Of several processes it is the pid of
    the one that looks after them.
    """
    if size > 1:
        several = processes(run, runs_dir, size, restarts)
        several.start()
        return several.pid
    with run.log.open("ab") as log:
        return process.start("tui.cli", *words_to_resume(run, runs_dir), stdout=log, stderr=log).pid


def processes(run: RunDir, runs_dir: Path, size: int, restarts: int = 0) -> Processes:
    """So many processes that resume `run`, not started yet."""
    from engine.training.processes import Processes

    return Processes(run, "tui.cli", words_to_resume(run, runs_dir), size, restarts)


def began_with(run: RunDir) -> int:
    """How many processes the run was begun with."""
    from engine.runs.status import read_info

    size = (read_info(run).get("environment") or {}).get("ranks")
    return size if isinstance(size, int) and size > 0 else 1


def words_to_resume(run: RunDir, runs_dir: Path) -> tuple[str, ...]:
    return ("--runs", str(runs_dir), "train", "--resume", str(run.path))


def at_work(status: dict[str, Any], pid: int) -> bool:
    """Whether process `pid`, or one that it started, is past all that can go wrong at the start of its training."""
    import psutil

    own = status.get("pid") == pid
    with suppress(psutil.Error):
        own = own or status.get("pid") in [each.pid for each in psutil.Process(pid).children()]
    return own and (bool(status.get("socket")) or status.get("phase") == "training")


def exit_code(pid: int) -> int | None:
    """The exit code of a child of this process; None while it lives."""
    found, status = os.waitpid(pid, os.WNOHANG)
    return os.waitstatus_to_exitcode(status) if found else None


def last_line(run: RunDir) -> str:
    """What a background process said last."""
    try:
        with run.log.open("rb") as log:
            log.seek(max(0, run.log.stat().st_size - MOST_SAID))
            lines = log.read(MOST_SAID).decode("utf-8", errors="replace").strip().splitlines()
    except OSError:
        return ""
    return lines[-1].removeprefix("tinytui: ") if lines else ""


def how_to(command: str, run: RunDir, runs: Path) -> str:
    """The command line that reaches this run from here."""
    return f"tinytui {command} {run.name if runs == Path('runs') else shlex.quote(shown_path(run))}"


def shown_path(run: RunDir) -> str:
    """The run's path, from here where that is shorter."""
    here = Path.cwd()
    return str(run.path.relative_to(here)) if run.path.is_relative_to(here) else str(run.path)
