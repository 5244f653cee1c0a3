"""A module that is loaded when a test first asks it for something: to collect all tests is not to pay for a few."""

from __future__ import annotations

from typing import Any

import pytest


class Later:
    """`transformers = Later("transformers")`; a test that uses it is skipped where the module is not installed."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):  # pytest asks everything in a test's file whether it is a test
            raise AttributeError(name)
        return getattr(pytest.importorskip(self._name), name)
