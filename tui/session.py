"""What the workbench holds: the run it shows, the line to that run's trainer, and the training of this process.

Everything that may wait (reading a large run, a socket, starting a trainer) happens in threads of its own that touch no
widget: they leave results where `Session.poll`, called by the screen a few times a second, picks them up.
"""

from __future__ import annotations

import os
import queue
import subprocess
import sys
import threading
from collections import deque
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine.errors import RunError, UserError

if TYPE_CHECKING:
    from engine.config import Config
    from engine.control import ControlClient
    from engine.runs.layout import RunDir
    from engine.runs.reader import RunReader
    from engine.text.corpus import Corpus, Template
    from engine.training.host import TrainingHost

LIVE_STATES = ("running", "paused")


@dataclass(frozen=True)
class Start:
    """A new run to train in this process."""

    corpus: str
    config: Config
    preset: str
    name: str | None = None
    device: str = "auto"


@dataclass(frozen=True)
class Resume:
    """A stopped run to go on with in this process."""

    run: RunDir
    max_steps: int | None = None
    device: str | None = None


@dataclass(frozen=True)
class Notice:
    """One line for the person; `bad` when something did not work."""

    text: str
    bad: bool = False


class Training:
    """The training of this process: started in a thread of its own, since a corpus may take seconds to prepare.

    `stage` and `fraction` say how far the start is; then `run` and `host` are set, or `error`.
    """

    def __init__(self, job: Start | Resume, runs_dir: Path, corpora_dir: Path | None) -> None:
        self.job = job
        self.stage, self.fraction = "reading the corpus", 0.0
        self.run: RunDir | None = job.run if isinstance(job, Resume) else None
        self.host: TrainingHost | None = None
        self.error: str | None = None
        self._runs_dir, self._corpora_dir = runs_dir, corpora_dir
        self._cancelled = False
        self._thread = threading.Thread(target=self._start, name="start-training", daemon=True)

    def begin(self) -> None:
        self._thread.start()

    @property
    def starting(self) -> bool:
        return self._thread.is_alive()

    @property
    def alive(self) -> bool:
        """Whether it trains, or is about to."""
        return self.starting or (self.host is not None and self.host.alive)

    def _start(self) -> None:
        try:
            from engine.training.host import TrainingHost
            from engine.training.start import resume_run, start_run

            if isinstance(self.job, Start):
                self.run = start_run(
                    self.job.corpus,
                    self.job.config,
                    self._runs_dir,
                    name=self.job.name,
                    preset=self.job.preset,
                    corpora_dir=self._corpora_dir,
                    device=self.job.device,
                    progress=self._progress,
                )
            else:
                resume_run(self.job.run, max_steps=self.job.max_steps)
            if self._cancelled or self.run is None:
                return
            device = self.job.device if isinstance(self.job, Resume) else None
            host = TrainingHost(self.run, device=device, corpora_dir=self._corpora_dir)
            host.start()
            self.host = host
        except UserError as error:
            self.error = str(error)
        except Exception as error:  # a bug; the screen lives on and names it
            self.error = f"this is a bug: {' '.join(f'{type(error).__name__}: {error}'.split())}"

    def _progress(self, stage: str, fraction: float) -> None:
        self.stage, self.fraction = stage, fraction

    def finish(self, checkpoint: bool = True) -> None:
        """Stop and wait until the trainer's thread is gone."""
        self._cancelled = True
        self._thread.join()
        if self.host is not None:
            self.host.stop(checkpoint=checkpoint)
            self.host.join()

    def wait(self, seconds: float) -> bool:
        """Wait up to `seconds` for the training to end by itself; True when it has."""
        if self.starting:
            self._thread.join(seconds)
            return False
        if self.host is None:
            return True
        self.host.join(seconds)
        return not self.host.alive


