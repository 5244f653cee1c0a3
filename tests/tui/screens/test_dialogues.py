"""One rule for all dialogues: escape, ctrl+c and ctrl+q close them and nothing else; what lies behind goes on."""

from __future__ import annotations

import importlib
import json
import pkgutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from pilot_for_tests import FakeTraining, listed, live_run, on_screen, still, until
from rich.cells import cell_len
from runs_for_tests import write_run
from textual._compositor import LayoutUpdate
from textual.content import Content
from textual.events import Key
from textual.pilot import Pilot
from textual.renderables.background_screen import BackgroundScreen
from textual.screen import ModalScreen
from textual.strip import Strip
from textual.visual import RichVisual
from textual.widgets import Input

import tui.app
import tui.screens
from engine.control import CommandQueue
from tui.app import Workbench
from tui.screens.corpora.add import AddScreen, PathScreen
from tui.screens.corpora.screen import CorporaScreen
from tui.screens.dialogs import dialogue
from tui.screens.dialogs.ask import AskScreen
from tui.screens.dialogs.choose import Choice, ChooseScreen
from tui.screens.dialogs.choose import _line as choice_line
from tui.screens.dialogs.confirm import ConfirmScreen, Way
from tui.screens.dialogs.dialogue import Box, Dialogue, behind
from tui.screens.dialogs.help import HelpScreen, help_lines
from tui.screens.dialogs.jump import JumpScreen
from tui.screens.dialogs.rate import RateScreen
from tui.screens.dialogs.settings import SettingsScreen
from tui.screens.inspect.dialogues import TypeScreen, WorstScreen
from tui.screens.newrun.screen import NewRunScreen
from tui.screens.prompt.grid import GridScreen
from tui.screens.runs.compare import CompareScreen
from tui.screens.samples.where import WhereScreen
from tui.screens.train.promptinput import PromptInput
from tui.theme import DARK, LIGHT
from tui.widgets.menu import Menu
from tui.widgets.rows import Rows
from tui.widgets.topline import TopLine

SIZE = (120, 36)
CLOSING = ("escape", "ctrl+c", "ctrl+q")
# where it is opened, the key that does, and what it is
OPENED: dict[str, tuple[str, str, type[Dialogue[Any]]]] = {
    "help": ("live", "question_mark", HelpScreen),
    "commands": ("live", "ctrl+p", ChooseScreen),
    "learning rate": ("live", "l", RateScreen),
    "stop": ("live", "x", ConfirmScreen),
    "jump": ("live", "f", JumpScreen),
    "detach": ("own", "d", ConfirmScreen),
    "quit": ("own", "q", ConfirmScreen),
    "quit by ctrl+c": ("own", "ctrl+c", ConfirmScreen),
    "new run": ("live", "n", NewRunScreen),
    "weights": ("prompt", "ctrl+o", ChooseScreen),
    "prompts": ("prompt", "ctrl+g", ChooseScreen),
    "help in an input": ("prompt", "f1", HelpScreen),
    "commands in an input": ("prompt", "ctrl+p", ChooseScreen),
    "more steps": ("ended", "u", AskScreen),
    "help of the list": ("list", "question_mark", HelpScreen),
    "delete": ("list of ended", "x", ConfirmScreen),
    "stop in the list": ("list", "x", ConfirmScreen),
    "settings": ("list", "comma", SettingsScreen),
    "add a corpus": ("corpora", "a", PathScreen),
}
ELSEWHERE: set[type[Dialogue[Any]]] = {AddScreen, CompareScreen, GridScreen, TypeScreen, WhereScreen, WorstScreen}
"""Those that no one key opens from anywhere; the test of its screen opens and closes each."""


@contextmanager
def workbench(runs: Path, where: str) -> Iterator[tuple[Workbench, CommandQueue]]:
    """A workbench where that dialogue can be asked for: on a run that is live, trained here, or ended."""
    run = write_run(runs, step=500 if "ended" in where else 340)
    app = Workbench(runs, run=None if "list" in where else run)
    if "ended" in where:
        yield app, CommandQueue()
        return
    with live_run(run, learning_rate=3e-4) as commands:
        yield app, commands


