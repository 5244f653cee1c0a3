"""What is asked of a run's trainer, and what is asked back first: stop, detach, more steps, another learning rate."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pilot_for_tests import FakeTraining, listed, live_run, on_screen, until
from runs_for_tests import write_run
from textual.pilot import Pilot
from textual.widgets import Input

from engine.errors import ConfigError
from engine.preset_files import load_preset
from engine.runs.layout import RunDir
from tui.app import Workbench
from tui.screens.dialogs.ask import AskScreen
from tui.screens.dialogs.asking import parse_learning_rate, parse_steps, schedule_words
from tui.screens.dialogs.choose import ChooseScreen
from tui.screens.dialogs.confirm import ConfirmScreen
from tui.screens.newrun.screen import NewRunScreen
from tui.screens.runs.screen import RunsScreen
from tui.screens.train import screen as train
from tui.screens.train.prompt import PromptPane
from tui.screens.train.screen import TrainScreen
from tui.state.training import Resume, Start
from tui.terminal.signals import Ending
from tui.widgets.menu import Menu
from tui.widgets.rows import Rows

Bench = Callable[..., Workbench]
SIZE = (120, 36)
RATE = 0.0024999999999999996


def filled(app: Workbench) -> str:
    """What stands in the field of the dialogue."""
    assert isinstance(app.screen, AskScreen)
    return app.screen.query_one(Input).value


# -- the learning rate


@pytest.mark.parametrize("typed", [[], ["end"], ["left", "right"], ["end", "5", "backspace"]], ids=str)
async def test_the_rate_in_force_is_filled_in_with_all_its_digits_and_untouched_nothing_is_sent(
    runs: Path, typed: list[str]
) -> None:
    run = write_run(runs, step=340)
    with live_run(run, learning_rate=RATE) as commands:
        app = Workbench(runs, run=run)
        async with app.run_test(size=SIZE) as pilot:
            await until(pilot, lambda: app.session.live)
            await pilot.press("l")
            assert filled(app) == repr(RATE)
            assert "learning rate in force" in on_screen(app)
            await pilot.press(*typed, "enter")
            assert isinstance(app.screen, TrainScreen)
            await pilot.press("c")  # a command after it, so that one is awaited
            got: list[dict[str, Any]] = []
            await until(pilot, lambda: bool(got.extend(commands.drain())) or bool(got))
    assert [command["do"] for command in got] == ["checkpoint"]


async def test_another_rate_is_sent_as_it_was_typed(runs: Path) -> None:
    run = write_run(runs, step=340)
    with live_run(run, learning_rate=RATE) as commands:
        app = Workbench(runs, run=run)
        async with app.run_test(size=SIZE) as pilot:
            await until(pilot, lambda: app.session.live)
            await pilot.press("l", "ctrl+u", *"0.0012345678901234", "enter")
            got: list[dict[str, Any]] = []
            await until(pilot, lambda: bool(got.extend(commands.drain())) or bool(got))
    assert got == [{"do": "learning_rate", "value": 0.0012345678901234}]


async def test_the_rate_is_asked_of_the_trainer_and_not_of_the_schedule(runs: Path) -> None:
    """At step 513 of 600 the schedule's peak is six times the rate in force; the peak is said nowhere."""
    run = write_run(runs, step=340)
    with live_run(run, learning_rate=RATE, lr_scale=0.5):
        app = Workbench(runs, run=run)
        async with app.run_test(size=SIZE) as pilot:
            await until(pilot, lambda: app.session.live)
            peak = json.loads(run.run_json.read_text())["config"]["train"]["learning_rate"]
            await pilot.press("l")
            said = app.screen.query_one("#said", Rows).render_line(0).text
            assert filled(app) == repr(RATE) != repr(peak) and "peak" not in said
            assert "at the next update; the linear schedule goes on to 0 " in said


def test_what_the_schedule_does_is_said() -> None:
    def info(kind: str) -> dict[str, Any]:
        return {"config": {"train": {"schedule": kind, "min_learning_rate": 1e-4}}}

    assert schedule_words(info("cosine"), 1.0) == "the cosine schedule goes on to 1.0e-4"
    assert schedule_words(info("linear"), 0.5) == "the linear schedule goes on to 5.0e-5"
    assert schedule_words(info("constant"), 1.0) == "the later ones follow in proportion"
    assert schedule_words({}, 1.0) == "the later ones follow in proportion"


@pytest.mark.parametrize("text", ["", "x", "0", "-1", "nan", "inf", "10.5", "1e400", "3e-4 5"])
def test_what_is_no_learning_rate_is_refused_in_a_line(text: str) -> None:
    with pytest.raises(ConfigError, match=r"^[^\n]+$"):
        parse_learning_rate(text)


