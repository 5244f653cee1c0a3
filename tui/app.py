"""The workbench: one Textual application over one session.

    code = open_workbench(runs_dir, corpora_dir, run=..., start=..., theme=...)

Nothing here waits: the screen is painted first, then a run is opened or a trainer started; what the session's threads
find is shown as it comes. The numbered screens (`tui.places`) are made when they are first gone to and stay. When the
screen is gone, `open_workbench` sees to the training of this process: it waits for it, stops it with a checkpoint, or
hands it to a background process.
"""

from __future__ import annotations

import asyncio
import sys
from contextlib import suppress
from contextvars import copy_context
from importlib import import_module
from pathlib import Path, PurePath
from time import monotonic
from typing import TYPE_CHECKING, ClassVar, Protocol, runtime_checkable

from textual.app import App, ComposeResult
from textual.binding import BindingType

from engine.errors import RunError, UserError
from tui.actions import ACTIONS, bindings
from tui.ending import ScreenEnder, finish, run_screen
from tui.inorder import InOrder
from tui.keys import Keyed
from tui.memory import GIVEN_BACK_SECONDS, few_arenas, give_back, keep_imports
from tui.places import PLACES
from tui.screens.workscreen import WorkScreen
from tui.state.leftat import NAME as LEFT_AT
from tui.state.leftat import Left, leaving, left_at
from tui.state.news import News, Notice
from tui.state.session import Session
from tui.state.settings import load_keymap, read_settings
from tui.state.training import Resume, Start
from tui.terminal.driver import Terminal
from tui.terminal.hangup import hung_up
from tui.terminal.pacing import Paced
from tui.terminal.private import missing
from tui.terminal.signals import PROCESS, Ending
from tui.text import clean
from tui.theme import DARK, LIGHT, THEMES, Themed
from tui.widgets.rows import Rows
from tui.widgets.topline import TopLine

if TYPE_CHECKING:
    from engine.runs.layout import RunDir
    from tui.screens.train.screen import TrainScreen
    from tui.state.reading import Ahead

POLL = 0.4
"""Seconds between two looks at what may have changed."""
COVERED = 2.0
"""Seconds between two pictures of what a dialogue lies over: a chart that changes with each look is most of what an
open form costs beside a training."""
NAMES = {place.name: place for place in PLACES}


