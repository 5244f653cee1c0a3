from __future__ import annotations

from pathlib import Path

import pytest

from engine.config import load_preset
from engine.runs import lock
from engine.runs.layout import RunDir, create_run


@pytest.fixture
def run(tmp_path: Path) -> RunDir:
    """A run that was made and never trained, in a runs folder of its own."""
    return create_run(tmp_path / "runs", "soap-1", load_preset("nano"), corpus={"name": "soap", "sha256": "0"})


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A lock that is taken is refused at once."""
    monkeypatch.setattr(lock, "PATIENCE", 0.02)
