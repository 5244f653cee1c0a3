"""Random keys and clicks from every screen: nothing breaks, stops unasked, or is written elsewhere."""

from __future__ import annotations

import asyncio
import random
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from textual.errors import NoWidget
from textual.pilot import Pilot
from textual.screen import ModalScreen

from engine.runs.layout import RunDir
from tui.app import Workbench
from tui.screens.dialogs.choose import ChooseScreen
from tui.screens.dialogs.confirm import ConfirmScreen
from tui.screens.workscreen import WorkScreen
from tui.state import exporting
from tui.terminal.signals import Ending

from .conftest import WHOLE, Campaign

sys.path.insert(0, str(Path(__file__).parents[1] / "tui" / "screens"))  # made-up runs live there

from pilot_for_tests import FakeTraining, live_run, until
from runs_for_tests import write_run

SCREENS: dict[str, list[str]] = {
    "training": ["1"],
    "prompt": ["2"],
    "samples": ["3"],
    "runs": ["4"],
    "new run": ["n"],
    "commands": ["ctrl+p"],
    "rate": ["l"],
    "first start": [],
}
SEEDS = 20
KEYS = 2000 if WHOLE else 50
BATCH = 10
SIZES = [(140, 40), (100, 30), (80, 24), (38, 11), (1, 1), (250, 70)]
POOL = (
    *"abcdefghijklmnopqrstuvwxyz0123456789 .,-+/?!'\"[]{}()<>é日\U0001f600",
    *("enter", "escape", "tab", "shift+tab", "space", "backspace", "delete", "insert", "home", "end", "pageup"),
    *("pagedown", "up", "down", "left", "right", "shift+left", "shift+right", "shift+up", "shift+down", "ctrl+left"),
    *(f"ctrl+{letter}" for letter in "abcdefgijklnopqrstuvwxyz"),
    *(f"f{number}" for number in range(1, 13)),
    *("alt+enter", "ctrl+home", "ctrl+end", "ctrl+delete", "ctrl+backspace", "ctrl+@", "ctrl+underscore"),
)
OFTEN = (*"xydqnulr", "enter", "escape", "tab", "up", "down", "left", "right", "ctrl+c", "ctrl+p")


class MadeUpTraining(FakeTraining):
    """Where a Training stands that the workbench begins itself."""

    def __init__(self, job: Any, runs_dir: Path, corpora_dir: Path | None) -> None:
        super().__init__(getattr(job, "run", None))
        self.job = job

    def begin(self) -> None:
        pass


