"""A training that goes on in a background process, and how to reach it from a command line."""

from __future__ import annotations

import shlex
import subprocess
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine import process
from engine.errors import TrainingError

if TYPE_CHECKING:
    from engine.runs.layout import RunDir
    from engine.training.processes import Processes

MOST_SAID = 1 << 16  # bytes of a log among which a complaint is
DETACHED_WITHIN = 60.0  # seconds in which a background process must have taken its run


def leave(
    run: RunDir, runs: Path, size: int = 1, restarts: int = 0, given_up: Callable[[], bool] = lambda: False
) -> int:
    """Train `run` in a background process (or several) with a session of its own; its pid, once it has the run.

    Raises TrainingError where the process ended without having begun, or was ended because it was given up.
    """
    from engine.runs.status import read_status

    said = run.log.stat().st_size if run.log.exists() else 0
    started = detach(run, runs, size, restarts)
    deadline = time.monotonic() + DETACHED_WITHIN
    try:
        while time.monotonic() < deadline and not at_work(read_status(run), started.pid):
            if (code := started.poll()) is not None:
                if code:
                    raise TrainingError(why_not(run, said) or f"the background process ended at once; see {run.log}")
                break  # a short run may be over by now
            if given_up():
                started.terminate()
                raise TrainingError("the start was given up")
            time.sleep(0.05)
    except KeyboardInterrupt:  # cancelled is cancelled: nothing trains on behind one's back
        started.terminate()
        raise
    return started.pid


def left_words(run: RunDir, runs: Path, pid: int) -> tuple[str, str]:
    """What is said of a run that trains in the background now."""
    return (
        f"{run.name} trains in the background, process {pid}",
        f"open it with: {how_to('open', run, runs)}, stop it with: {how_to('runs stop', run, runs)}",
    )


def detach(run: RunDir, runs_dir: Path, size: int = 1, restarts: int = 0) -> subprocess.Popen[bytes]:
    """Start a process of its own that resumes `run` exactly where it stopped.

    Its output goes to the run's log; it survives this process and its terminal. Of several processes it is the one
    that looks after them.
    """
    if size > 1:
        several = processes(run, runs_dir, size, restarts)
        several.start()
        return several.launcher
    with run.log.open("ab") as log:
        return process.start("tui.cli", *words_to_resume(run, runs_dir), stdout=log, stderr=log)


def processes(run: RunDir, runs_dir: Path, size: int, restarts: int = 0) -> Processes:
    """So many processes that resume `run`, not started yet."""
    from engine.training.processes import Processes

    return Processes(run, "tui.cli", words_to_resume(run, runs_dir), size, restarts)


def began_with(run: RunDir) -> int:
    """How many processes the run was begun with."""
    from engine.runs.status import read_info

    return ranks_in(read_info(run))


def ranks_in(info: Mapping[str, Any]) -> int:
    """How many processes a run was begun with, by its run.json."""
    size = (info.get("environment") or {}).get("ranks")
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


def why_not(run: RunDir, since: int) -> str:
    """Why a background process ended: the first complaint in its log `since` so many bytes.

    After it come those of the others of its kind, and what looks after them has much to say.
    """
    try:
        with run.log.open("rb") as log:
            log.seek(since)
            lines = log.read(MOST_SAID).decode("utf-8", errors="replace").splitlines()
    except OSError:
        return ""
    complaints = [line for line in lines if line.startswith("tinytui: ")]
    return complaints[0].removeprefix("tinytui: ") if complaints else ""


def how_to(command: str, run: RunDir, runs: Path) -> str:
    """The command line that reaches this run from here."""
    return f"tinytui {command} {run.name if runs == Path('runs') else shlex.quote(shown_path(run))}"


def shown_path(run: RunDir) -> str:
    """The run's path, from here where that is shorter."""
    here = Path.cwd()
    return str(run.path.relative_to(here)) if run.path.is_relative_to(here) else str(run.path)