class Session:
    """The run shown and the training held; one a workbench."""

    def __init__(self, runs_dir: Path, corpora_dir: Path | None) -> None:
        self.runs_dir, self.corpora_dir = runs_dir, corpora_dir
        self.run: RunDir | None = None
        self.reader: RunReader | None = None
        self.training: Training | None = None
        self.start_error = ""
        """Why the training last asked for did not begin."""
        self.notices: deque[Notice] = deque()
        self._opened: deque[tuple[RunDir, RunReader]] = deque()
        self._opening: RunDir | None = None
        self._taken = False
        self._events_told = 0
        self._client: ControlClient | None = None
        self._commands: queue.SimpleQueue[tuple[ControlClient, str, dict[str, Any], str]] = queue.SimpleQueue()
        self._sender: threading.Thread | None = None
        self._corpora: dict[str, Corpus | None] = {}

    # -- the run shown -------------------------------------------------------------------------------------------------

    def expect(self, run: RunDir) -> None:
        """`run` will be opened in a moment; until then its name is said."""
        self._opening = run

    def open(self, run: RunDir) -> None:
        """Show `run` as soon as it is read; a small one at once, a run of a million steps a second later."""
        self.expect(run)
        reading = threading.Thread(target=self._read, args=(run,), name="open-run", daemon=True)
        reading.start()
        reading.join(0.1)
        self._take_opened()

    def _read(self, run: RunDir) -> None:
        try:
            from engine.runs.reader import RunReader

            reader = RunReader(run)
            reader.poll()
        except (UserError, OSError) as error:
            self.notices.append(Notice(str(error), bad=True))
            return
        self._opened.append((run, reader))

    def _take_opened(self) -> None:
        while self._opened:
            run, reader = self._opened.popleft()
            if run.path != (self._opening and self._opening.path):
                continue
            self.run, self.reader, self._client, self._opening = run, reader, None, None
            self._taken, self._events_told = True, len(reader.events)

    @property
    def opening(self) -> str:
        """The name of the run being read, or nothing."""
        return self._opening.name if self._opening is not None else ""

    def close(self) -> None:
        """Show no run (it was deleted)."""
        self.run = self.reader = self._client = self._opening = None

    def poll(self) -> bool:
        """Pick up what is new; True when anything the screen shows may have changed."""
        self._take_opened()
        changed, self._taken = self._taken, False
        training = self.training
        if training is not None and training.run is not None and training.host is not None:
            shown = self.run if self._opening is None else self._opening
            if shown is None:
                self.open(training.run)
                changed = True
        if training is not None and training.error is not None:
            self.start_error = training.error
            self.training = None
            changed = True
        if self.reader is not None and self.reader.poll():
            changed = True
            if "events" in self.reader.changed:
                self._tell_events(self.reader.events)
        return changed

    def _tell_events(self, events: list[dict[str, Any]]) -> None:
        """Notice what happened to the run since the last look."""
        from tui.view import event_words

        for event in events[self._events_told :]:
            if (words := event_words(event)) is not None:
                self.notices.append(Notice(words[0], bad=words[1]))
        self._events_told = len(events)

    @property
    def status(self) -> dict[str, Any]:
        return self.reader.status if self.reader is not None else {}

    @property
    def state(self) -> str:
        return str(self.status.get("state", ""))

    @property
    def live(self) -> bool:
        """Whether the run shown has a trainer that takes commands."""
        return self.reader is not None and self.state in LIVE_STATES

    @property
    def own(self) -> bool:
        """Whether the run shown is the one this process trains."""
        training = self.training
        return (
            training is not None
            and training.alive
            and training.run is not None
            and self.run is not None
            and training.run.path == self.run.path
        )

    def corpus(self) -> Corpus | None:
        """The corpus of the run shown, when it is still known."""
        found = self.reader.info.get("corpus") if self.reader is not None else None
        name = str(found.get("path") or found.get("name") or "") if isinstance(found, dict) else ""
        if name and name not in self._corpora:
            from engine.text.catalog import find_corpus

            try:
                self._corpora[name] = find_corpus(name, self.corpora_dir)
            except (UserError, OSError):
                self._corpora[name] = None
        return self._corpora.get(name)

    def template(self) -> Template | None:
        """The prompt template the run was trained with."""
        found = self.reader.info.get("template") if self.reader is not None else None
        if isinstance(found, dict):
            from engine.text.corpus import Template

            return Template.from_dict(found)
        return None

    # -- the line to its trainer ---------------------------------------------------------------------------------------

    @property
    def client(self) -> ControlClient:
        """The line to the trainer of the run shown; raises RunError when no run is shown."""
        if self.run is None:
            raise RunError("no run is open; press n for a new one, r for the list")
        if self._client is None:
            from engine.control import ControlClient

            self._client = ControlClient(self.run)
        return self._client

    def send(self, do: str, said: str, **fields: Any) -> None:
        """Give the trainer a command, without waiting; `said` is noticed once it has taken it."""
        if self._sender is None:
            self._sender = threading.Thread(target=self._send_all, name="commands", daemon=True)
            self._sender.start()
        self._commands.put((self.client, do, fields, said))

    def _send_all(self) -> None:
        while True:
            client, do, fields, said = self._commands.get()
            try:
                client.send(do, **fields)
                if said:
                    self.notices.append(Notice(said))
            except (UserError, OSError) as error:
                self.notices.append(Notice(str(error), bad=True))

    # -- the training of this process ----------------------------------------------------------------------------------

    def train(self, job: Start | Resume) -> None:
        """Train `job` in this process and show it; raises RunError while another run trains here."""
        if self.training is not None and self.training.alive:
            name = self.training.run.name if self.training.run is not None else "a run"
            raise RunError(f"{name} trains in this process; detach it (d) or stop it (q) first")
        self.start_error = ""
        self.training = Training(job, self.runs_dir, self.corpora_dir)
        self.close()
        self.training.begin()


def detach(run: RunDir, runs_dir: Path) -> int:
    """Start a process of its own that resumes `run` exactly where it stopped; its pid.

    Its output goes to the run's log; it survives this process and its terminal.
    """
    home = str(Path(__file__).parents[1])  # found again from any folder, also when not installed
    path = os.pathsep.join(part for part in (home, os.environ.get("PYTHONPATH", "")) if part)
    with run.log.open("ab") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "tui.cli", "--runs", str(runs_dir), "train", "--resume", str(run.path)],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
            env={**os.environ, "PYTHONPATH": path},
        )
    return process.pid
