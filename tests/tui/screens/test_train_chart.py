"""The chart of the training screen: what is drawn, how it is looked at, and that it stays as it was left."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from pilot_for_tests import on_screen, until
from runs_for_tests import write_run
from textual.pilot import Pilot

from engine.runs.layout import RunDir
from tui.app import Workbench
from tui.screens.train.loss import LossPane
from tui.screens.train.samples import SamplesPane
from tui.state.chart import marks_of
from tui.theme import ANSI, DARK
from tui.widgets.plot import LossPlot

Snap = Callable[..., bool]
EVENTS = (
    {"kind": "paused", "step": 220, "time": 1.0},
    {"kind": "learning_rate", "step": 260, "value": 4e-3, "before": 8e-3, "scale": 0.5, "time": 1.0},
    {"kind": "alarm", "step": 410, "alarm": "overfitting", "best_val_loss": 1.1, "best_step": 400, "time": 1.0},
)


def eventful(runs: Path) -> RunDir:
    """A made-up run with a spike at step 300 and things that happened."""
    run = write_run(runs, state="running", step=500)
    lines = [json.loads(line) for line in run.metrics.read_text().splitlines()]
    for line in lines:
        if line["step"] == 300 and "loss" in line:
            line["loss"] = 6.5
    run.metrics.write_text("".join(json.dumps(line, separators=(",", ":")) + "\n" for line in lines))
    with run.events.open("a") as file:
        file.writelines(json.dumps(event) + "\n" for event in EVENTS)
    return run


async def shown(pilot: Pilot[None]) -> LossPlot:
    app = pilot.app
    assert isinstance(app, Workbench)
    await until(pilot, lambda: app.session.view is not None)
    plot = app.screen.query_one(LossPlot)
    await until(pilot, lambda: plot.data.last_step == 500 and plot._area is not None)
    return plot


def top(app: Workbench) -> str:
    return app.screen.query_one(LossPane)._said_title.plain


@pytest.mark.parametrize("theme", [DARK, ANSI])
def test_the_chart_alone(snap_compare: Snap, runs: Path, theme: str) -> None:
    async def point(pilot: Pilot[None]) -> None:
        await shown(pilot)
        await pilot.press("z", "left_square_bracket", "left_curly_bracket", "left_curly_bracket")
        await pilot.pause()

    assert snap_compare(Workbench(runs, run=eventful(runs), theme=theme), terminal_size=(100, 30), run_before=point)


async def test_scales_axes_smoothing_and_metrics_are_said_and_kept(runs: Path) -> None:
    app = Workbench(runs, run=eventful(runs))
    async with app.run_test(size=(140, 40)) as pilot:
        plot = await shown(pilot)
        assert "▲ 6.5" in on_screen(app) and top(app) == "loss"
        await pilot.press("y")
        await until(pilot, lambda: top(app) == "loss  y whole" and "▲ 6.5" not in on_screen(app))
        await pilot.press("y", "X", "X", "e", "e")
        await until(pilot, lambda: top(app) == "loss  y log  x time  not smoothed")
        await until(pilot, lambda: re.search(r" 0 +[\d.]+s +[\d.]+s", on_screen(app)) is not None)
        await pilot.press("m")
        await until(pilot, lambda: plot.data.label == "lr" and top(app).startswith("lr  y log"))
        await pilot.press("4", "1")
        await until(pilot, lambda: app.screen.query_one(LossPane).is_on_screen)
        assert plot.data.label == "lr" and plot.view.axis == "time"
        names = [plot.data.label]
        for _ in range(5):
            await pilot.press("m")
            await pilot.pause()
            names.append(plot.data.label)
        assert names == ["lr", "|g|", "tok/s", "memory, MiB", "bits per byte", "train"]


async def test_another_run_does_not_change_how_this_one_is_looked_at(runs: Path) -> None:
    run, other = eventful(runs), write_run(runs, "other", step=40)
    app = Workbench(runs, run=run)
    async with app.run_test(size=(140, 40)) as pilot:
        plot = await shown(pilot)
        await pilot.press("y", "+", "m")
        window = plot.view.window
        assert window is not None
        app.open_run(other)
        await until(pilot, lambda: plot.data.last_step == 40)
        assert plot.view.window is None and plot.data.label == "train" and top(app) == "loss"
        app.open_run(run)
        await until(pilot, lambda: plot.data.last_step == 500)
        assert plot.view.window == window and plot.view.scale == "whole" and plot.data.label == "lr"


async def test_the_crosshair_says_what_is_there_and_what_happened(runs: Path) -> None:
    app = Workbench(runs, run=eventful(runs))
    async with app.run_test(size=(140, 40)) as pilot:
        plot = await shown(pilot)
        samples = app.screen.query_one(SamplesPane)
        await pilot.press("left_square_bracket")
        await until(pilot, lambda: plot.data.cursor is not None)
        found: set[str] = set()
        while (plot.data.cursor or 0) > 200:
            before = plot.data.cursor
            await pilot.press("left_square_bracket")
            await until(pilot, lambda before=before: plot.data.cursor != before)
            found.add(app.screen.query_one(LossPane)._said_below.plain)
        said = "\n".join(found)
        assert "overfitting: val rises" in said and "learning rate set from 8.0e-3 to 4.0e-3" in said
        assert "paused" in said and "checkpoint" in said
        assert samples.step == 200
        line = on_screen(app).splitlines()[2]
        assert all(word in line for word in ("step ", "train ", "val ", "lr ")), line
        await pilot.press("escape")
        await until(pilot, lambda: plot.data.cursor is None and samples.following)
        await pilot.press("comma")
        await until(pilot, lambda: plot.data.cursor == 500)


def test_a_fork_is_marked_where_it_began() -> None:
    marks = marks_of([{"kind": "checkpoint", "step": 5}], {"parent": {"run": "a\x1b[31m", "step": 3}})
    assert [(mark.step, mark.words) for mark in marks] == [(3, "forked from a␛[31m"), (5, "checkpoint")]
    assert marks_of([{"kind": "checkpoint"}, {"kind": "unheard of", "step": 1}], {"parent": {"step": "x"}}) == ()