class Workbench(InOrder, Keyed, Paced, Themed, App[Ending]):
    """Holds the session and the screens; every action of the registry ends in a method named for it.

    read_only: nothing that `changes` something works.
    """

    CSS_PATH: ClassVar[list[str | PurePath]] = [
        "app.tcss",
        "screens/train/train.tcss",
        "screens/welcome/welcome.tcss",
    ]
    TITLE = "tinytui"
    ENABLE_COMMAND_PALETTE = False
    BINDINGS: ClassVar[list[BindingType]] = bindings("app")
    scope = "app"

    def __init__(
        self,
        runs_dir: Path,
        corpora_dir: Path | None = None,
        *,
        run: RunDir | None = None,
        start: Start | Resume | None = None,
        theme: str | None = None,
        read_only: bool = False,
        ahead: Ahead | None = None,
    ) -> None:
        super().__init__(driver_class=Terminal if sys.stdin.isatty() and not missing() else None)
        self.session = Session(runs_dir, corpora_dir)
        self.session.ahead = ahead
        self.read_only = self.session.read_only = read_only
        self.animation_level = "none"
        self._behind, self._drawn = False, -COVERED
        self._news = News()
        self._first: RunDir | Start | Resume | None = start if start is not None else run
        self.keymap, wrong = load_keymap([action.id for action in ACTIONS])
        for each in wrong:
            self._news.add(Notice(each, bad=True))
        self.set_keymap(self.keymap)
        self.session.kept, damaged = read_settings()
        self.session.keeps_last = not damaged
        if damaged:
            self._news.add(Notice(damaged, bad=True))
        if not self.no_color:
            wanted = theme or str(self.session.kept.get("theme", ""))
            self.theme = wanted if wanted in {each.name for each in THEMES} else DARK

    # -- life ----------------------------------------------------------------------------------------------------------

    def compose(self) -> ComposeResult:
        """One line, painted while the rest is still being imported."""
        line = Rows()
        line.styles.padding = (0, 1)
        line.show([[("tinytui", "bright bold"), ("  a workbench for small GPTs", "dim")]])
        yield line

    def on_mount(self) -> None:
        loop = asyncio.get_running_loop()
        context = copy_context()  # the worker's own knows no app, and what waits for it may open a dialogue

        def wake() -> None:
            with suppress(RuntimeError):  # the loop has just ended
                loop.call_soon_threadsafe(self._delivered, context=context)

        for worker in self.session.workers:
            worker.wake = wake
        self.call_after_refresh(self.call_later, self._begin)

    def on_unmount(self) -> None:
        self.session.end()

    async def _begin(self) -> None:
        place = self._first_place()
        if self._first is not None and not isinstance(self._first, Start | Resume):
            self.session.expect(self._first)
        if self._first is None and self._no_runs():
            from tui.screens.welcome.screen import WelcomeScreen

            await self.push_screen(WelcomeScreen(self.session))
        else:
            await self._go(place.screen)
            if place.screen == "train" and place.pane:
                await self._show_train(place.pane)
        from tui.state.settingschema import settings_of  # after the first picture: it loads pydantic

        for wrong in settings_of(self.session.kept)[1]:
            self._news.add(Notice(wrong, bad=True))
        self.set_interval(POLL, self._poll)
        # it takes some milliseconds, and belongs to nobody: with the files' thread
        self.session.reads.ask("memory", lambda _: give_back(), lambda _: None, every=GIVEN_BACK_SECONDS)
        self.screen.call_after_refresh(self._open_first)

    def _first_place(self) -> Left:
        """A training begins at its screen, and a run that is named where it was left; with neither the workbench is as
        it was left, with its run as long as that is there."""
        if isinstance(self._first, Start | Resume):
            return Left("train")
        run = self._first.path if self._first is not None else None
        left = left_at(self.session.kept, run)
        if left is None or left.screen not in NAMES:
            return Left("runs" if run is None else "train")
        if run is None and NAMES[left.screen].of_run:
            self._first = self.session.last_run()
            return left if self._first is not None else Left("runs")
        return left

    def _note_place(self) -> None:
        """Remember the screen for the next start."""
        place, run, train = NAMES.get(self.current_mode), self.session.run, self.train_screen()
        if place is None or not self.session.keeps_last:
            return
        shown = run.path if run is not None and place.of_run else None
        left = Left(place.name, train.alone if train is not None else "")
        if (kept := leaving(self.session.kept, shown, left)) is not None:
            self.session.remember(LEFT_AT, kept)

    def _no_runs(self) -> bool:
        from engine.runs.layout import any_runs

        try:
            return not any_runs(self.session.runs_dir)
        except UserError:
            return True

    def _open_first(self) -> None:
        if isinstance(self._first, Start | Resume):
            self.session.train(self._first)
        elif self._first is not None:
            self.session.open(self._first)
        self._poll()

    def _delivered(self) -> None:
        """A worker has something: show it now, not at the next poll."""
        if self.is_running and self.screen_stack and self.screen.is_mounted:
            self._look()

    def _poll(self) -> None:
        if not self.screen_stack or not self.screen.is_mounted:  # on the way in, or out
            return
        self._behind = self._behind or bool(self.session.opening or self.session.starting)
        for screen in filter(lambda each: each.is_mounted, self.screen_stack):  # what lies behind a dialogue too
            if isinstance(screen, Ticking):
                screen.tick()
        self._note_place()
        self._look()
        keep_imports()
        if isinstance(self._driver, Terminal) and hung_up(self._driver.fileno):
            self.exit(Ending.HANGUP)

    def _look(self) -> None:
        """Show what is new, in one picture, when the one before has arrived."""
        self._behind = self.session.poll() or self._behind
        while self.session.notices:
            self._news.add(self.session.notices.popleft())
        self._tell()
        screens = [each for each in self.screen_stack if isinstance(each, WorkScreen) and each.is_mounted]
        if not self._behind or not screens or not self.pacer.ready():
            return
        if self.in_dialogue and monotonic() - self._drawn < COVERED:
            return
        self._behind, self._drawn = False, monotonic()
        with self.batch_update():
            for screen in screens:
                screen.update()
        self.call_after_refresh(self.pacer.sent)

    def _print_error_renderables(self) -> None:
        """Nothing here: the error that ended the screen is raised again where it can be told in a line."""
        self._exit_renderables.clear()

    def say(self, notice: Notice) -> None:
        """A line in the upper corner of the screen for a few seconds; longer when something did not work."""
        self._news.add(notice)
        self._tell()

    def _tell(self) -> None:
        notice = self._news.next(self.size.width - 2)
        if notice is None:
            return
        for screen in self.screen_stack:  # clear_notifications alone leaves it there, empty, for ever
            screen.query("ToastHolder").remove()
        self.clear_notifications()
        self.notify(
            notice.text,
            severity="error" if notice.bad else "information",
            timeout=8 if notice.bad else 3,
            markup=False,
        )

    # -- screens -------------------------------------------------------------------------------------------------------

    async def _go(self, name: str) -> None:
        """Show a numbered screen, made now when it was never shown. For `call_later` alone: a screen cannot wait for
        what takes its own place."""
        if name not in self._screen_stacks:
            place = next(each for each in PLACES if each.name == name)
            screen: WorkScreen = getattr(import_module(place.module), place.kind)(self.session)
            self.add_mode(name, lambda: screen)
        if self.current_mode != name:
            await self.switch_mode(name)
            self._note_place()  # at once: the next poll may be too late

    def action_go(self, name: str) -> None:
        """Go to a numbered screen; a dialogue over the present one stays there."""
        self.call_later(self._go, name)

    def on_top_line_picked(self, event: TopLine.Picked) -> None:
        if not self.in_dialogue:
            self.action_go(event.name)

    def train_screen(self) -> TrainScreen | None:
        """The training screen when it is the one below all dialogues."""
        if "tui.screens.train.screen" not in sys.modules:  # it was never shown, and is not loaded to find that out
            return None
        from tui.screens.train.screen import TrainScreen

        return self.workplace if isinstance(self.workplace, TrainScreen) else None

    def show_train(self, pane: str = "") -> None:
        """The training screen, with one pane alone when named."""
        self.call_later(self._show_train, pane)

    async def _show_train(self, pane: str) -> None:
        await self._go("train")
        screen = self.train_screen()
        if screen is not None:
            screen.show_pane(pane or "loss", alone=bool(pane))

    def open_run(self, run: RunDir) -> None:
        """Show `run`."""
        self.session.open(run)
        self.action_go("train")

    def train(self, job: Start | Resume) -> None:
        """Train in this process and show it; says so where it cannot."""
        try:
            self.session.train(job)
        except RunError as error:
            self.say(Notice(str(error), bad=True))
            return
        self.show_train()

    # -- actions -------------------------------------------------------------------------------------------------------

    def action_new_run(self) -> None:
        from tui.screens.newrun.screen import NewRunScreen

        if not self.in_dialogue:
            self.push_screen(NewRunScreen(self.session), self._start_new)

    def new_run_on(self, corpus: str) -> None:
        """The form of a new run, with this corpus; what was typed before stays."""
        from engine.preset_files import DEFAULT_PRESET

        _, preset, typed = self.session.draft or ("", DEFAULT_PRESET, {})
        self.session.draft = corpus, preset, {key: text for key, text in typed.items() if key != "corpus"}
        self.action_new_run()

    def _start_new(self, start: Start | None) -> None:
        if start is not None:
            self.train(start)

    def action_dark(self) -> None:
        self.action_look(LIGHT if self.current_theme.dark else DARK)

    def action_look(self, theme: str) -> None:
        self.theme = theme
        self.session.remember("theme", theme)

    def action_settings(self) -> None:
        from tui.screens.dialogs.settings import SettingsScreen

        if not self.in_dialogue:
            self.push_screen(SettingsScreen())

    def action_keys(self) -> None:
        from tui.screens.dialogs.settings import keys_screen

        self.push_screen(keys_screen(self.keymap))

    # -- the end -------------------------------------------------------------------------------------------------------

    def action_leave(self) -> None:
        training = self.session.training
        if training is None or not training.alive:
            self.exit(Ending.LEAVE)
            return
        if self.in_dialogue:
            return
        from tui.screens.dialogs.confirm import ConfirmScreen, Way

        name = training.run.name if training.run is not None else "a run"
        self.push_screen(
            ConfirmScreen(
                "quit while training?",
                [[("this process trains ", "foreground"), (clean(name, keep_newlines=False), "bright bold")]],
                (
                    Way("s", "stop", "write a checkpoint and end; it can be resumed exactly", Ending.STOP),
                    Way("d", "detach", "go on in the background without this screen", Ending.DETACH),
                    Way("escape", "stay", "go on watching", None),
                ),
            ),
            self._leave,
        )

    def _leave(self, ending: Ending | None) -> None:
        if ending is not None:
            self.exit(ending)

    def detach(self) -> None:
        """End the screen; a background process goes on with the training of this one."""
        if self.session.own:
            self.exit(Ending.DETACH)

    def page_gone(self) -> None:
        """The browser's page has gone: end the screen, and what this process trains goes on in the background."""
        training = self.session.training
        self.exit(Ending.DETACH if training is not None and training.alive else Ending.LEAVE)


