"""The registry pressed: on every screen each action's key, where the action works, runs it and nothing else does."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Any

import pytest
import test_inspect as inspect
import test_prompt_screen as prompt
from pilot_for_tests import FakeTraining, live_run, until
from runs_for_tests import write_run
from test_prompt_screen import talking
from test_samples import shown as samples_shown
from test_samples import two_prompts
from textual.dom import DOMNode
from textual.pilot import Pilot
from textual.screen import Screen
from textual.widgets import Input, TextArea

from engine.text.catalog import add_corpus
from tui.actions import ACTIONS, Action, is_text
from tui.app import Workbench
from tui.screens.corpora.add import AddScreen, PathScreen
from tui.screens.corpora.screen import CorporaScreen
from tui.screens.prompt.grid import GridScreen
from tui.screens.runs.screen import RunsScreen
from tui.screens.samples.where import WhereScreen
from tui.screens.train.screen import TrainScreen
from tui.screens.welcome.screen import WelcomeScreen
from tui.widgets.form import SettingsForm
from tui.widgets.menu import Menu
from tui.widgets.slider import Slider

KNOWN = {action.id: action for action in ACTIONS}
TAKES_LETTERS = (Input, TextArea, SettingsForm, Slider)
"""What takes characters for itself."""


def chain(screen: Screen[Any]) -> list[DOMNode]:
    """Who may take a key, from the widget with the focus outwards; a dialogue keeps keys to itself and the app."""
    node: DOMNode | None = screen.focused or screen
    found = []
    while node is not None:
        found.append(node)
        node = node.parent
    return found


def bound(node: DOMNode) -> list[Action]:
    """The actions of the registry that a node has keys for."""
    return [
        KNOWN[each.id]
        for all_of_key in node._bindings.key_to_bindings.values()
        for each in all_of_key
        if each.id in KNOWN
    ]


class Pressed:
    """Presses keys of actions that did not run yet, and sees what runs: each method only notes that it ran."""

    def __init__(self, pilot: Pilot[Any], app: Workbench, ran: set[str]) -> None:
        self.pilot, self.app, self.ran = pilot, app, ran

    async def here(self) -> None:
        """With the focus where it is."""
        nodes = chain(self.app.screen)
        dialogue = self.app.in_dialogue
        took: dict[str, tuple[DOMNode, Action]] = {}
        actions = [(node, each) for node in nodes for each in dict.fromkeys(bound(node)) if does(node, each)]
        first = [each for each in reversed(actions) if each[1].priority]
        for node, action in [*first, *actions]:
            if works(node, action) and (action.priority or not dialogue or node is not self.app):
                for key in action.keys:
                    took.setdefault(key, (node, action))
        if not dialogue:
            told = {action.id for action in self.app.keys_here() if action.key}
            assert told <= {action.id for _, action in took.values()}, "the footer offers what no key reaches"
        typing = isinstance(self.app.screen.focused, TAKES_LETTERS)
        keys = dict.fromkeys(key for _, action in actions if action.id not in self.ran for key in action.keys)
        keys = [key for key in keys if not (typing and is_text(key))]
        wanted = [(key, took[key][1].id) for key in keys if key in took]
        noted: list[tuple[str, str]] = []
        now = [""]
        with noting(actions, noted, now):
            for key in keys:
                now[0] = key
                await self.pilot.press(key)
                if key in took:
                    try:
                        await until(self.pilot, lambda: bool(noted) and noted[-1][0] == now[0], 5)
                    except AssertionError:
                        raise AssertionError(
                            f"{key} at {self.app.screen.focused!r} runs no {took[key][1].id}"
                        ) from None
        assert noted == wanted, self.app.screen.focused
        self.ran.update(each for _, each in noted)


def does(node: DOMNode, action: Action) -> bool:
    """Parts may share a scope, each with the actions that it has."""
    return hasattr(node, f"action_{action.name}")


def works(node: Any, action: Action) -> bool:
    wanted = action.do.partition("(")[2].rstrip(")")
    return node.check_action(action.name, ast.literal_eval(f"({wanted},)") if wanted else ()) is True


class noting:
    """Within it the methods of actions note their key and id, and do nothing else."""

    def __init__(self, actions: list[tuple[DOMNode, Action]], noted: list[tuple[str, str]], now: list[str]) -> None:
        self.actions, self.noted, self.now = actions, noted, now
        self.nodes = {id(node): node for node, _ in actions}

    def __enter__(self) -> None:
        for node, action in self.actions:

            def note(*values: object, node: DOMNode = node, name: str = action.name) -> None:
                said = f"{name}({','.join(map(repr, values))})" if values else name
                meant = [each for of, each in self.actions if of is node and each.do.replace(" ", "") == said]
                ids = [each.id for each in meant if self.now[0] in each.keys]
                self.noted.append((self.now[0], ids[0] if ids else f"{node!r} {said}"))

            setattr(node, f"action_{action.name}", note)

    def __exit__(self, *_: object) -> None:
        for node, action in self.actions:
            vars(node).pop(f"action_{action.name}", None)


async def walk(pilot: Pilot[Any], app: Workbench, ran: set[str]) -> None:
    """Presses at every place of the screen that takes the focus, and where none has it; adds the ids of what ran."""
    pressed = Pressed(pilot, app, ran)
    stops = [each for each in app.screen.query("*") if each.focusable and each.region.area]
    for place in [*stops, None]:
        app.screen.set_focus(place)
        await until(pilot, lambda place=place: app.screen.focused is place)  # type: ignore[misc]
        await pressed.here()


def all_ran(ran: set[str], *scopes: str, but: set[str] = frozenset()) -> None:  # type: ignore[assignment]
    """Every action with keys of these scopes ran, and exactly those named did not."""
    assert {action.id for action in ACTIONS if action.scope in scopes and action.key} - ran == but


async def gone_to(pilot: Pilot[Any], app: Workbench, name: str, kind: type) -> None:
    await until(pilot, lambda: app.session.view is not None)
    app.action_go(name)
    await until(pilot, lambda: isinstance(app.screen, kind) and app.screen.is_mounted)
    await pilot.pause()


async def test_train(runs: Path) -> None:
    run, ran = write_run(runs, step=340), set[str]()
    with live_run(run):
        app = Workbench(runs, run=run)
        async with app.run_test(size=(140, 40)) as pilot:
            await until(pilot, lambda: app.session.live)
            await gone_to(pilot, app, "train", TrainScreen)
            await pilot.press("left_square_bracket")  # a crosshair to take away
            app.session.training = FakeTraining(run)  # type: ignore[assignment]
            await walk(pilot, app, ran)
            app.session.training = None
            app.screen.query_one(Slider).focus()
            await pilot.press("1")
            await Pressed(pilot, app, ran).here()
    app = Workbench(runs, run=write_run(runs, "ended"))
    async with app.run_test(size=(140, 40)) as pilot:
        await gone_to(pilot, app, "train", TrainScreen)
        app.screen.set_focus(None)
        await Pressed(pilot, app, ran).here()
    all_ran(ran, "train", "loss", "plot", "samples", "ask", "slider", "text", "app")


async def test_prompt(runs: Path) -> None:
    run, ran = write_run(runs, step=340), set[str]()
    with talking(run):
        app = Workbench(runs, run=run)
        async with app.run_test(size=(140, 40)) as pilot:
            here = await prompt.go(pilot, app)
            await until(pilot, lambda: app.session.live)
            await pilot.press("p", "enter")
            await prompt.answered(pilot, app, 1)
            await pilot.press("escape", "r")
            await prompt.answered(pilot, app, 2)
            await walk(pilot, app, ran)
            await pilot.press("ctrl+r")
            await until(pilot, lambda: isinstance(app.screen, GridScreen) and here.main.grid is not None)
            await walk(pilot, app, ran)
    all_ran(ran, "prompt", "editor", "answer", "output", "bars", "grid")


async def test_samples(runs: Path) -> None:
    app, ran = Workbench(runs, run=two_prompts(runs)), set[str]()
    async with app.run_test(size=(140, 40)) as pilot:
        screen = await samples_shown(pilot)
        screen.pages.playing = True
        await walk(pilot, app, ran)
        screen.pages.playing = False
        page = screen.pages.page("b")
        assert page is not None
        app.push_screen(WhereScreen(app.session, page))
        await until(pilot, lambda: isinstance(app.screen, WhereScreen) and app.screen.is_mounted)
        await walk(pilot, app, ran)
    all_ran(ran, "pages", "where")


async def test_runs(runs: Path) -> None:
    run, ran = write_run(runs, "a-1"), set[str]()
    write_run(runs, "b-1")
    app = Workbench(runs, run=run)
    async with app.run_test(size=(140, 40)) as pilot:
        await gone_to(pilot, app, "runs", RunsScreen)
        await until(pilot, lambda: len(app.session.table.lines) == 2 and len(app.screen.query_one(Menu).items) == 2)
        await pilot.press("home")
        for marked in (1, 2):  # a mark takes the cursor on
            await pilot.press("space")
            await until(pilot, lambda marked=marked: len(app.session.table.marked) == marked)  # type: ignore[misc]
        await pilot.pause()
        await walk(pilot, app, ran)
    all_ran(ran, "runs", "list")


async def test_inspect(runs: Path) -> None:
    app, ran = Workbench(runs, run=inspect.keep(runs)), set[str]()
    async with app.run_test(size=(140, 40)) as pilot:
        await inspect.go(pilot, app)
        for view in ("minus", "a", "e", "o"):
            await pilot.press(view)
            await inspect.settle(pilot, app)
            await walk(pilot, app, ran)
        await pilot.press("l", "i", *"some", "enter")  # a text of one's own, to go back from
        await until(pilot, lambda: not app.in_dialogue and inspect.inspector(app).source.kind != "held-out")
        await inspect.settle(pilot, app)
        app.screen.set_focus(None)
        await Pressed(pilot, app, ran).here()
    all_ran(ran, "inspect", "map", "wall", "head", "lens", "leaf")


def read_through(screen: CorporaScreen) -> bool:
    reading = screen.shelf.reading
    return reading is not None and reading.count > 1 and reading.found.text is not None and not reading.found.stage


async def test_corpora(runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tui.state.corpora.COUNTED_UNASKED", 0)
    Path("ward.txt").write_text("the patient reports a sore throat\n" * 4000)
    add_corpus(Path("ward.txt"), corpora_dir=Path("corpora"))
    app, ran = Workbench(runs, Path("corpora"), run=write_run(runs)), set[str]()
    async with app.run_test(size=(140, 40)) as pilot:
        await gone_to(pilot, app, "corpora", CorporaScreen)
        screen = app.screen
        assert isinstance(screen, CorporaScreen)
        await until(pilot, lambda: bool(screen.shelf.entries))
        screen.query_one("#list", Menu).action_move([each.name for each in screen.shelf.entries or ()].index("ward"))
        await until(pilot, lambda: screen.shelf.cursor == "ward" and read_through(screen))
        await pilot.pause()
        await walk(pilot, app, ran)
        for dialogue in (PathScreen(app.session), AddScreen(app.session, "ward.txt")):
            app.push_screen(dialogue)  # type: ignore[arg-type]
            await until(pilot, lambda dialogue=dialogue: app.screen is dialogue and dialogue.is_mounted)  # type: ignore[misc]
            await pilot.pause()
            await walk(pilot, app, ran)
            app.pop_screen()
    all_ran(ran, "corpora", "leaf", "path", "add", but={"corpora.cancel"})  # that one: test_corpora, with a fetch


async def test_dialogues(runs: Path) -> None:
    app, ran = Workbench(runs, run=write_run(runs)), set[str]()
    async with app.run_test(size=(140, 40)) as pilot:
        await until(pilot, lambda: app.session.view is not None)
        for name in ("new_run", "palette", "help", "settings"):
            app.call_later(app.run_action, name)
            await until(pilot, lambda: app.in_dialogue and app.screen.is_mounted)
            await pilot.pause()
            await walk(pilot, app, ran)
            await pilot.press("escape")
            await until(pilot, lambda: not app.in_dialogue)
    all_ran(ran, "new_run", "form", "dialog", "choose", "help", "settings")


async def test_welcome(runs: Path) -> None:
    app, ran = Workbench(runs), set[str]()
    async with app.run_test(size=(140, 40)) as pilot:
        await until(pilot, lambda: isinstance(app.screen, WelcomeScreen) and app.screen.is_mounted)
        await pilot.pause()
        await walk(pilot, app, ran)
    all_ran(ran, "welcome")


def test_no_scope_is_left_out() -> None:
    source = Path(__file__).read_text()
    assert [scope for scope in sorted({action.scope for action in ACTIONS}) if f'"{scope}"' not in source] == []
