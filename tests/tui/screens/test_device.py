"""The device pane alone shows the whole machine."""

from __future__ import annotations

from pathlib import Path

import pytest
from pilot_for_tests import on_screen, until
from runs_for_tests import write_run

from tui.app import Workbench
from tui.state import machine


@pytest.mark.parametrize("size", [(140, 40), (80, 24)], ids=["140x40", "80x24"])
async def test_zoomed_it_shows_the_whole_machine(
    runs: Path, monkeypatch: pytest.MonkeyPatch, size: tuple[int, int]
) -> None:
    monkeypatch.setattr(machine, "EVERY", 0.02)
    app = Workbench(runs, run=write_run(runs))
    async with app.run_test(size=size) as pilot:
        await until(pilot, lambda: app.session.view is not None)
        screen = app.train_screen()
        assert screen is not None
        screen.show_pane("device", alone=False)
        await pilot.pause()
        assert "this machine" not in on_screen(app)
        await pilot.press("z")
        await until(pilot, lambda: "this machine" in on_screen(app) and " left" in on_screen(app))
        assert "train" in on_screen(app) and "core" in on_screen(app)
        seen = screen._seen
        await until(pilot, lambda: screen._seen is not seen)
        await pilot.press("z")
        await until(pilot, lambda: "this machine" not in on_screen(app))