async def go(pilot: Pilot[Any], app: Workbench, where: str) -> None:
    if "list" in where:
        await until(pilot, lambda: listed(app))
        return
    await until(pilot, lambda: app.session.view is not None and app.focused is not None)
    if where == "corpora":
        app.action_go("corpora")
        await until(pilot, lambda: isinstance(app.screen, CorporaScreen) and bool(app.session.shelf.entries))
        await until(pilot, lambda: isinstance(app.focused, Menu))
    if where == "own":
        app.session.training = FakeTraining(app.session.run)
    if where == "prompt":
        await pilot.press("p", *"draft")
        await until(pilot, lambda: isinstance(app.focused, PromptInput))


@pytest.mark.parametrize("where", sorted({where for where, _, _ in OPENED.values()}))
async def test_every_dialogue_closes_by_the_same_keys_and_does_nothing(runs: Path, where: str) -> None:
    with workbench(runs, where) as (app, commands):
        async with app.run_test(size=SIZE) as pilot:
            await go(pilot, app, where)
            below, focused = list(app.screen_stack), app.focused
            for number, (name, (place, key, kind)) in enumerate(OPENED.items()):
                if place != where:
                    continue
                ways = [*CLOSING, "ctrl+p"] if kind is ChooseScreen else [*CLOSING]
                for closing in ways if name in ("commands", "learning rate", "quit") else [ways[number % len(ways)]]:
                    await pilot.press(key)
                    await until(pilot, lambda kind=kind: isinstance(app.screen, kind))  # type: ignore[misc]
                    await pilot.press(closing)
                    await until(pilot, lambda: list(app.screen_stack) == below)
                    assert app.focused is focused and app.return_value is None, f"{name}: {closing}"
                if name in ("learning rate", "quit", "prompts"):  # one in a hurry: at most asked whether to quit
                    training = app.session.training
                    app.session.training = FakeTraining(app.session.run)
                    await pilot.press(key, *("ctrl+c", "ctrl+q") * 2)
                    assert app.return_value is None, name
                    while app.in_dialogue:
                        await pilot.press("ctrl+c")
                    app.session.training = training
            assert commands.drain() == []
            assert app.session.training is None or app.session.training.alive
            assert (runs / "ward-notes-nano-1").is_dir()
            if where == "prompt":
                assert app.screen.query_one("#ask", PromptInput).text == "draft"


async def test_keys_faster_than_a_dialogue_answer_it_once(runs: Path) -> None:
    """All of them come in one read: the second answer finds the dialogue closed, and is none."""
    answers = [(name, "escape") for name, (place, _, _) in OPENED.items() if place == "live"]
    with workbench(runs, "live") as (app, _):
        async with app.run_test(size=SIZE) as pilot:
            await go(pilot, app, "live")
            below = list(app.screen_stack)
            for name, answer in [*answers, ("learning rate", "enter"), ("stop", "enter")]:
                _, key, kind = OPENED[name]
                await pilot.press(key)
                await until(pilot, lambda kind=kind: isinstance(app.screen, kind))  # type: ignore[misc]
                for _ in range(3):
                    assert app._driver is not None
                    app._driver.send_message(Key(answer, None))
                await pilot.pause()
                await until(pilot, lambda: list(app.screen_stack) == below)
            assert app._exception is None


@pytest.mark.parametrize(
    ("width", "text", "aside", "said"),
    [
        (40, "step 1,000", "val 1.2345", "step 1,000                    val 1.2345"),
        (20, "step 1,000,000", "val 1.2345", "step 1,0… val 1.2345"),
        (40, "a long name 漢字漢字", "the lowest validation loss", "a long name 漢字漢字  the lowest valida…"),
        (24, "a long name 漢字漢字", "the lowest validation loss", "a long name 漢字漢字"),
        (24, "show the runs that match", "^p", "show the runs that m… ^p"),
        (12, "newest", "the newest, as it trains", "newest"),
    ],
)
def test_what_stands_beside_a_choice_gives_way_first(width: int, text: str, aside: str, said: str) -> None:
    line = "".join(part for part, _ in choice_line(Choice(text, 1, aside), width))
    assert line.rstrip() == said and cell_len(line) <= width


