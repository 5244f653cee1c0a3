"""The footer offers what works where the focus is, and nothing else: every key of it, pressed, does what it says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pilot_for_tests import listed, live_run, until
from runs_for_tests import write_run
from textual.pilot import Pilot
from textual.widget import Widget
from textual.widgets import Input, TextArea

from tui.actions import ACTIONS, Action, is_text
from tui.app import Workbench
from tui.screens.dialogs.help import HelpScreen
from tui.screens.train.promptinput import PromptInput
from tui.screens.welcome.screen import WelcomeScreen
from tui.widgets.keybar import KeyBar
from tui.widgets.menu import Menu
from tui.widgets.slider import Slider

SIZE = (400, 40)
"""So wide that the footer leaves nothing out."""


def shown(app: Workbench) -> list[Action]:
    """What the footer of the screen shows."""
    bar = app.workplace.query_one(KeyBar)
    bar.paint(*bar.size)
    return [action for _, _, action in bar._places]


def stops(app: Workbench) -> list[Widget]:
    return [each for each in app.screen.query("*") if each.can_focus and each.region.area]


async def press_all(pilot: Pilot[Any], app: Workbench, focused: Widget | None) -> int:
    """Press each key the footer shows and see that its action, and no other, is what happens; how many there were."""
    actions = shown(app)
    assert actions and [action.do for action in app.keys_here() if action.label] == [action.do for action in actions]
    for action in actions:
        owner, done = app.owner_of(action), list[str]()
        doing = f"action_{action.name}"
        was = getattr(owner, doing)
        setattr(owner, doing, lambda *values, done=done: done.append(repr(values)))
        try:
            if isinstance(focused, Input):
                assert not is_text(action.keys[0]), f"{action.key_shown} would be text in {focused!r}"
            await pilot.press(action.keys[0])
            await until(pilot, lambda done=done: bool(done), 5)  # type: ignore[misc]
        except AssertionError as error:
            raise AssertionError(f"{action.key_shown} {action.label} at {focused!r}: {error}") from None
        finally:
            setattr(owner, doing, was)
        wanted = action.do.partition("(")[2].rstrip(")")
        assert len(done) == 1 and [*eval(f"({wanted},)" if wanted else "()")] == [*eval(done[0])]
    return len(actions)


async def test_every_key_of_the_footer_does_what_it_says_wherever_the_focus_is(runs: Path) -> None:
    """On Train, at one place of each kind; where it works, every key of every screen: `test_registry_pressed`."""
    run = write_run(runs, step=340)
    with live_run(run):
        app = Workbench(runs, run=run)
        async with app.run_test(size=SIZE) as pilot:
            await until(pilot, lambda: app.session.live and app.focused is not None)
            places = {type(each): each for each in stops(app)}
            assert len(places) >= 4
            for place in places.values():
                place.focus()
                await until(pilot, lambda place=place: app.focused is place)  # type: ignore[misc]
                await pilot.pause()
                assert await press_all(pilot, app, place) >= 4
                if isinstance(place, Slider):
                    await pilot.press("1")
                    await until(pilot, lambda: {"take", "give_up"} <= {action.do for action in shown(app)})
                    await press_all(pilot, app, place)
                    await pilot.press("escape")
                    await until(pilot, lambda: "take" not in {action.do for action in shown(app)})


async def test_the_list_and_the_first_start_offer_what_they_do(runs: Path) -> None:
    app = Workbench(runs)
    async with app.run_test(size=SIZE) as pilot:
        await until(
            pilot, lambda: isinstance(app.screen, WelcomeScreen) and bool(app.screen.query(KeyBar) and shown(app))
        )
        await press_all(pilot, app, None)
    write_run(runs, "a-1")
    app = Workbench(runs)
    async with app.run_test(size=SIZE) as pilot:
        await until(pilot, lambda: listed(app))
        await until(pilot, lambda: "resume" in {action.do for action in shown(app)})
        assert await press_all(pilot, app, app.focused) >= 6


async def test_in_an_input_a_question_mark_is_text_and_help_has_another_key(runs: Path) -> None:
    app = Workbench(runs, run=write_run(runs))
    async with app.run_test(size=SIZE) as pilot:
        await until(pilot, lambda: app.session.view is not None and app.focused is not None)
        assert "?" in [action.key_shown for action in shown(app)]
        await pilot.press("p")
        await until(pilot, lambda: isinstance(app.focused, PromptInput))
        await pilot.press(*"why", "question_mark")
        assert app.screen.query_one("#ask", PromptInput).text == "why?"
        keys = {action.label: action.key_shown for action in shown(app)}
        assert keys["help"] == "F1" and keys["quit"] == "^q" and keys["history"] == "↑↓"
        assert not any(len(key) == 1 and key.isalnum() for key in keys.values())
        await pilot.press("f1")
        await until(pilot, lambda: isinstance(app.screen, HelpScreen))


async def test_a_focused_slider_shows_its_keys(runs: Path) -> None:
    app = Workbench(runs, run=write_run(runs))
    async with app.run_test(size=(140, 40)) as pilot:
        await until(pilot, lambda: app.session.view is not None and app.focused is not None)
        app.screen.query_one("#top-k", Slider).focus()
        await until(pilot, lambda: {"←", "→", "⇧←→"} <= {action.key_shown for action in shown(app)})
        await pilot.press("o")
        await until(pilot, lambda: {"⏎", "esc"} <= {action.key_shown for action in shown(app)})
        await pilot.press("question_mark")
        await until(pilot, lambda: isinstance(app.screen, HelpScreen))
        await pilot.pause()
        await pilot.press("escape")
        app.screen.query_one("#temperature", Slider).focus()
        await pilot.press("o")
        await pilot.pause()
        assert "take" not in {action.do for action in shown(app)}, "it has no off"


async def test_the_way_out_of_an_input_is_shown_in_a_narrow_terminal(runs: Path) -> None:
    app = Workbench(runs, run=write_run(runs))
    async with app.run_test(size=(40, 16)) as pilot:
        await until(pilot, lambda: app.session.view is not None and app.focused is not None)
        for keys, kind in (("p", Input), ("4", Menu), ("slash", Input), ("2", TextArea)):
            if keys == "2":
                await pilot.press("escape")
            await pilot.press(keys)
            await until(pilot, lambda kind=kind: isinstance(app.focused, kind))  # type: ignore[misc]
            if kind is Menu:
                continue
            await until(pilot, lambda: "back" in {action.do for action in shown(app)})
            if keys == "p":
                await pilot.press("escape")


async def test_a_click_in_the_footer_is_the_key(runs: Path) -> None:
    app = Workbench(runs, run=write_run(runs))
    async with app.run_test(size=SIZE) as pilot:
        await until(pilot, lambda: app.session.view is not None and app.focused is not None)
        slider = app.screen.query_one("#top-k", Slider)
        slider.focus()
        await until(pilot, lambda: "←" in {action.key_shown for action in shown(app)})
        bar = app.screen.query_one(KeyBar)
        start = next(start for start, _, action in bar._places if action.key_shown == "←")
        await pilot.click(bar, offset=(start + 1, 0))
        await until(pilot, lambda: slider.value == 30)


def test_what_an_input_takes_for_text() -> None:
    text = ("a", "Z", "1", "?", "question_mark", "space", "minus", "plus", "slash", "exclamation_mark", "full_stop")
    assert all(map(is_text, text))
    keys = (
        "f1",
        "f12",
        "escape",
        "tab",
        "enter",
        "up",
        "left",
        "home",
        "end",
        "delete",
        "backspace",
        "ctrl+c",
        "alt+a",
    )
    assert not any(map(is_text, keys))


def test_no_two_actions_of_one_place_share_a_key() -> None:
    for scope in {action.scope for action in ACTIONS}:
        keys = [key for action in ACTIONS if action.scope == scope for key in action.keys]
        assert len(keys) == len(set(keys)), scope
