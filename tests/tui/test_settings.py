"""What is remembered between two starts never keeps a start from happening."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tui.state.settings import MAX_PROMPTS, keep_prompt, load_settings, own_prompts, save_setting, settings_path


@pytest.fixture(autouse=True)
def own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    settings_path().parent.mkdir()


def test_settings_come_back() -> None:
    save_setting("theme", "x")
    save_setting("other", [1])
    assert load_settings() == {"theme": "x", "other": [1]}
    assert [path.name for path in settings_path().parent.iterdir()] == ["settings.json"]


@pytest.mark.parametrize("content", ["", "{", "[]", "5", "null", "[" * 100_000, " " * (1 << 21), "\xff"])
def test_a_damaged_file_counts_as_none(content: str) -> None:
    settings_path().write_text(content, encoding="latin-1")
    assert load_settings() == {} and own_prompts() == []
    save_setting("theme", "x")
    assert load_settings() == {"theme": "x"}


@pytest.mark.parametrize("kind", ["fifo", "folder", "device"])
def test_what_is_no_file_is_not_waited_for(kind: str) -> None:
    path = settings_path()
    if kind == "fifo":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    else:
        path.symlink_to("/dev/zero")
    assert load_settings() == {}


def test_a_link_stays_one_and_what_is_no_file_stays_what_it_is(tmp_path: Path) -> None:
    path, real = settings_path(), tmp_path / "dotfiles.json"
    path.symlink_to(real)
    save_setting("theme", "x")
    assert path.is_symlink() and real.is_file() and load_settings() == {"theme": "x"}
    path.unlink()
    os.mkfifo(path)
    save_setting("theme", "y")
    assert path.is_fifo()


@pytest.mark.parametrize("value", ["5", "{}", "null", "[1, null, [2]]"])
def test_prompts_that_are_none_are_no_prompts(value: str) -> None:
    settings_path().write_text(f'{{"prompts": {value}}}')
    assert own_prompts() == []
    keep_prompt("mine")
    assert own_prompts() == ["mine"]


def test_ones_own_prompts_are_bounded_and_each_is_there_once() -> None:
    for number in range(MAX_PROMPTS + 5):
        keep_prompt(f"{number}")
    keep_prompt("50")
    assert len(own_prompts()) == MAX_PROMPTS and own_prompts()[0] == "50" and own_prompts().count("50") == 1


def test_a_home_that_cannot_be_written_to_is_no_error(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "file" / "x"))
    save_setting("theme", "x")
    assert load_settings() == {}
