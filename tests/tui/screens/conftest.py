"""Workbenches on made-up runs: nothing of the user's is read or written, and every picture is the same every time."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from pilot_for_tests import still
from runs_for_tests import write_run
from textual.pilot import Pilot

import tui.app
from tui.app import Workbench


@pytest.fixture(autouse=True)
def own_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("TINYTUI_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("TINYTUI_CORPORA", str(tmp_path / "corpora"))
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(tui.app, "COVERED", 0.0)  # no picture hangs on how long ago the one before was
    random.seed(7)


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    """An empty folder for runs, by a short relative path."""
    return Path("runs")


@pytest.fixture
def bench(runs: Path) -> Callable[..., Workbench]:
    """`bench(state="running", step=340)`: a workbench on one made-up run."""

    def make(theme: str | None = None, **run: Any) -> Workbench:
        return Workbench(runs, run=write_run(runs, **run), theme=theme)

    return make


@pytest.fixture
def snap_compare(snap_compare: Callable[..., bool]) -> Callable[..., bool]:
    """The plugin's, with the picture taken when nothing is under way any more."""

    def compare(
        app: Workbench,
        *,
        terminal_size: tuple[int, int] = (80, 24),
        run_before: Callable[[Pilot[Any]], Awaitable[object]],
    ) -> bool:
        async def first(pilot: Pilot[Any]) -> None:
            await run_before(pilot)
            await still(pilot)

        return snap_compare(app, terminal_size=terminal_size, run_before=first)

    return compare