@runtime_checkable
class Ticking(Protocol):
    """A screen that looks at something with every poll."""

    def tick(self) -> None: ...


def open_workbench(
    runs_dir: Path,
    corpora_dir: Path | None = None,
    *,
    run: RunDir | None = None,
    start: Start | Resume | None = None,
    theme: str | None = None,
    read_only: bool = False,
    ahead: Ahead | None = None,
) -> int:
    """Run the workbench to its end, and the training of this process to its own; returns the exit code.

    run: a run to open. start: a run to make, or to resume, in this process. With neither, the list of runs, or where
    there are none the first-start screen. theme: one of `tui.theme.THEMES`; unset, the one used last. ahead: what reads
    the run's metrics already.
    """
    few_arenas()
    app = Workbench(runs_dir, corpora_dir, run=run, start=start, theme=theme, read_only=read_only, ahead=ahead)
    screen = ScreenEnder(app)
    with PROCESS.watching(screen) as signals:
        ending, broken = run_screen(app, signals)
        screen.gone()
        if ending is Ending.HANGUP and start is not None and app.session.training is None:
            app.session.train(start)  # the terminal went before the screen had begun it
        code = finish(app.session.training, runs_dir, ending, signals)
    if broken is not None:
        raise broken
    return code or int(ending is Ending.BROKEN)  # Textual's own also tells of a terminal that went
