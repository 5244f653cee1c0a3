"""What is imported before a screen can be drawn: found in the sources, so that nothing need be started."""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path

import pytest

import tui
from tui.places import PLACES

ROOT = Path(tui.__file__).parent.parent


def _file(module: str) -> Path | None:
    path = ROOT / Path(*module.split("."))
    return next((each for each in (path.with_suffix(".py"), path / "__init__.py") if each.is_file()), None)


@cache
def _imports(module: str) -> set[str]:
    """Modules that are imported when this one is."""
    path, found = _file(module), set[str]()
    assert path is not None, module
    waiting = list(ast.parse(path.read_text()).body)
    for node in waiting:
        if isinstance(node, ast.Import):
            found.update(each.name for each in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.update((node.module, *(f"{node.module}.{each.name}" for each in node.names)))
        elif isinstance(node, ast.Try) or (isinstance(node, ast.If) and ast.unparse(node.test) != "TYPE_CHECKING"):
            waiting.extend(node.body)
    return found


def needed(module: str) -> set[str]:
    """All modules that are imported with this one."""
    known, waiting = set[str](), [module]
    while waiting:
        one = waiting.pop()
        if one in known:
            continue
        known.add(one)
        if one.partition(".")[0] in ("tui", "engine") and _file(one) is not None:
            waiting += _imports(one)
    return known


@pytest.mark.parametrize("module", ["tui.app", *(place.module for place in PLACES)])
def test_no_screen_needs_what_is_heavy_before_it_is_drawn(module: str) -> None:
    assert needed(module) & {"torch", "transformers", "tokenizers", "safetensors"} == set()
    assert "engine.config" not in needed(module), "the settings with all their checks are for a run to be begun"
