from __future__ import annotations

import pytest


@pytest.fixture(autouse=True)
def cache_of_its_own(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    """No test reads or fills the user's cache."""
    monkeypatch.setenv("TINYTUI_CACHE", str(tmp_path_factory.mktemp("cache")))
