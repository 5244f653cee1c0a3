"""Workbenches on made-up runs: nothing of the user's is read or written, and every picture is the same every time."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from runs_for_tests import write_run

from tui.app import Workbench


@pytest.fixture(autouse=True)
def own_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("TINYTUI_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("TINYTUI_CORPORA", str(tmp_path / "corpora"))
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.chdir(tmp_path)
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
