"""A line being edited: every way to the same text is the same, and whatever was done can be undone."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tui.widgets.lineedit import LineEdit

KEYS: dict[str, Callable[[LineEdit], object]] = {
    "a": lambda line: line.insert("a"),
    " ": lambda line: line.insert(" "),
    "paste": lambda line: line.insert("two words"),
    "left": lambda line: line.move(-1),
    "right": lambda line: line.move(1),
    "word left": lambda line: line.move(-1, word=True),
    "word right": lambda line: line.move(1, word=True),
    "select left": lambda line: line.move(-1, select=True),
    "select word right": lambda line: line.move(1, word=True, select=True),
    "home": lambda line: line.go(0),
    "select end": lambda line: line.go(len(line.text), select=True),
    "all": lambda line: line.select_all(),
    "erase": lambda line: line.erase(-1),
    "erase after": lambda line: line.erase(1),
    "erase word": lambda line: line.erase(-1, word=True),
    "clear": lambda line: line.clear(),
}


@given(st.lists(st.sampled_from(sorted(KEYS))))
def test_all_that_is_done_can_be_undone_and_done_again(keys: list[str]) -> None:
    line = LineEdit("one two")
    for key in keys:
        KEYS[key](line)
        start, end = line.selection
        assert 0 <= start <= end <= len(line.text) and line.caret in (start, end)
    after = line.text
    while line.undo():
        pass
    assert line.text == "one two"
    while line.redo():
        pass
    assert line.text == after


@pytest.mark.parametrize(
    ("keys", "text", "caret"),
    [
        (["word left"], "one two", 4),
        (["word left", "word left", "word left"], "one two", 0),
        (["home", "word right"], "one two", 3),
        (["erase word"], "one ", 4),
        (["home", "word right", "erase word"], " two", 0),
        (["home", "select word right", "a"], "a two", 1),
        (["select left", "erase"], "one tw", 6),
        (["select left", "left"], "one two", 6),  # out of a selection, to its edge
        (["all", "right"], "one two", 7),
        (["all", "left"], "one two", 0),
        (["all", "paste"], "two words", 9),
        (["home", "erase after"], "ne two", 0),
        (["home", "erase"], "one two", 0),
    ],
)
def test_a_key_does_what_it_does_in_other_editors(keys: list[str], text: str, caret: int) -> None:
    line = LineEdit("one two")
    for key in keys:
        KEYS[key](line)
    assert (line.text, line.caret) == (text, caret)


def test_what_is_typed_at_once_is_undone_at_once() -> None:
    line = LineEdit("2000")
    line.select_all()
    for character in "35":
        line.insert(character)
    assert line.text == "35" and line.undo()
    assert (line.text, line.selected) == ("2000", "2000"), "and selected as it was"
    line.insert("1")
    line.move(-1)
    line.insert("9")
    assert line.text == "91" and line.undo() and line.text == "1", "moving ends what belongs together"
    assert line.redo() and line.text == "91" and not line.redo()
