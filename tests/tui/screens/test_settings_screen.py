"""The settings: made from the schema, in force at once, kept, and harmless when damaged."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pilot_for_tests import listed, on_screen, until
from runs_for_tests import write_run
from textual.pilot import Pilot

from tui.actions import ACTIONS
from tui.app import Workbench
from tui.screens.dialogs.choose import ChooseScreen
from tui.screens.dialogs.settings import SettingsScreen
from tui.state.runstable import SORTS
from tui.state.settings import load_settings, settings_path
from tui.state.settingschema import Settings, settings_of
from tui.theme import DARK, LIGHT, THEMES
from tui.widgets.form import SettingsForm

Snap = Callable[..., bool]


@pytest.fixture
def app(runs: Path) -> Workbench:
    write_run(runs)
    return Workbench(runs)


async def settings(pilot: Pilot[Any]) -> SettingsForm:
    app = pilot.app
    assert isinstance(app, Workbench)
    await until(pilot, lambda: listed(app))
    await pilot.press("comma")
    await until(pilot, lambda: isinstance(app.screen, SettingsScreen))
    form = app.screen.query_one(SettingsForm)
    await until(pilot, lambda: len(form.fields) == len(Settings.model_fields))
    return form


def test_the_schema_has_the_choices_there_are() -> None:
    fields = Settings.model_fields
    assert set(fields["theme"].annotation.__args__) == {theme.name for theme in THEMES}  # type: ignore[union-attr]
    assert set(fields["runs_sort"].annotation.__args__) == set(SORTS)  # type: ignore[union-attr]
    assert all(field.description for field in fields.values())


@pytest.mark.parametrize("name", list(Settings.model_fields))
@pytest.mark.parametrize("value", [None, 5, "bogus\x1b[31m", [], {"a": 1}, "x" * 10_000])
def test_a_damaged_setting_is_its_default_and_said_in_one_line(name: str, value: object) -> None:
    good = {"runs_sort": "val"} if name != "runs_sort" else {"theme": LIGHT}
    found, wrong = settings_of({**good, name: value, "prompts": ["kept"]})
    if name == "sampling_preset" and value == "bogus\x1b[31m":
        assert not wrong
        return
    assert getattr(found, name) == Settings.model_fields[name].default
    (line,) = wrong
    assert name in line and "\n" not in line and len(line) < 200 and line.isprintable()
    assert all(getattr(found, key) == kept for key, kept in good.items())


async def test_what_is_chosen_is_in_force_and_kept(app: Workbench) -> None:
    async with app.run_test(size=(100, 30)) as pilot:
        form = await settings(pilot)
        assert form.key == "theme" and form.typed() == {}
        await pilot.press("right")
        assert app.theme == LIGHT
        form.go_to("runs_sort")
        await pilot.press("right")
        assert app.session.table.sort == "name"
        await pilot.press("escape")
        form = await settings(pilot)
        assert form.typed() == {"theme": LIGHT, "runs_sort": "name"}
        await pilot.press("ctrl+r")
        assert app.theme == DARK
        await pilot.press("right")
    kept = load_settings()
    kept.pop("left_at", None)
    assert kept == {"theme": LIGHT, "runs_sort": "name"}, "kept also when one leaves at once"
    again = Workbench(app.session.runs_dir)
    assert again.theme == LIGHT and again.session.table.sort == "name"


async def test_damage_is_told_and_the_workbench_starts(runs: Path) -> None:
    settings_path().parent.mkdir(parents=True)
    settings_path().write_text(json.dumps({"theme": 5, "mouse": "perhaps", "runs_sort": "val"}))
    write_run(runs)
    app = Workbench(runs)
    said: list[str] = []
    app.notify = lambda text, **_: said.append(text)  # type: ignore[assignment,method-assign]
    async with app.run_test(size=(140, 40)) as pilot:
        await until(pilot, lambda: listed(app) and bool(said))
        assert app.theme == DARK and app.session.table.sort == "val"
    assert "theme" in said[0]
    settings_path().write_text("{half")
    app = Workbench(runs)
    app.notify = lambda text, **_: said.append(text)  # type: ignore[assignment,method-assign]
    async with app.run_test(size=(140, 40)) as pilot:
        await until(pilot, lambda: listed(app) and "cannot be read" in said[-1])


async def test_all_actions_are_listed_with_their_ids(app: Workbench) -> None:
    keymap = settings_path().with_name("keymap.toml")
    keymap.parent.mkdir(parents=True)
    keymap.write_text('"runs.verify" = "V"\n')
    app = Workbench(app.session.runs_dir)
    async with app.run_test(size=(140, 40)) as pilot:
        await settings(pilot)
        assert "1 of your own" in on_screen(app)
        await pilot.press("ctrl+k")
        assert isinstance(app.screen, ChooseScreen)
        assert len(app.screen._choices) == len(ACTIONS)
        await pilot.press(*"runs.verify")
        await until(pilot, lambda: "• V" in on_screen(app))
        await pilot.press("enter")
        assert isinstance(app.screen, SettingsScreen), "a list to read: choosing does nothing"


async def test_prompts_begin_with_the_preset_that_was_chosen(app: Workbench) -> None:
    settings_path().parent.mkdir(parents=True)
    settings_path().write_text(json.dumps({"sampling_preset": "greedy"}))
    app = Workbench(app.session.runs_dir)
    async with app.run_test(size=(100, 30)) as pilot:
        await until(pilot, lambda: listed(app))
        run = write_run(app.session.runs_dir, "other")
        talk = app.session.talks.of(run)
        await until(pilot, lambda: talk.sheet.value("temperature") == 0.0)
        assert talk.sheet.value("top_k") == 0


@pytest.mark.parametrize("size", [(100, 30), (80, 24)], ids=["100x30", "80x24"])
def test_picture(snap_compare: Snap, runs: Path, size: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    shown = Path("/config/tinytui/settings.json")  # a path of one length; they are kept elsewhere
    monkeypatch.setattr("tui.screens.dialogs.settings.settings_path", lambda: shown)

    async def show(pilot: Pilot[Any]) -> None:
        await until(pilot, lambda: len(pilot.app.screen_stack) > 1)
        await pilot.pause()
        await pilot.press("comma")
        await until(pilot, lambda: "kept in" in on_screen(pilot.app))
        await until(pilot, lambda: not pilot.app.session.reads.asked("sampling presets"))
        await pilot.press("right", "down")

    assert snap_compare(Workbench(runs), terminal_size=size, run_before=show)