@given(st.floats(min_value=1e-300, max_value=10.0))
def test_a_rate_comes_back_from_the_field_as_it_went_in(rate: float) -> None:
    assert parse_learning_rate(repr(rate)) == rate


# -- more steps


@pytest.mark.parametrize("where", ["screen", "list"])
async def test_a_finished_run_is_offered_more_steps(runs: Path, where: str, monkeypatch: pytest.MonkeyPatch) -> None:
    run = write_run(runs, "a-1", state="finished", step=500)
    app = Workbench(runs, run=run if where == "screen" else None)
    jobs: list[Any] = []
    monkeypatch.setattr(app.session, "train", jobs.append)
    async with app.run_test(size=SIZE) as pilot:
        await until(pilot, lambda: app.session.view is not None if where == "screen" else listed(app))
        assert "resume" in [action.do for action in app.keys_here()]
        await pilot.press("u")
        assert filled(app) == "1000"
        await pilot.press("ctrl+u", *"400", "enter")
        assert isinstance(app.screen, AskScreen) and jobs == []
        await until(pilot, lambda: "made already" in on_screen(app))
        await pilot.press("escape", "u", "ctrl+u", *"800", "enter")
        await until(pilot, lambda: bool(jobs))
        assert jobs == [Resume(run, max_steps=800)]
        await until(pilot, lambda: isinstance(app.screen, TrainScreen))
        assert "not started" not in on_screen(app)


