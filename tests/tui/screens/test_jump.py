"""`f`: a letter at each pane in sight."""

from __future__ import annotations

from pathlib import Path

from pilot_for_tests import on_screen, until
from runs_for_tests import write_run

from tui.app import Workbench
from tui.screens.dialogs.jump import JumpScreen, letters
from tui.screens.train.screen import TrainScreen


async def test_a_letter_goes_to_its_pane_and_any_other_key_stays(runs: Path) -> None:
    app = Workbench(runs, run=write_run(runs))
    async with app.run_test(size=(140, 40)) as pilot:
        await until(pilot, lambda: app.session.view is not None)
        screen = app.train_screen()
        assert isinstance(screen, TrainScreen)
        await pilot.press("f")
        await until(pilot, lambda: isinstance(app.screen, JumpScreen) and "[d]" in on_screen(app))
        shown = on_screen(app).splitlines()
        assert shown[1][1:4] == "[l]" and "[s]" in shown[20] and "page 5 of 5" in on_screen(app)
        await pilot.press("s")
        await until(pilot, lambda: app.screen is screen)
        assert (pane := screen.focused_pane()) is not None and pane.id == "samples"
        await pilot.press("f", "z")
        await until(pilot, lambda: app.screen is screen)
        assert screen.focused_pane() is pane
        await pilot.press("f", "escape")
        await until(pilot, lambda: app.screen is screen)


async def test_where_only_one_pane_is_in_sight_there_is_nowhere_to_go(runs: Path) -> None:
    app = Workbench(runs, run=write_run(runs))
    async with app.run_test(size=(80, 24)) as pilot:
        await until(pilot, lambda: app.session.view is not None and app.train_screen() is not None)
        await pilot.press("f")
        await pilot.pause()
        assert isinstance(app.screen, TrainScreen)


def test_letters_are_those_of_the_title_where_they_are_free() -> None:
    assert letters(["loss", "device", "samples", "prompt"]) == ["l", "d", "s", "p"]
    assert letters(["A", "A", "aa", "■"]) == ["a", "b", "c", "d"]
    assert len(letters(["x"] * 40)) == 26
