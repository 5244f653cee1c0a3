from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from engine.preset_files import load_preset
from engine.runs import lock
from engine.runs.layout import RunDir, create_run


@pytest.fixture
def make_run(tmp_path: Path) -> Callable[..., RunDir]:
    """Makes runs by name, never trained, in a runs folder of their own."""

    def make(name: str, **facts: Any) -> RunDir:
        return create_run(tmp_path / "runs", name, load_preset("nano"), corpus={"name": "soap", "sha256": "0"}, **facts)

    return make


@pytest.fixture
def run(make_run: Callable[..., RunDir]) -> RunDir:
    return make_run("soap-1")


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A lock that is taken is refused at once."""
    monkeypatch.setattr(lock, "PATIENCE", 0.02)
