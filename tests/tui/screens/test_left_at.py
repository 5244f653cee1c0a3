"""The workbench begins where it was left, and a run that is named where that run was."""

from __future__ import annotations

import json
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from pilot_for_tests import until
from runs_for_tests import write_run
from textual.pilot import Pilot

from engine.runs.layout import RunDir
from tui.app import NAMES, Workbench
from tui.state import leftat
from tui.state.leftat import Left, leaving, left_at
from tui.state.settings import load_settings, save_setting
from tui.state.training import Resume


@asynccontextmanager
async def begun(app: Workbench, at: str, run: RunDir | None) -> AsyncIterator[Pilot[Any]]:
    async with app.run_test(size=(140, 40)) as pilot:
        await until(pilot, lambda: app.current_mode in NAMES and app.screen.is_mounted)
        assert app.current_mode == at
        if run is not None:
            await until(pilot, lambda: app.session.run is not None)
            assert app.session.run is not None and app.session.run.path == run.path
        yield pilot


async def go(pilot: Pilot[Any], app: Workbench, name: str) -> None:
    app.action_go(name)
    await until(pilot, lambda: app.current_mode == name)
    await until(pilot, lambda: str(load_settings().get("left_at", {}).get("", "")).startswith(name))


async def test_a_start_goes_where_the_last_one_ended(runs: Path) -> None:
    a, b = write_run(runs, "a-1"), write_run(runs, "b-1")
    async with begun(app := Workbench(runs), "runs", None):
        assert app.session.run is None
    async with begun(app := Workbench(runs, run=a), "train", a) as pilot:
        app.show_train("samples")
        await until(pilot, lambda: load_settings().get("left_at", {}).get(str(a.path)) == "train samples")
    async with begun(app := Workbench(runs), "train", a) as pilot:
        train = app.train_screen()
        assert train is not None
        await until(
            pilot,
            lambda: train.alone == "samples" and (pane := train.focused_pane()) is not None and pane.id == "samples",
        )
        app.open_run(b)
        await until(pilot, lambda: app.session.run is not None and app.session.run.path == b.path)
        await go(pilot, app, "samples")
    async with begun(app := Workbench(runs), "samples", b) as pilot:
        await go(pilot, app, "corpora")
    assert left_at(load_settings(), None) == Left("corpora")
    async with begun(app := Workbench(runs, run=a), "train", a) as pilot:
        await until(pilot, lambda: app.session.kept["left_at"][""] == "train samples")
    async with begun(Workbench(Path("elsewhere"), run=b), "samples", b):
        pass
    write_run(Path("elsewhere"), "c-1")
    async with begun(Workbench(Path("elsewhere")), "runs", None):  # the last run is none of these
        pass
    shutil.rmtree(b.path)
    save_setting("left_at", {"": "inspect"})
    async with begun(Workbench(runs), "runs", None):
        pass


async def test_a_training_begins_at_its_screen(runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = write_run(runs, "a-1")
    save_setting("left_at", {"": "inspect", str(run.path): "inspect"})
    monkeypatch.setattr("tui.state.session.Session.train", lambda self, job: None)
    async with begun(Workbench(runs, start=Resume(run)), "train", None):
        pass


@pytest.mark.parametrize("kept", [{}, {"left_at": 5}, {"left_at": {"": None, "/x": ["train"]}}, {"left_at": {"/x": 5}}])
def test_what_is_no_place_is_none(kept: dict[str, Any]) -> None:
    assert left_at(kept, None) is None and left_at(kept, Path("/x")) is None
    assert leaving(kept, Path("/x"), Left("train")) == {"": "train", "/x": "train"}


@pytest.mark.parametrize("said", ["nowhere", "train nowhere"])
async def test_a_place_that_is_none_costs_nothing(runs: Path, said: str) -> None:
    run = write_run(runs, "a-1")
    save_setting("left_at", {str(run.path): said})
    async with begun(Workbench(runs, run=run), "train", run):
        pass


def test_as_many_as_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leftat, "MOST", 3)
    kept: dict[str, Any] = {}
    for name in "abcda":
        kept = {"left_at": leaving(kept, Path(f"/{name}"), Left("samples")) or kept["left_at"]}
    assert list(kept["left_at"]) == ["/d", "", "/a"]
    assert leaving(kept, Path("/a"), Left("samples")) is None
    json.dumps(kept)