@pytest.mark.parametrize("where", ["screen", "list"])
async def test_a_run_that_stopped_early_goes_on_and_says_how(
    runs: Path, where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = write_run(runs, "a-1", state="finished", step=300)  # of 500
    app = Workbench(runs, run=run if where == "screen" else None)
    jobs: list[Any] = []
    monkeypatch.setattr(app.session, "train", jobs.append)
    async with app.run_test(size=SIZE, notifications=True) as pilot:
        await until(pilot, lambda: app.session.view is not None if where == "screen" else listed(app))
        await pilot.press("u")
        await until(pilot, lambda: bool(jobs))
        await until(pilot, lambda: "stopped early at step 300; it goes on with its patience anew" in on_screen(app))
    assert jobs == [Resume(run)]


@pytest.mark.parametrize("text", ["", "x", "500", "1.5", "-7", "100000001", "1e3"])
def test_what_is_no_number_of_more_steps_is_refused_in_a_line(text: str) -> None:
    with pytest.raises(ConfigError, match=r"^[^\n]+$"):
        parse_steps(text, 500)
    assert parse_steps("1,000", 500) == 1000


# -- stopping


@pytest.mark.parametrize("where", ["screen", "list"])
@pytest.mark.parametrize("state", ["running", "paused"])
async def test_every_live_run_can_be_stopped_after_asking(runs: Path, where: str, state: str) -> None:
    run = write_run(runs, "a-1", step=340)
    with live_run(run, state) as commands:  # of another process, as far as the workbench knows
        app = Workbench(runs, run=run if where == "screen" else None)
        async with app.run_test(size=SIZE) as pilot:
            await until(pilot, lambda: app.session.live if where == "screen" else listed(app))
            assert "stop" in [action.label for action in app.keys_here()]
            assert "delete" not in [action.label for action in app.keys_here()]
            for no in ("escape", "enter"):  # the cursor stands on keeping it
                await pilot.press("x")
                assert isinstance(app.screen, ConfirmScreen) and "stop this run?" in on_screen(app)
                await pilot.press(no)
                assert not isinstance(app.screen, ConfirmScreen)
            assert commands.drain() == []
            await pilot.press("x", "y")
            got: list[dict[str, Any]] = []
            await until(pilot, lambda: bool(got.extend(commands.drain())) or bool(got))
            assert (runs / "a-1" / "run.json").is_file()
    assert got == [{"do": "stop"}]


async def test_a_run_of_this_process_is_stopped_before_it_takes_commands(runs: Path) -> None:
    run = write_run(runs, state="running", step=340)  # nobody listens at its socket
    app = Workbench(runs, run=run)
    async with app.run_test(size=SIZE, notifications=True) as pilot:
        await until(pilot, lambda: app.session.live)
        training: Any = FakeTraining(run)
        app.session.training = training
        await pilot.press("x", "escape")
        assert not training.asked
        await pilot.press("x", "y")
        await until(pilot, lambda: "writes a checkpoint and stops" in on_screen(app))
        assert training.asked


async def test_a_question_is_about_the_run_it_was_asked_of(runs: Path) -> None:
    first, second = write_run(runs, "a-1", step=340), write_run(runs, "a-2", step=40)
    with live_run(first) as commands, live_run(second) as others:
        app = Workbench(runs, run=first)
        async with app.run_test(size=SIZE) as pilot:
            await until(pilot, lambda: app.session.live)
            await pilot.press("x")
            app.session.open(second)
            await until(pilot, lambda: app.session.run == second)
            await pilot.press("y")
            got: list[dict[str, Any]] = []
            await until(pilot, lambda: bool(got.extend(commands.drain())) or bool(got))
    assert got == [{"do": "stop"}] and others.drain() == []


async def test_an_ended_run_cannot_be_stopped(bench: Bench) -> None:
    app = bench(state="stopped")
    async with app.run_test(size=SIZE) as pilot:
        await until(pilot, lambda: app.session.view is not None)
        await pilot.press("x")
        assert isinstance(app.screen, TrainScreen)


async def test_a_training_that_has_not_begun_can_be_given_up(runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from engine.training import start

    gate, real = threading.Event(), start.start_run

    def slow(*args: Any, **kwargs: Any) -> RunDir:
        gate.wait(60)
        return real(*args, **kwargs)

    monkeypatch.setattr(start, "start_run", slow)
    text = Path("words.txt")
    text.write_text("a cat sees a fish\n" * 200)
    app = Workbench(runs, start=Start(str(text), load_preset("nano"), "nano"))
    async with app.run_test(size=SIZE) as pilot:
        await until(pilot, lambda: app.session.starting is not None and isinstance(app.screen, TrainScreen))
        await pilot.press("x", "escape", "x")
        assert "give this start up?" in on_screen(app)
        await pilot.press("y")
        await until(pilot, lambda: "was given up" in on_screen(app))
        training = app.session.training
        gate.set()
        assert training is not None and not training.alive
        await until(pilot, lambda: not training.starting)
        assert training.host is None and app.session.run is None and app.session.starting is None


# -- detaching


@pytest.fixture
def own(runs: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Workbench, RunDir]:
    run = write_run(runs, "a-1", state="running", step=340)
    app = Workbench(runs, run=run)
    return app, run


async def test_detaching_asks(own: tuple[Workbench, RunDir]) -> None:
    app, run = own
    async with app.run_test(size=SIZE) as pilot:
        await until(pilot, lambda: app.session.view is not None)
        app.session.training = FakeTraining(run)
        for no in ("escape", "enter", "d"):
            await pilot.press("d")
            assert isinstance(app.screen, ConfirmScreen) and "in the background?" in on_screen(app)
            await pilot.press(no)
            if no == "d":
                assert isinstance(app.screen, ConfirmScreen)  # the key that asked is no answer
            else:
                assert isinstance(app.screen, TrainScreen)
        assert app.return_value is None
        await pilot.press("y")
    assert app.return_value is Ending.DETACH


async def test_d_right_after_escape_is_a_letter_of_what_was_typed(
    own: tuple[Workbench, RunDir], monkeypatch: pytest.MonkeyPatch
) -> None:
    app, run = own
    now = [1000.0]
    monkeypatch.setattr(train, "clock", lambda: now[0])
    async with app.run_test(size=SIZE, notifications=True) as pilot:
        await until(pilot, lambda: app.session.view is not None)
        app.session.training = FakeTraining(run)
        await pilot.press("p", *"mend", "escape", "d")
        assert isinstance(app.screen, TrainScreen)
        await until(pilot, lambda: "once more" in on_screen(app))
        now[0] += train.AFTER_ESCAPE
        await pilot.press("d")
        assert isinstance(app.screen, ConfirmScreen)


async def test_nobody_detaches_during_a_stream(runs: Path) -> None:
    run = write_run(runs, step=340)
    with live_run(run):
        app = Workbench(runs, run=run)
        async with app.run_test(size=SIZE) as pilot:
            await until(pilot, lambda: app.session.live)
            app.session.training = FakeTraining(run)
            await pilot.press("p", *"for ever", "enter")
            pane = app.screen.query_one(PromptPane)
            await until(pilot, lambda: pane.busy)
            app.screen.query_one("#answer").focus()
            await pilot.press("d")
            assert isinstance(app.screen, TrainScreen) and pane.busy
            assert "detach" not in [action.do for action in app.keys_here()]
            await pilot.press("escape")
            await until(pilot, lambda: not pane.busy)
            assert "detach" in [action.do for action in app.keys_here()]


# -- the list's cursor


def names_of(app: Workbench) -> list[str]:
    """The runs of the table, from the top."""
    assert isinstance(app.screen, RunsScreen)
    return [str(line.facts["name"]) for line in app.screen.table.lines]


def chosen_of(app: Workbench) -> str:
    """The run under the cursor."""
    assert isinstance(app.screen, RunsScreen) and app.screen.table.run is not None
    return app.screen.table.run.name


async def reload(app: Workbench, pilot: Pilot[Any]) -> None:
    """Read the table again, and wait until it was."""
    assert isinstance(app.screen, RunsScreen)
    table = app.screen.table
    before = table.facts
    app.screen.action_reload()
    await until(pilot, lambda: table.facts is not before)


async def test_the_cursor_stays_on_its_run_while_others_come_go_and_change_places(runs: Path) -> None:
    names = [f"run-{number}" for number in range(6)]
    for name in names:
        write_run(runs, name, step=3)
    app = Workbench(runs)
    async with app.run_test(size=SIZE) as pilot:
        await until(pilot, lambda: listed(app))
        await pilot.press("down", "down")
        chosen = chosen_of(app)
        others = [name for name in names if name != chosen]
        touched = runs / others[0] / "status.json"
        status = json.loads(touched.read_text())
        for number, change in enumerate(
            (
                lambda: touched.write_text(json.dumps({**status, "state": "running", "host": "elsewhere"})),
                lambda: touched.write_text(json.dumps(status)),
                lambda: write_run(runs, "new", step=3),
                lambda: (runs / others[1]).rename(runs / ".gone"),
                lambda: (runs / others[2]).rename(runs / "renamed"),
                lambda: (runs / chosen / "status.json").write_text(
                    json.dumps({**status, "state": "paused", "host": "e"})
                ),
            )
        ):
            change()
            await reload(app, pilot)
            assert chosen_of(app) == chosen, number
        await pilot.press("down")
        below, after = chosen_of(app), names_of(app)
        (runs / below).rename(runs / ".deleted")
        await reload(app, pilot)
        assert chosen_of(app) == (after[after.index(below) + 1 :] or after[:-1][-1:])[0]


async def test_live_runs_do_not_change_places_by_their_heartbeats(runs: Path) -> None:
    for name in ("a-1", "a-2", "a-3"):
        write_run(runs, name, state="running", step=3)
    app = Workbench(runs)
    async with app.run_test(size=SIZE) as pilot:
        await until(pilot, lambda: listed(app))
        before = names_of(app)
        for name in ("a-1", "a-3", "a-2"):
            path = runs / name / "status.json"
            path.write_text(path.read_text())
            await reload(app, pilot)
            assert names_of(app) == before == ["a-3", "a-2", "a-1"]


async def test_enter_opens_the_run_under_the_cursor_when_the_list_has_changed_since(runs: Path) -> None:
    for name in ("a-1", "a-2"):
        write_run(runs, name, step=3)
    app = Workbench(runs)
    async with app.run_test(size=SIZE) as pilot:
        await until(pilot, lambda: listed(app))
        chosen = chosen_of(app)
        write_run(runs, "newest", step=3)
        await reload(app, pilot)
        assert names_of(app)[0] == "newest"
        await pilot.press("enter")
        await until(pilot, lambda: app.session.run is not None)
        assert app.session.run is not None and app.session.run.name == chosen


async def test_a_table_that_changes_under_the_key_opens_the_run_that_was_seen(runs: Path) -> None:
    for name in ("a-1", "a-2", "a-3"):
        write_run(runs, name, step=3)
    app = Workbench(runs)
    async with app.run_test(size=SIZE) as pilot:
        await until(pilot, lambda: listed(app))
        assert isinstance(app.screen, RunsScreen)
        seen, menu = names_of(app), app.screen.query_one(Menu)
        event = Menu.Chosen(menu, 1, menu.items)
        write_run(runs, "newest", step=3)
        await reload(app, pilot)
        assert names_of(app)[1] != seen[1]
        app.screen.on_menu_chosen(event)
        await until(pilot, lambda: app.session.run is not None)
        assert app.session.run is not None and app.session.run.name == seen[1]


async def test_a_fork_begins_at_a_checkpoint_of_the_chosen_run(runs: Path) -> None:
    write_run(runs, "a-1", step=3)
    write_run(runs, "b-1", step=300)
    app = Workbench(runs)
    async with app.run_test(size=SIZE) as pilot:
        await until(pilot, lambda: listed(app))
        assert chosen_of(app) == "b-1"
        await pilot.press("b")
        await until(pilot, lambda: isinstance(app.screen, ChooseScreen))
        await pilot.press("down", "enter")
        await until(pilot, lambda: isinstance(app.screen, NewRunScreen))
        assert app.screen._fork is not None
        assert (app.screen._fork.run.name, app.screen._fork.step) == ("b-1", 200)
        await pilot.press("escape")
        await until(pilot, lambda: isinstance(app.screen, RunsScreen))
        await pilot.press("down", "b")
        await until(pilot, lambda: chosen_of(app) == "a-1")
        assert isinstance(app.screen, RunsScreen)  # it has no checkpoint, and says so
