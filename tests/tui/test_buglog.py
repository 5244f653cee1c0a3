"""A bug is one line on the screen and a traceback in a file that cannot grow for ever."""

from __future__ import annotations

from pathlib import Path

import pytest

from tui.state import buglog
from tui.state.buglog import told


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    return tmp_path / "tinytui" / "bugs.txt"


def bug(words: str) -> BaseException:
    try:
        raise ZeroDivisionError(words)
    except ZeroDivisionError as error:
        return error


def test_the_line_names_the_file_and_the_file_the_place(home: Path) -> None:
    said = told(bug("one\ntwo"))
    assert said == f"this is a bug: ZeroDivisionError: one two (all of it is in {home})"
    assert "in bug" in home.read_text() and "ZeroDivisionError: one\ntwo" in home.read_text()


def test_the_file_is_turned_over(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(buglog, "MOST", 2000)
    for number in range(30):
        told(bug(f"number {number} \udcff"))
    kept = [*home.parent.iterdir()]
    assert sorted(path.name for path in kept) == ["bugs.1.txt", "bugs.txt"]
    assert sum(path.stat().st_size for path in kept) < 8000 and "number 29" in home.read_text()


def test_where_nothing_can_be_written_the_line_is_said_all_the_same(home: Path) -> None:
    home.parent.write_text("in the way")
    assert told(bug("x")) == "this is a bug: ZeroDivisionError: x"