@pytest.fixture(autouse=True)
def own_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("TINYTUI_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("TINYTUI_CORPORA", str(tmp_path / "corpora"))
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setattr("tui.state.session.Training", MadeUpTraining)
    # keys come in bursts, as a paste or a slow link brings them; a batch is judged when all widgets have seen it
    for module in ("textual.app", "textual.pilot"):
        monkeypatch.setattr(f"{module}.wait_for_idle", burst)


async def burst(*_: float) -> None:
    """In the place of Textual's wait after each key, that the process does nothing for 20 ms."""
    await asyncio.sleep(0)


@contextmanager
def broken_threads() -> Iterator[list[str]]:
    """Exceptions that no thread caught."""
    found: list[str] = []
    before = threading.excepthook
    threading.excepthook = lambda args: found.append(f"{args.thread and args.thread.name}: {args.exc_value!r}")
    try:
        yield found
    finally:
        threading.excepthook = before


class Watch:
    """What the workbench did, and what it was told to do in so many words."""

    def __init__(self, app: Workbench, monkeypatch: pytest.MonkeyPatch) -> None:
        self.endings: list[Any] = []
        self.yes = 0
        self.exported: set[str] = set()  # where to was typed, in a dialogue that asks for it
        monkeypatch.setattr(app, "exit", lambda result=None, *_, **__: self.endings.append(result))
        dismiss: Callable[..., Any] = ConfirmScreen.dismiss

        def answered(screen: ConfirmScreen, result: Any = None) -> Any:
            self.yes += screen.is_active and result is not None and result is not False
            return dismiss(screen, result)

        monkeypatch.setattr(ConfirmScreen, "dismiss", answered)
        export: Callable[..., str] = exporting.export_new

        def noted(run: RunDir, kind: str, target: Path, *more: Any) -> str:
            self.exported.add(target.parts[0])
            return export(run, kind, target, *more)

        monkeypatch.setattr(exporting, "export_new", noted)


async def throw(pilot: Pilot[Any], dice: random.Random) -> None:
    """A handful of keys, or a click, a turn of the wheel, another size."""
    what = dice.random()
    width, height = pilot.app.size
    if what < 0.8:
        await pilot.press(*(dice.choice(OFTEN if dice.random() < 0.3 else POOL) for _ in range(BATCH)))
    elif what < 0.95:
        at = (dice.randrange(max(1, width)), dice.randrange(max(1, height)))
        with suppress(NoWidget):  # the pilot's own look at a screen that has just come
            await pilot.click(offset=at, times=dice.choice((1, 1, 2)))
    else:
        await pilot.resize_terminal(*dice.choice(SIZES))
    if dice.random() < 0.05:  # a pause, in which what was begun comes to its end
        await asyncio.sleep(0.1)
    pilot.app._poll()
    await all_taken(pilot, but=2 * BATCH)  # no hand is further ahead of the screen


async def all_taken(pilot: Pilot[Any], but: int = 0) -> None:
    """Wait until all keys but so many have had their turn, each after the one before."""
    app = pilot.app
    assert isinstance(app, Workbench)
    await until(pilot, lambda: app.all_taken or 0 < len(app._inputs) <= but, seconds=60.0)


async def still_answers(pilot: Pilot[Any]) -> None:
    """Out of every dialogue by escape, then a known key does what it does."""
    app = pilot.app
    await pilot.resize_terminal(100, 30)
    for _ in range(6):
        await all_taken(pilot)
        if isinstance(app.screen, ModalScreen):
            await pilot.press("escape")
    await all_taken(pilot)
    assert not isinstance(app.screen, ModalScreen), f"{app.screen} stays open"
    await pilot.press("ctrl+p")
    await until(pilot, lambda: isinstance(app.screen, ChooseScreen))
    await pilot.press("escape")
    await until(pilot, lambda: not isinstance(app.screen, ChooseScreen))


async def one_life(place: str, seed: int, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A workbench on a live run of another process or of its own, and two ended ones, under so many keys."""
    dice = random.Random(f"{place} {seed}")
    folder.mkdir()
    (folder / "beside.txt").write_text("not ours")
    monkeypatch.chdir(folder)
    runs = Path("runs")
    with ExitStack() as stack:
        broken = stack.enter_context(broken_threads())
        patch = stack.enter_context(pytest.MonkeyPatch.context())
        run, commands = None, None
        if place != "first start":
            write_run(runs, "ended", state="finished", step=500)
            write_run(runs, "early", state="finished", step=300)
            run = write_run(runs, "live", step=340)
            commands = stack.enter_context(live_run(run, learning_rate=0.003))
        app = Workbench(runs, run=run)
        watch = Watch(app, patch)
        training: Any = FakeTraining(run)
        own = seed % 2 == 0 and run is not None
        async with app.run_test(size=SIZES[seed % 3]) as pilot:
            await until(pilot, lambda: isinstance(app.screen, WorkScreen) and (run is None or app.session.live))
            if own:
                app.session.training = training
            await pilot.press(*SCREENS[place])
            stops = 0
            for _ in range(0, KEYS, BATCH):
                await throw(pilot, dice)
                if commands is not None:
                    stops += sum(command["do"] == "stop" for command in commands.drain())
                ended = stops + training.asked + sum(ending in (Ending.STOP, Ending.DETACH) for ending in watch.endings)
                assert ended <= watch.yes, f"ended {ended} times, said yes {watch.yes} times"
                if own:
                    assert Ending.LEAVE not in watch.endings, "left its training without asking"
                assert not broken, broken
            await still_answers(pilot)
            Workbench.exit(
                app
            )  # its own end, after which no key is looked at any more; the pilot's comes in their midst
            assert app._task is not None
            await asyncio.wait([app._task], timeout=30)
        kept = {path.name for path in folder.iterdir()}
        assert kept - watch.exported <= {"runs", "beside.txt"}, f"written beside the runs: {kept}"
        assert (folder / "beside.txt").read_text() == "not ours"


async def test_random_keys_and_clicks(
    campaign: Callable[..., Campaign], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    promise = campaign(
        "2,000 random keys, clicks and resizes from any screen break nothing, stop no training without a yes, and "
        "write nothing outside the runs but what they export",
        quick=1,
        whole=SEEDS * len(SCREENS),
    )
    names = list(SCREENS)
    for number in promise:
        place, seed = names[number % len(names)], number // len(names)
        with promise.trial(f"{place}, seed {seed}"):
            await one_life(place, seed, tmp_path / str(number), monkeypatch)
    outside = {path.name for path in tmp_path.iterdir()} - {str(number) for number in range(promise.planned)}
    assert outside <= {"config", "cache", "corpora"}
