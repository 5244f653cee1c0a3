"""Screen 4: filtered as one types, marked, compared, renamed, noted, in any theme and size."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pilot_for_tests import listed, on_screen, until
from runs_for_tests import write_run
from test_inspect import another_checkpoint, keep
from textual.pilot import Pilot
from textual.widgets import Input

from engine.runs.naming import write_note
from engine.runs.status import read_note
from tui.app import Workbench
from tui.screens.dialogs.ask import AskScreen
from tui.screens.dialogs.choose import ChooseScreen
from tui.screens.runs.compare import CompareScreen
from tui.screens.runs.screen import RunsScreen
from tui.state.runsreader import RunsReader
from tui.theme import THEMES

SIZE = (140, 40)


@pytest.fixture
def app(runs: Path) -> Workbench:
    for number, (name, state) in enumerate((("soap-1", "finished"), ("soap-2", "stopped"), ("words", "failed"))):
        step = 120 * (number + 1)
        write_run(
            runs, name, state=state, step=step, last_val_loss=1.0 + number / 4, best_val_loss=1.0, best_val_step=100
        )
    write_note(next(each for each in [write_run(runs, "noted", step=100)]), "the one for the talk")
    return Workbench(runs)


def names(app: Workbench) -> list[str]:
    assert isinstance(app.screen, RunsScreen)
    return [str(line.facts["name"]) for line in app.screen.table.lines]


async def ready(app: Workbench, pilot: Pilot[Any]) -> None:
    await until(pilot, lambda: listed(app) and len(names(app)) == 4)


async def test_it_filters_as_one_types_and_says_what_is_wrong(app: Workbench) -> None:
    async with app.run_test(size=SIZE) as pilot:
        await ready(app, pilot)
        await pilot.press("slash", *"soap")
        await until(pilot, lambda: sorted(names(app)) == ["soap-1", "soap-2"])
        await until(pilot, lambda: "2 match" in on_screen(app))
        await pilot.press("space", *"val<")
        await until(pilot, lambda: "val< needs a number" in on_screen(app))
        await pilot.press(*"1.1", "enter")
        await until(pilot, lambda: names(app) == ["soap-1"] and not isinstance(app.focused, Input))
        await pilot.press("slash", *" talk", "escape")
        await until(pilot, lambda: len(names(app)) == 4)


async def test_runs_are_looked_at_while_they_are_shown_and_at_once_when_they_are_again(
    app: Workbench, runs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tui.state.runsreader.LOOK_EVERY", 0.02)
    looks: list[None] = []
    real = RunsReader.look
    monkeypatch.setattr(RunsReader, "look", lambda self, ticket: (looks.append(None), real(self, ticket))[1])
    async with app.run_test(size=SIZE) as pilot:
        await ready(app, pilot)
        await until(pilot, lambda: len(looks) > 3)  # again and again
        await pilot.press("6")
        await until(pilot, lambda: app.current_mode == "corpora")
        others = list[int]()
        app.session.reads.ask("other", lambda _: others.append(len(looks)), lambda _: None, every=0.02)
        await until(pilot, lambda: len(others) > 20)
        assert others[-1] == others[10], "what was under way has ended by then"
        monkeypatch.setattr("tui.state.runsreader.LOOK_EVERY", 1000.0)
        for name in ("one-more", "and-another"):
            write_run(runs, name, step=1)
            await pilot.press("4")
            await until(pilot, lambda name=name: name in on_screen(app))  # type: ignore[misc]
            await pilot.press("6")
            await until(pilot, lambda: app.current_mode == "corpora")


async def test_marked_runs_are_drawn_over_each_other_and_compared(app: Workbench) -> None:
    async with app.run_test(size=SIZE) as pilot:
        await ready(app, pilot)
        await pilot.press("home", "space", "space")
        await until(pilot, lambda: "2 marked" in on_screen(app) and "2 runs" in on_screen(app))
        await pilot.press("equals_sign")
        await until(pilot, lambda: isinstance(app.screen, CompareScreen) and "val by then" in on_screen(app))
        assert "train at step 100" in on_screen(app) and "lowest" in on_screen(app)
        await pilot.press("escape", "escape")
        await until(pilot, lambda: isinstance(app.screen, RunsScreen) and "marked" not in on_screen(app))


async def test_a_run_is_renamed_and_noted_and_the_cursor_stays_on_it(app: Workbench, runs: Path) -> None:
    async with app.run_test(size=SIZE, notifications=True) as pilot:
        await ready(app, pilot)
        await pilot.press("home", "e")
        await until(pilot, lambda: isinstance(app.screen, AskScreen))
        app.screen.query_one(Input).value = "soap-2"
        await pilot.press("enter")  # the name is taken
        await until(pilot, lambda: "choose another name" in on_screen(app))
        await pilot.press("e")
        await until(pilot, lambda: isinstance(app.screen, AskScreen))
        app.screen.query_one(Input).value = "talk-1"
        await pilot.press("enter")
        await until(pilot, lambda: "talk-1" in names(app) and "noted" not in names(app))
        assert isinstance(app.screen, RunsScreen) and app.screen.table.run is not None
        assert app.screen.table.run.name == "talk-1"
        await pilot.press("i")
        await until(pilot, lambda: isinstance(app.screen, AskScreen))
        app.screen.query_one(Input).value = "shown on Monday"
        await pilot.press("enter")
        await until(pilot, lambda: read_note(app.session.table.run) == "shown on Monday")  # type: ignore[arg-type]


async def test_checkpoints_are_verified_byte_by_byte(app: Workbench) -> None:
    async with app.run_test(size=SIZE, notifications=True) as pilot:
        await ready(app, pilot)
        await pilot.press("v")
        await until(pilot, lambda: "noted: step 100: " in on_screen(app))  # made up, and found out


Snap = Callable[..., bool]


@pytest.mark.parametrize("theme", [theme.name for theme in THEMES])
def test_picture_of_an_overlay(snap_compare: Snap, app: Workbench, theme: str) -> None:
    async def mark(pilot: Pilot[Any]) -> None:
        pilot.app.theme = theme
        await ready(app, pilot)
        await pilot.press("home", "space", "space", "space")
        preview = app.screen.query_one("#preview")
        await until(pilot, lambda: "3 runs" in str(preview.border_title))
        app._news._waiting.clear()
        await pilot.pause()

    assert snap_compare(app, terminal_size=(140, 40) if "dark" in theme else (100, 30), run_before=mark)


def said(app: Workbench, words: str) -> bool:
    """Whether that is what the corner of the screen says."""
    return any(words in str(each.message) for each in app._notifications)


async def test_a_run_is_exported_to_where_nothing_is(app: Workbench, tmp_path: Path) -> None:
    async with app.run_test(size=SIZE) as pilot:
        await ready(app, pilot)
        await pilot.press("slash", *"soap-1", "enter", "w")
        await until(pilot, lambda: "transformers" in on_screen(app) and "LoRA" not in on_screen(app))
        await pilot.press(*"csv", "enter")
        await until(pilot, lambda: isinstance(app.screen, AskScreen))
        assert app.screen.query_one(Input).value == "soap-1.csv"
        await pilot.press("enter")
        await until(pilot, lambda: said(app, "soap-1.csv: 120 steps"))
        written = (tmp_path / "soap-1.csv").read_text()
        assert written.startswith("step,") and len(written.splitlines()) == 121
        await pilot.press("w")
        await until(pilot, lambda: isinstance(app.screen, ChooseScreen))
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(app.screen, AskScreen))
        await pilot.press("enter")
        await until(pilot, lambda: said(app, "soap-1.csv is there already"))
        assert (tmp_path / "soap-1.csv").read_text() == written


async def test_a_model_is_exported_of_the_weights_that_are_chosen(runs: Path, tmp_path: Path) -> None:
    run = keep(runs, "muon-bpe")
    another_checkpoint(run, 30, val_loss=0.5)
    another_checkpoint(run, 40, val_loss=9.25)
    app = Workbench(runs)
    async with app.run_test(size=SIZE) as pilot:
        await until(pilot, lambda: listed(app))
        await pilot.press("w")
        await until(pilot, lambda: "transformers" in on_screen(app))
        await pilot.press(*"model", "enter")
        await until(pilot, lambda: "of which weights?" in on_screen(app), 30)
        assert all(words in on_screen(app) for words in ("best: step 30", "last: step 40", "val 9.250", "step 20"))
        await pilot.press(*"last", "enter")
        await until(pilot, lambda: isinstance(app.screen, AskScreen))
        assert app.screen.query_one(Input).value == "muon-bpe-last-hf"
        await pilot.press("enter")
        await until(pilot, lambda: said(app, "at step 40;"), 30)
        assert (tmp_path / "muon-bpe-last-hf" / "model.safetensors").is_file()
