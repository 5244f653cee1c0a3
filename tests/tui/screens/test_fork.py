"""`b` forks from the checkpoint at the crosshair; `l` draws what would become of the learning rates."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from pilot_for_tests import live_run, on_screen, until
from runs_for_tests import write_run

from engine.preset_files import load_preset
from engine.runs.layout import RunDir
from engine.runs.status import read_info
from engine.training.schedule import lr_multiplier
from tui.app import Workbench
from tui.screens.dialogs.rate import RateScreen
from tui.screens.newrun.screen import NewRunScreen
from tui.state.schedule import planned
from tui.state.training import Resume, Start, _forked
from tui.widgets.form import SettingsForm
from tui.widgets.plot import LossPlot

KEPT = Path(__file__).parents[2] / "kept/format-1/runs/adamw-average"


async def test_the_form_of_a_fork_is_filled_in_and_makes_one(runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(KEPT, runs / "kept")
    begun: list[Start | Resume] = []
    app = Workbench(runs, run=RunDir(runs / "kept"))
    async with app.run_test(size=(120, 36)) as pilot:
        await until(pilot, lambda: app.session.view is not None)
        monkeypatch.setattr(app.session, "train", begun.append)
        app.session.chart.cursor = 15
        await pilot.press("b")
        await until(pilot, lambda: isinstance(app.screen, NewRunScreen))
        form = app.screen.query_one(SettingsForm)
        await until(pilot, lambda: bool(form.keys))
        assert "fork of kept at step 20" in on_screen(app)
        assert {"train.learning_rate", "train.max_steps", "corpus"} <= set(form.keys)
        assert not [key for key in form.keys if key.startswith(("model.", "data.")) or key == "train.optimizer"]
        await pilot.press("s", "i", "d", "e")
        form.go_to("train.learning_rate")
        await pilot.press("2", "e", "-", "4", "ctrl+s")
        await until(pilot, lambda: bool(begun))
    job = begun[0]
    assert isinstance(job, Start) and job.fork is not None and job.name == "side"
    assert (job.fork.run.name, job.fork.step, job.config.train.learning_rate) == ("kept", 20, 2e-4)
    assert app.session.draft is None
    fork = _forked(job, job.fork, runs)
    info = read_info(fork)
    assert info["parent"]["run"] == "kept" and info["parent"]["changes"] == {"train.learning_rate": 2e-4}
    assert fork.name == "side" and fork.checkpoint_steps() == [20]


async def test_without_a_checkpoint_there_is_nothing_to_fork(runs: Path) -> None:
    app = Workbench(runs, run=write_run(runs, step=50))
    async with app.run_test(size=(120, 36)) as pilot:
        await until(pilot, lambda: app.session.view is not None)
        await pilot.press("b")
        await pilot.pause()
        assert not isinstance(app.screen, NewRunScreen)


async def test_the_rest_of_the_schedule_is_drawn_as_it_would_become(runs: Path) -> None:
    run = write_run(runs, state="running", step=340)
    app = Workbench(runs, run=run)
    with live_run(run, learning_rate=0.008):
        async with app.run_test(size=(120, 36)) as pilot:
            await until(pilot, lambda: app.session.live)
            await pilot.press("l")
            await until(pilot, lambda: isinstance(app.screen, RateScreen) and bool(app.screen.query(LossPlot)))
            plot = app.screen.query_one(LossPlot)
            await until(pilot, lambda: [one.name for one in plot.data.series] == ["until now", "as planned"])
            await pilot.press(*["backspace"] * 10, *"0.001")
            await until(pilot, lambda: plot.data.series[-1].name == "with 1.0e-3")
            assert "with 1.0e-3" in on_screen(app)
            await pilot.press("escape")


def test_the_plan_is_what_the_trainer_will_do() -> None:
    config = load_preset("nano").replace({"train.max_steps": 500, "train.schedule": "cosine", "train.warmup_steps": 20})
    info = {"config": config.model_dump(mode="json")}
    steps, rates = planned(info, 100, 5e-4)
    assert steps[0] == 100 and steps[-1] == 500 and len(steps) <= 202
    assert rates[0] == pytest.approx(5e-4)
    scale = 5e-4 / lr_multiplier(100, config.train)
    assert rates == pytest.approx([scale * lr_multiplier(step, config.train) for step in steps])
    for unknown in ({}, {"config": 3}, {"config": {"train": {"max_steps": "x"}}}):
        assert planned(unknown, 1, 1e-3) == ([], [])
    assert planned(info, 500, 1e-3) == planned(info, 100, None) == ([], [])
