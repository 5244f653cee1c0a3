"""The training of this process: what is asked for, and the thread that begins it."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tui.state.detached import began_with, leave
from tui.state.worker import one_line

if TYPE_CHECKING:
    from engine.config import Config
    from engine.runs.layout import RunDir
    from engine.training.host import TrainingHost
    from tui.state.kit import Expected
    from tui.state.showing import Showing


@dataclass(frozen=True)
class ForkFrom:
    """A checkpoint of another run, to go on from with its settings (`config`, `corpus`, `preset`) or some others."""

    run: RunDir
    step: int
    config: Config
    corpus: str
    preset: str
    processes: int = 1
    """That train the other run."""
    expected: Expected | None = None
    """Its vocabulary and tokens."""


@dataclass(frozen=True)
class Start:
    """A new run to train in this process."""

    corpus: str
    config: Config
    preset: str
    name: str | None = None
    device: str = "auto"
    base: tuple[RunDir, str] | None = None
    """The run that is fine-tuned, and which of its checkpoints."""
    fork: ForkFrom | None = None
    showing: Showing | None = None
    processes: int = 1
    """More than one train it together, as processes of their own."""
    restarts: int = 0


@dataclass(frozen=True)
class Resume:
    """A stopped run to go on with, in this process or as several of their own; as many as before, where not said."""

    run: RunDir
    max_steps: int | None = None
    device: str | None = None
    processes: int | None = None
    restarts: int = 0


class Training:
    """The training of this process: started in a thread of its own, since a corpus may take seconds to prepare.

    `stage` and `fraction` say how far the start is; then `run` and `host` are set, or `error`. A run of several
    processes is only begun from here: with `left`, the id of the one that looks after them, it is none of this
    process' any more.
    """

    def __init__(self, job: Start | Resume, runs_dir: Path, corpora_dir: Path | None) -> None:
        self.job = job
        self.stage, self.fraction = "reading the corpus", 0.0
        self.run: RunDir | None = job.run if isinstance(job, Resume) else None
        self.host: TrainingHost | None = None
        self.left: int | None = None
        self.error: str | None = None
        self._runs_dir, self._corpora_dir = runs_dir, corpora_dir
        self._cancelled = False
        self._gate = threading.Lock()  # between the moment it may begin and the word that it may not
        self._thread = threading.Thread(target=self._start, name="start-training", daemon=True)

    def begin(self) -> None:
        self._thread.start()

    @property
    def starting(self) -> bool:
        return self._thread.is_alive()

    @property
    def begun(self) -> bool:
        """Whether its run has a trainer, and can be shown."""
        return self.run is not None and (self.host is not None or self.left is not None)

    @property
    def alive(self) -> bool:
        """Whether it trains, or is about to."""
        return (self.starting and not self._cancelled) or (self.host is not None and self.host.alive)

    def _start(self) -> None:
        try:
            from engine.training.host import TrainingHost
            from engine.training.start import resume_run, start_run

            if isinstance(self.job, Start) and self.job.fork is not None:
                run = _forked(self.job, self.job.fork, self._runs_dir)
            elif isinstance(self.job, Start):
                run = start_run(
                    self.job.corpus,
                    self.job.config,
                    self._runs_dir,
                    name=self.job.name,
                    preset=self.job.preset,
                    corpora_dir=self._corpora_dir,
                    device=self.job.device,
                    base=self.job.base,
                    progress=self._progress,
                    ranks=self.job.processes,
                )
            else:
                run = resume_run(self.job.run, max_steps=self.job.max_steps)
            self.run = run
            size = self.job.processes or began_with(run)
            if size > 1:
                self._leave(run, size)
                return
            device = self.job.device if isinstance(self.job, Resume) else None
            host = TrainingHost(run, device=device, corpora_dir=self._corpora_dir)
            with self._gate:
                if self._cancelled:
                    return
                host.start()
                self.host = host
        except Exception as error:  # also a bug: the screen lives on and names it
            self.error = one_line(error)

    def _leave(self, run: RunDir, size: int) -> None:
        """Begin it as so many processes of their own, which nothing that ends here ends. Raises UserError."""
        from engine.runs.status import read_config
        from engine.training.memory import check_shares

        check_shares(read_config(run), size)
        self.stage, self.fraction = f"starting {size} processes", 0.0
        self.left = leave(run, self._runs_dir, size, self.job.restarts, lambda: self._cancelled)

    def _progress(self, stage: str, fraction: float) -> None:
        self.stage, self.fraction = stage, fraction

    def stop(self) -> None:
        """Ask it to end with a checkpoint, or not to begin at all; returns at once. Once asked it stays asked."""
        with self._gate:
            asked, self._cancelled = self._cancelled, True
            if self.host is not None and not asked:
                self.host.stop()

    def wait(self, seconds: float) -> None:
        """Wait up to `seconds` for the start to be over, or the training."""
        if self.host is not None:
            self.host.join(seconds)
        else:
            self._thread.join(seconds)


def _forked(job: Start, fork: ForkFrom, runs_dir: Path) -> RunDir:
    """The new run, with all of the other one up to its checkpoint."""
    from engine.training.fork import fork_run
    from engine.training.start import resume_run

    before, after = fork.config.model_dump(), job.config.model_dump()
    changes = {
        f"{section}.{name}": value
        for section, settings in after.items()
        for name, value in settings.items()
        if value != before[section][name]
    }
    return resume_run(fork_run(fork.run, fork.step, runs_dir, name=job.name, changes=changes, ranks=job.processes))
