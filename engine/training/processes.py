"""A training of several processes on this machine: started, asked to end, and its end told, as a `TrainingHost`'s is.

Whoever looks at it reads the run directory; the process that has rank 0 writes that, and answers its socket.
"""

from __future__ import annotations

import os
import signal
import subprocess
from contextlib import suppress
from typing import Any

import psutil

from engine import process
from engine.control import ControlClient
from engine.errors import RunError, TrainingError
from engine.machine import usable_threads
from engine.runs.layout import RunDir
from engine.runs.status import read_status

ENDED = ("finished", "stopped")


class Processes:
    """`size` processes that train `run`, each by `module` with `words`, which resume it; see `engine.process`."""

    def __init__(self, run: RunDir, module: str, words: tuple[str, ...], size: int, restarts: int = 0) -> None:
        self.run, self.size, self.restarts = run, size, restarts
        self._module, self._words = module, words
        self._launcher: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Begin. Raises TrainingError when there can be no such process."""
        try:
            with self.run.log.open("ab") as log:
                self._launcher = process.start_group(
                    self._module,
                    *self._words,
                    size=self.size,
                    restarts=self.restarts,
                    threads=max(1, usable_threads() // self.size),
                    log=log,
                )
        except OSError as error:
            raise TrainingError(f"{self.size} processes cannot be started: {error.strerror}") from None

    @property
    def launcher(self) -> subprocess.Popen[bytes]:
        """The process that looks after the others, once it was started."""
        assert self._launcher is not None
        return self._launcher

    @property
    def pid(self) -> int:
        return self.launcher.pid

    @property
    def alive(self) -> bool:
        return self._launcher is not None and self._launcher.poll() is None

    def join(self, timeout: float | None = None) -> None:
        if self._launcher is not None:
            with suppress(subprocess.TimeoutExpired):
                self._launcher.wait(timeout)

    @property
    def ours(self) -> bool:
        """Whether the run's status is of one of these processes."""
        if self._launcher is None:
            return False
        with suppress(psutil.Error):
            if read_status(self.run).get("pid") in [each.pid for each in psutil.Process(self.pid).children()]:
                return True
        return False

    @property
    def begun(self) -> bool:
        """Whether it has come to the first step, so that there may be something to save."""
        return self.ours and bool(read_status(self.run).get("socket"))

    def stop(self, checkpoint: bool = True) -> None:
        """Ask rank 0 to end at the next step boundary; `join` waits for it."""
        try:
            ControlClient(self.run).send("stop", checkpoint=checkpoint)
        except RunError:  # it does not listen yet
            if self.alive:
                os.kill(self.pid, signal.SIGTERM)

    def give_up(self, why: str) -> None:
        """End all of them now, whatever they are doing."""
        with suppress(psutil.Error, ProcessLookupError):
            below = psutil.Process(self.pid).children(recursive=True)
            os.kill(self.pid, signal.SIGKILL)
            for each in below:
                each.kill()

    def untold(self) -> dict[str, Any]:
        """Nothing: what cannot be written is known to rank 0 alone."""
        return {}

    @property
    def state(self) -> str | None:
        """How it ended: finished, stopped or failed; None while it lives."""
        if self._launcher is None or self.alive:
            return None
        told = read_status(self.run).get("state")
        return told if told in ENDED else "failed"

    @property
    def error(self) -> str | None:
        """Why it failed, in one line."""
        if self.state != "failed":
            return None
        status = read_status(self.run)
        if status.get("state") == "failed" and status.get("problem"):
            return str(status["problem"])
        steps = self.run.checkpoint_steps()
        last = f"the checkpoint of step {steps[-1]} stands, go on with" if steps else "there is no checkpoint yet, see"
        more = f"tinytui train --resume {self.run.name}" if steps else str(self.run.log)
        return f"the process that had the run (rank 0) has died; {last} {more}"
