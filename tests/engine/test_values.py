"""What is true of all values of the engine, looked up in its modules."""

from __future__ import annotations

import ast
import dataclasses
from collections.abc import Iterator
from importlib import import_module
from inspect import getmembers, isclass
from pathlib import Path

import pytest

ENGINE = Path(__file__).parents[2] / "engine"
CHANGING = {"Portion", "Watch", "_Share", "_Waiter"}
"""Dataclasses that are filled in bit by bit, by one owner."""


def values() -> Iterator[type]:
    for path in sorted(ENGINE.rglob("*.py")):
        if (
            "@dataclass" in path.read_text(encoding="utf-8") and path.parent.name != "interop"
        ):  # that is transformers' own
            module = import_module(".".join(path.relative_to(ENGINE.parent).with_suffix("").parts))
            for _, found in getmembers(module, isclass):
                if found.__module__ == module.__name__ and dataclasses.is_dataclass(found):
                    yield found


def test_what_is_handed_about_does_not_change() -> None:
    """Between threads, screens and caches, values go as they are: no holder can change them under another."""
    found = list(values())
    assert len(found) > 30
    for kind in found:
        value: object = object.__new__(kind)
        for field in dataclasses.fields(kind):
            if kind.__name__ in CHANGING:
                setattr(value, field.name, None)
            else:
                with pytest.raises(dataclasses.FrozenInstanceError):
                    setattr(value, field.name, None)


def test_what_has_no_body_must_be_given_one() -> None:
    """A method of an abstract class that only says what it is to do is abstract: no class without it can be made."""
    found = 0
    for path in sorted(ENGINE.rglob("*.py")):
        for kind in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(kind, ast.ClassDef) and "ABC" in map(ast.unparse, kind.bases):
                for method in (each for each in kind.body if isinstance(each, ast.FunctionDef)):
                    empty = all(
                        isinstance(line, ast.Expr) and isinstance(line.value, ast.Constant) for line in method.body
                    )
                    assert empty == ("abstractmethod" in map(ast.unparse, method.decorator_list)), (path, method.name)
                    found += empty
    assert found > 3
