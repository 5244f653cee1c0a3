"""What the workbench holds: the run it shows, the line to that run's trainer, and the training of this process.

Everything that may wait happens in threads that touch no widget: `reads` reads files, `works` reckons what takes long,
`commands` speaks to trainers, `fetches` waits for servers, a training starts in a thread of its own. Their results are
picked up by `Session.poll`, which the screen calls a few times a second, and by `deliver` as soon as a worker has
something.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine.errors import RunError, UserError
from tui.state.news import Notice
from tui.state.reading import Ahead, Follower, Look
from tui.state.training import Resume, Start, Training
from tui.state.worker import Worker

if TYPE_CHECKING:
    from engine.runs.layout import RunDir
    from engine.runs.reader import RunView
    from engine.text.corpus import Corpus
    from engine.text.template import Template
    from tui.state.chart import ChartLook
    from tui.state.conversations import Conversations
    from tui.state.corpora import Shelf
    from tui.state.inspector import Inspector, Inspectors
    from tui.state.kit import Kit
    from tui.state.runstable import RunsTable
    from tui.state.samples import SamplePages
    from tui.state.settingschema import Settings
    from tui.state.showing import Showing
    from tui.state.summary import Latest

LIVE_STATES = ("running", "paused")
LOOK_EVERY = 0.4
"""Seconds between two looks at the run shown."""


class Session:
    """The run shown and the training held; one a workbench.

    One run is shown or none. From the moment another one is asked for, nothing of the run before is there any more: no
    name, no numbers, nobody to send a command to. When it cannot be read, `problem` says why and nothing is shown.
    """

    def __init__(self, runs_dir: Path, corpora_dir: Path | None) -> None:
        self.runs_dir, self.corpora_dir = runs_dir, corpora_dir
        self.run: RunDir | None = None
        self.look: Look | None = None
        """The newest look at the run shown; another object whenever something changed."""
        self.ahead: Ahead | None = None
        """The metrics of the first run to be opened, on their way."""
        self.training: Training | None = None
        self.showing: Showing | None = None
        self.problem = ""
        """Why what was last asked for (a run to show, a training) did not come about."""
        self.notices: deque[Notice] = deque(maxlen=64)
        self.reads = Worker("reads", self.complain)
        self.works = Worker("works", self.complain)
        self.commands = Worker("commands", self.complain)
        self.fetches = Worker("fetches", self.complain)
        self._commands = 0
        self._opening: RunDir | None = None
        self._to_show: Training | None = None  # shown as soon as it has a trainer, unless another run is asked for
        self._taken = False
        self._corpora: dict[str, Corpus | None] = {}
        self._talks: Conversations | None = None
        self._table: RunsTable | None = None
        self._shelf: Shelf | None = None
        self.kept: dict[str, Any] = {}
        """What is remembered from one start to the next, as it was read at this one and changed since."""
        self.keeps_last = True
        """Whether the run shown is remembered; not where that would replace settings that only a person can mend."""
        self._unsaved: dict[str, object] = {}
        self.read_only = False
        """Whether nothing is written, settings included."""
        self.kit: Kit | None = None
        """What a new run can be made of, as the form saw it last."""
        self._pages: dict[Path | None, SamplePages] = {}
        self._charts: dict[Path | None, ChartLook] = {}
        self._inspectors: Inspectors | None = None
        self.draft: tuple[str, str, dict[str, str]] | None = None
        """The form of a new run as it was left: corpus, preset, and what was typed."""

    @property
    def workers(self) -> tuple[Worker, ...]:
        return self.reads, self.works, self.commands, self.fetches

    # -- the run shown -------------------------------------------------------------------------------------------------

    def expect(self, run: RunDir) -> None:
        """`run` will be opened in a moment; until then its name is said."""
        self.close()
        self._opening, self._to_show = run, None

    def open(self, run: RunDir) -> None:
        """Show `run` as soon as it is read; a run of a million steps takes a second or two."""
        if self.run is not None and self.run.path == run.path:
            return
        self.expect(run)
        ahead, self.ahead = self.ahead, None
        follower = Follower(run, ahead if ahead is not None and ahead.path == run.metrics else None)
        self.reads.ask("run", follower.look, self._take_look, self._cannot_read, every=LOOK_EVERY)

    def _take_look(self, look: Look) -> None:
        self._opening, self._taken = None, True
        self.run, self.look = look.view.run, look
        if self.keeps_last and self.kept.get("last_run") != (path := str(self.run.path.absolute())):
            self.remember("last_run", path)
        self._tell_events(look.events)

    def last_run(self) -> RunDir | None:
        """The run shown when the program ended, where it is one of these runs and still there."""
        from engine.runs.layout import RunDir

        path = Path(str(self.kept.get("last_run", "")))
        run = RunDir(path)
        return run if path.parent == self.runs_dir.absolute() and run.run_json.is_file() else None

    def _cannot_read(self, problem: str) -> None:
        run = self.run
        self.close()
        self.problem = problem if run is None else f"{run.name}: {problem}"

    @property
    def opening(self) -> str:
        """The name of the run being read, or nothing."""
        return self._opening.name if self._opening is not None else ""

    @property
    def starting(self) -> Training | None:
        """The training asked for last, while it has no trainer yet."""
        return self._to_show if self.run is None and self._opening is None else None

    @property
    def empty(self) -> bool:
        """Whether there is nothing to look at: no run shown or asked for, nothing that went wrong."""
        return self.run is None and self._opening is None and self._to_show is None and not self.problem

    def close(self) -> None:
        """Show no run, or the one this process trains."""
        self.reads.drop("run")
        self.run = self.look = self._opening = None
        self.problem = ""
        self._to_show = self.training if self.training is not None and self.training.alive else None
        self._taken = True

    def poll(self) -> bool:
        """Pick up what is new; True when anything the screen shows may have changed."""
        training, wanted = self.training, self._to_show
        if wanted is not None and wanted.begun and wanted.run is not None:
            self.open(wanted.run)
        if training is not None and training.error is not None:
            self.training = None
            self._not_begun(training, training.error)
        elif wanted is not None and wanted is self._to_show and not wanted.begun and not wanted.alive:
            self._not_begun(wanted, "the start was given up; n begins a new run")
        if self._talks is not None:
            self._talks.save_drafts()
        if self._inspectors is not None and not self.read_only:
            self._inspectors.save()
        self.deliver()
        self._show_off()
        changed, self._taken = self._taken, False
        return changed

    def deliver(self) -> None:
        """Pick up what the workers have."""
        for worker in self.workers:
            self._taken = worker.deliver() or self._taken

    def _show_off(self) -> None:
        """Let a first run show what it can."""
        if self.showing is None or self.view is None or self.run is None or not self.own:
            return
        talk = self.talks.of(self.run, self.view.info.get("created"))
        if self.showing.look(talk, self.template(), self.view.checkpoints, self.talks.models):
            self._taken = True

    def complain(self, problem: str) -> None:
        """Say what did not work."""
        self.notices.append(Notice(problem, bad=True))

    def _not_begun(self, training: Training, error: str) -> None:
        """Say why a training did not begin, where the person waits for it; a run to be resumed is shown as it is."""
        if training is not self._to_show:
            self.notices.append(Notice(error, bad=True))
            return
        if isinstance(training.job, Resume):
            self.open(training.job.run)
        self.problem, self._to_show, self._taken = error, None, True

    def _tell_events(self, events: Sequence[Mapping[str, Any]]) -> None:
        """Notice what happened to the run since the last look."""
        from tui.state.summary import event_words

        for event in events:
            if (words := event_words(event)) is not None:
                self.notices.append(Notice(words[0], bad=words[1]))

    @property
    def view(self) -> RunView | None:
        """The run shown as the newest look found it."""
        return self.look.view if self.look is not None else None

    @property
    def now(self) -> Latest:
        """The newest numbers of the run shown."""
        from tui.state.summary import Latest

        return self.look.now if self.look is not None else Latest()

    @property
    def status(self) -> dict[str, Any]:
        return self.view.status if self.view is not None else {}

    @property
    def state(self) -> str:
        return str(self.status.get("state", ""))

    @property
    def live(self) -> bool:
        """Whether the run shown has a trainer that takes commands."""
        return self.view is not None and self.state in LIVE_STATES

    @property
    def own(self) -> bool:
        """Whether the run shown is the one this process trains."""
        return self.run is not None and self.trains(self.run)

    def trains(self, run: RunDir) -> bool:
        """Whether this process trains `run`."""
        training = self.training
        return training is not None and training.alive and training.run is not None and training.run.path == run.path

    def corpus(self) -> Corpus | None:
        """The corpus of the run shown, when it is still known and has been found by now."""
        found = self.view.info.get("corpus") if self.view is not None else None
        name = str(found.get("path") or found.get("name") or "") if isinstance(found, dict) else ""
        if name and name not in self._corpora:
            self._corpora[name] = None

            def look(_: object) -> Corpus | None:
                from engine.text.catalog import find_corpus

                try:
                    return find_corpus(name, self.corpora_dir)
                except (UserError, OSError):
                    return None

            self.reads.ask(f"corpus {name}", look, lambda corpus: self._corpora.update({name: corpus}))
        return self._corpora.get(name)

    def template(self) -> Template | None:
        """The prompt template the run was trained with."""
        found = self.view.info.get("template") if self.view is not None else None
        if isinstance(found, dict):
            from engine.text.template import Template

            return Template.from_dict(found)
        return None

    @property
    def pages(self) -> SamplePages:
        """What the run shown wrote, and which of it is looked at; it outlives the screens that show it."""
        from tui.state.samples import SamplePages

        key = self.run.path if self.run is not None else None
        if key not in self._pages:
            self._pages[key] = SamplePages()
        return self._pages[key]

    @property
    def chart(self) -> ChartLook:
        """How the chart of the run shown is looked at."""
        from tui.state.chart import ChartLook

        key = self.run.path if self.run is not None else None
        if key not in self._charts:
            self._charts[key] = ChartLook()
        return self._charts[key]

    @property
    def inspector(self) -> Inspector | None:
        """How the weights of the run shown are looked into; None while none is."""
        if self.run is None:
            return None
        if self._inspectors is None:
            from tui.state.inspector import Inspectors

            self._inspectors = Inspectors(self.works, self.notices.append, self.corpora_dir, self.reads)
        found = self._inspectors.of(self.run)
        found.beside = lambda: self.training is not None and self.training.alive
        return found

    # -- prompts -------------------------------------------------------------------------------------------------------

    @property
    def talks(self) -> Conversations:
        """What is asked of the runs; it outlives the screens that show it."""
        if self._talks is None:
            from tui.state.conversations import Conversations
            from tui.state.presets import first_values

            self._talks = Conversations(self.reads, self.corpora_dir)
            self._talks.first_values = first_values
        return self._talks

    def end(self) -> None:
        """Stop all prompts, which are in their histories then, and all that works for the screen."""
        for worker in self.workers:
            worker.end()
        if self._unsaved:  # chosen in the last moment; a home that stalls is not waited for
            saving = threading.Thread(target=self._save_settings, daemon=True)
            saving.start()
            saving.join(1.0)
        if self._talks is not None:
            self._talks.end()
        if self._inspectors is not None and not self.read_only:
            self._inspectors.end()

    @property
    def table(self) -> RunsTable:
        """All runs, as the person looks at them."""
        if self._table is None:
            from tui.state.runstable import RunsTable

            self._table = RunsTable(str(self.kept.get("runs_sort", "")), str(self.kept.get("last_run", "")))
        return self._table

    @property
    def shelf(self) -> Shelf:
        """All corpora, as the person looks at them."""
        if self._shelf is None:
            from tui.state.corpora import Shelf

            self._shelf = Shelf(self)
        return self._shelf

    @property
    def settings(self) -> Settings:
        """What the person chose; defaults in the place of what is no value."""
        from tui.state.settingschema import settings_of

        return settings_of(self.kept)[0]

    def remember(self, name: str, value: object) -> None:
        """Keep a setting for the next start."""
        from tui.state.settings import save_setting

        def kept(_: object) -> None:
            save_setting(name, value)
            if self._unsaved.get(name) is value:  # not a newer one
                del self._unsaved[name]

        self.kept[name] = value
        if self.read_only:
            return
        self._unsaved[name] = value
        self.reads.ask(f"setting {name}", kept, lambda _: None)

    def _save_settings(self) -> None:
        from tui.state.settings import save_setting

        for name, value in dict(self._unsaved).items():
            save_setting(name, value)

    def moved(self, run: RunDir, new: RunDir) -> None:
        """`run` has another name: it goes on being shown, and prompted."""
        if self.run is not None and self.run.path == run.path:
            self.open(new)

    # -- the line to its trainer ---------------------------------------------------------------------------------------

    def send(self, run: RunDir, do: str, said: str, **fields: Any) -> None:
        """Give the trainer of `run` a command, without waiting; `said` is noticed once it has taken it."""
        self._commands += 1

        def tell(_: object) -> None:
            from engine.control import ControlClient

            ControlClient(run).send(do, **fields)

        def taken(_: None) -> None:
            if said:
                self.notices.append(Notice(said))

        self.commands.ask(f"command {self._commands}", tell, taken)

    # -- the training of this process ----------------------------------------------------------------------------------

    def train(self, job: Start | Resume) -> None:
        """Train `job` in this process and show it; raises RunError while another run trains here."""
        if self.training is not None and self.training.alive:
            name = self.training.run.name if self.training.run is not None else "a run"
            raise RunError(f"{name} trains in this process; detach it (d) or stop it (q) first")
        self.close()
        self.training = self._to_show = Training(job, self.runs_dir, self.corpora_dir)
        self.showing = job.showing if isinstance(job, Start) else None
        self.training.begin()