async def test_a_choice_that_is_no_longer_shown_is_none(runs: Path) -> None:
    """A click or an enter on the way while what was typed behind it is seen already."""
    with workbench(runs, "live") as (app, _):
        async with app.run_test(size=SIZE) as pilot:
            await go(pilot, app, "live")
            await pilot.press("ctrl+p")
            await until(pilot, lambda: any(menu.items for menu in app.screen.query(Menu)))
            menu = app.screen.query_one(Menu)
            late = Menu.Chosen(menu, len(menu.items) - 1, menu.items)
            await pilot.press(*"zzzz")
            menu.post_message(late)
            await pilot.pause()
            assert isinstance(app.screen, ChooseScreen) and app._exception is None


def test_every_dialogue_is_walked_through_and_is_one() -> None:
    for module in pkgutil.walk_packages(tui.screens.__path__, "tui.screens."):
        importlib.import_module(module.name)
    ours = {kind for kind in _subclasses(ModalScreen) if kind.__module__.startswith("tui.")} - {Dialogue}
    assert ours == {kind for _, _, kind in OPENED.values()} | ELSEWHERE
    assert all(issubclass(kind, Dialogue) for kind in ours)


def _subclasses(kind: type) -> set[type]:
    return {kind} | {each for child in kind.__subclasses__() for each in _subclasses(child)}


