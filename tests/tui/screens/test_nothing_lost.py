"""1 → 2 → 4 → 1, another size and theme, and a start anew lose nothing of what a person had on the screens."""

from __future__ import annotations

from pathlib import Path

from pilot_for_tests import until
from runs_for_tests import write_run

from tui.app import Workbench
from tui.screens.prompt.screen import PromptScreen
from tui.screens.runs.screen import RunsScreen
from tui.screens.train.promptinput import PromptInput
from tui.screens.train.screen import TrainScreen
from tui.theme import LIGHT
from tui.widgets.plot import LossPlot
from tui.widgets.slider import Slider


async def test_leaving_a_screen_and_the_program_loses_nothing(runs: Path) -> None:
    run = write_run(runs, "a-1", step=300)
    write_run(runs, "b-1", step=100)
    app = Workbench(runs, run=run)
    async with app.run_test(size=(140, 40)) as pilot:
        await until(pilot, lambda: app.session.view is not None)
        await pilot.press("plus", "plus", "p", *"a draft")
        zoomed = app.screen.query_one(LossPlot).view.window
        assert zoomed is not None
        await pilot.press("escape", "2")
        await until(pilot, lambda: isinstance(app.screen, PromptScreen))
        talk = app.session.talks.of(run, app.session.view.info.get("created"))  # type: ignore[union-attr]
        await until(pilot, lambda: talk.sheet.prompt == "a draft")
        slider = app.screen.query_one("#temperature", Slider)
        slider.focus()
        await pilot.press("right")
        warmer = slider.value
        assert warmer != 0.8
        app.action_go("runs")  # on a slider a digit is a value
        await until(pilot, lambda: isinstance(app.screen, RunsScreen) and len(app.session.table.lines) == 2)
        await pilot.press("home", "space")
        await pilot.resize_terminal(80, 24)
        app.theme = LIGHT
        await pilot.press("1")
        await until(pilot, lambda: isinstance(app.screen, TrainScreen))
        await pilot.resize_terminal(140, 40)
        await pilot.pause()
        assert app.screen.query_one("#ask", PromptInput).text == "a draft"
        assert app.screen.query_one(LossPlot).view.window == zoomed
        assert len(app.session.table.marked) == 1
        await pilot.press("2")
        await until(pilot, lambda: isinstance(app.screen, PromptScreen))
        assert app.screen.query_one("#temperature", Slider).value == warmer
        await until(pilot, lambda: (run.path / "draft.json").exists())
    again = Workbench(runs, run=run)
    async with again.run_test(size=(140, 40)) as pilot:
        await until(pilot, lambda: isinstance(again.screen, PromptScreen) and again.session.view is not None)
        await until(pilot, lambda: again.screen.query_one("#temperature", Slider).value == warmer)
        again.action_go("train")
        await until(pilot, lambda: isinstance(again.screen, TrainScreen) and bool(again.screen.query("#ask")))
        await until(pilot, lambda: again.screen.query_one("#ask", PromptInput).text == "a draft")
        again.action_go("runs")
        await until(pilot, lambda: isinstance(again.screen, RunsScreen))
    third = Workbench(runs)
    async with third.run_test(size=(140, 40)) as pilot:
        await until(pilot, lambda: len(third.session.table.lines) == 2)
        assert third.session.table.cursor == str(run.path), "the run that was shown last"