@pytest.mark.parametrize("name", ["help", "quit", "new run"])
async def test_what_lies_behind_goes_on_being_drawn(runs: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    where, key, kind = OPENED[name]
    with workbench(runs, where) as (app, _):
        async with app.run_test(size=SIZE) as pilot:
            await go(pilot, app, where)
            await pilot.press(key)
            await until(pilot, lambda: isinstance(app.screen, kind))
            for _ in range(3):
                app._poll()
                await pilot.pause()
            painted: list[Any] = []
            show = app._display
            monkeypatch.setattr(app, "_display", lambda screen, what: (painted.append(what), show(screen, what)))
            status = runs / "ward-notes-nano-1" / "status.json"
            status.write_text(json.dumps({**json.loads(status.read_text()), "step": 377}))
            await until(pilot, lambda: "377/500" in app.export_screenshot(simplify=True).replace("&#160;", " "))
            await until(pilot, lambda: bool(painted))
            assert isinstance(app.screen, kind)


def test_a_name_in_a_title_is_no_markup() -> None:
    title = Box("delete [red]a[/red] \x1b[31m").border_title
    assert Content.from_markup(title).plain == "delete [red]a[/red] ␛[31m"


async def test_a_terminal_grows_under_a_dialogue(runs: Path) -> None:
    """In the smallest it has a line to choose and the key that leads out."""
    where, key, kind = OPENED["commands"]
    with workbench(runs, where) as (app, _):
        async with app.run_test(size=SIZE) as pilot:
            await go(pilot, app, where)
            await pilot.press(key)
            await until(pilot, lambda: isinstance(app.screen, kind))
            for size in ((20, 5), SIZE):
                await pilot.resize_terminal(*size)
                await until(pilot, lambda size=size: tuple(app.screen_stack[-2]._compositor.size) == size)  # type: ignore[misc]
                await still(pilot)
                assert "▌ " in on_screen(app) and "esc close" in on_screen(app)
            await until(pilot, lambda: "q quit" in on_screen(app) and "340/500" in on_screen(app))
            await pilot.press("escape")
            app.push_screen(ConfirmScreen("?", [[("words " * 40, "")]], [Way(key, key, "", 0) for key in "abc"]))
            await pilot.resize_terminal(20, 5)
            await until(pilot, lambda: all(f"{key}    {key}" in on_screen(app) for key in "abc"))


async def test_what_lies_behind_is_drawn_less_often(runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now, drawn = [100.0], list[float]()
    monkeypatch.setattr(tui.app, "COVERED", 2.0)
    monkeypatch.setattr(tui.app, "monotonic", lambda: now[0])
    with workbench(runs, "live") as (app, _):
        async with app.run_test(size=SIZE) as pilot:
            await go(pilot, app, "live")
            below = app.workplace
            monkeypatch.setattr(app.pacer, "ready", lambda: True)
            monkeypatch.setattr(below, "update", lambda: drawn.append(now[0]))
            for covered in (False, True):
                if covered:
                    await pilot.press("ctrl+p")
                    await until(pilot, lambda: isinstance(app.screen, ChooseScreen))
                drawn.clear()
                for _ in range(20):
                    now[0] += 0.5
                    app._behind = True
                    app._look()
                assert len(drawn) == (5 if covered else 20)


async def test_of_what_lies_behind_only_what_changed_is_drawn(runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Once, however often the screen behind is spoken to; and together with what was typed in the same moment."""
    drawn: list[int] = []

    def noted(what: BackgroundScreen, base: Any, rows: list[int]) -> dict[int, Strip]:
        drawn.extend(rows)
        return behind(what, base, rows)

    monkeypatch.setattr(dialogue, "behind", noted)
    with workbench(runs, "live") as (app, _):
        async with app.run_test(size=SIZE) as pilot:
            await go(pilot, app, "live")
            await pilot.press("ctrl+p")
            await until(pilot, lambda: isinstance(app.screen, ChooseScreen) and len({*drawn}) == SIZE[1])
            below, typed = app.screen_stack[-2], app.screen.query_one(Input)
            top, show = below.query_one(TopLine), app._display
            said: list[str] = []
            laid_out: list[Any] = []

            def display(screen: Any, what: Any) -> None:
                if isinstance(what, LayoutUpdate):
                    laid_out.append(what)
                elif what is not None:
                    rows = {y for y, _, _ in what.spans}
                    said.extend(strip.text for y in rows for strip in what.chops[y].values() if strip)
                show(screen, what)

            monkeypatch.setattr(app, "_display", display)
            monkeypatch.setattr(app, "_look", lambda: None)
            seen = 0
            for words in map(str, range(1001, 1021)):  # some, as what lies behind may still be on its way
                await pilot.pause()
                for each in (drawn, said, laid_out):
                    each.clear()
                with app.batch_update():
                    top.show_words([(words, "bright")])
                    typed.value = words
                await until(pilot, lambda words=words: laid_out or sum(words[-2:] in each for each in said) >= 2)  # type: ignore[misc]
                alone = 0 in drawn and len({*drawn}) < 3
                drawn.clear()
                for _ in range(3):
                    below.call_later(lambda: None)
                    await pilot.pause(0.02)
                seen += alone and 0 not in drawn and not laid_out
                if seen == 2:
                    break
            assert seen == 2


@pytest.mark.parametrize("theme", [DARK, LIGHT])
async def test_what_lies_behind_is_dimmed_as_textual_dims_it(runs: Path, theme: str) -> None:
    with workbench(runs, "live") as (app, _):
        app.theme = theme
        async with app.run_test(size=SIZE) as pilot:
            await go(pilot, app, "live")
            await pilot.press("question_mark")
            await until(pilot, lambda: isinstance(app.screen, HelpScreen))
            screen, below = app.screen, app.screen_stack[-2]
            color, style = screen.styles.background, screen.visual_style
            options: Any = None
            drawn = BackgroundScreen(below, color)
            ours = [*behind(drawn, style.rich_style, range(SIZE[1])).values()]
            theirs = RichVisual(screen, drawn).render_strips(*SIZE, style, options)

            def cells(strips: list[Strip]) -> list[list[tuple[str, Any]]]:
                return [[(each, style) for text, style, _ in strip for each in text] for strip in strips]

            assert color.a < 1 and len(ours) == SIZE[1] and cells(ours) == cells(theirs)


@pytest.mark.parametrize("size", [(120, 36), (44, 14)], ids=str)
async def test_what_a_dialogue_says_is_said_whole(runs: Path, size: tuple[int, int]) -> None:
    with workbench(runs, "live") as (app, _):
        async with app.run_test(size=size) as pilot:
            await go(pilot, app, "live")
            await pilot.press("l")
            await until(pilot, lambda: isinstance(app.screen, AskScreen))
            await pilot.press("ctrl+u", *"eleven and a half")
            said = app.screen.query_one("#said", Rows)

            def words() -> str:
                lines = (said.render_line(y).text.strip() for y in range(said.size.height))
                return " ".join(line for line in lines if line)

            await until(pilot, lambda: words() == "✖ 'eleven and a half' is not a number; try 3e-4")
            await pilot.press("escape", "question_mark")
            await until(pilot, lambda: isinstance(app.screen, HelpScreen))
            await pilot.pause()
            lines = app.screen.query_one("#lines", Rows)
            assert not [y for y in range(lines.size.height) if "…" in lines.render_line(y).text]
            _, rows = help_lines(app.owners(), app.keys_here())
            assert len({len(row[0][0]) for row in rows if len(row) == 2}) == 1, "what keys do stands in one column"
