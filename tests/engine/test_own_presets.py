"""Presets of the person's own: what is kept comes back, and what is damaged is named without hiding the others."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from engine.errors import ConfigError
from engine.preset_files import load_preset, own_folder, preset_about, preset_names, save_preset, shipped_names


@pytest.fixture(autouse=True)
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))


@pytest.mark.parametrize("name", shipped_names())
def test_every_preset_comes_back_as_it_was_kept(name: str) -> None:
    config = load_preset(name).replace(
        {"train.learning_rate": 0.0370001, "train.weight_decay": 1e-7, "model.n_kv_head": None}
    )
    path = save_preset("mine", config, "a line\nabout it")
    assert path == own_folder() / "mine.toml"
    assert load_preset("mine") == config and preset_about("mine") == "a line\nabout it"
    assert preset_names() == [*preset_names()[:-1], "mine"] and preset_names()[0] == "nano"


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60, deadline=None)
@given(
    st.text(st.characters(exclude_categories=["Cs"])),
    st.lists(st.text(st.characters(exclude_categories=["Cs"])), max_size=3),
)
def test_any_text_comes_back(prompt: str, prompts: list[str]) -> None:
    values = {"sample_prompt": prompt, "sample_prompts": tuple(prompts) or None}
    nano = load_preset("nano")
    config = nano.model_copy(update={"train": nano.train.model_copy(update=values)})
    save_preset("mine", config)
    assert load_preset("mine") == config


@pytest.mark.parametrize("name", ["nano", "", "../x", "a/b", ".hidden", "x" * 65, "a b"])
def test_a_name_that_cannot_be_one_is_refused(name: str) -> None:
    with pytest.raises(ConfigError):
        save_preset(name, load_preset("nano"))
    assert not own_folder().exists()


@pytest.mark.parametrize("content", ["[", "[model]\nn_layer = -1\n", "[model]\nnone = 1\n", "model = 3\n", "\udcff"])
def test_one_that_is_damaged_is_named_and_hides_no_other(content: str) -> None:
    save_preset("good", load_preset("nano"))
    (own_folder() / "bad.toml").write_text(content, errors="surrogateescape")
    assert {"good", "bad"} <= set(preset_names())
    with pytest.raises(ConfigError, match="bad") as refused:
        load_preset("bad")
    assert "\n" not in str(refused.value)
    assert load_preset("good") == load_preset("nano")


def test_what_could_not_be_read_again_is_not_kept() -> None:
    long = load_preset("nano").replace({"train.sample_prompts": ["x" * 90_000] * 3})
    with pytest.raises(ConfigError, match="prompt"):
        save_preset("mine", long)
    assert "mine" not in preset_names()


def test_what_is_no_file_is_not_waited_for() -> None:
    own_folder().mkdir(parents=True)
    os.mkfifo(own_folder() / "pipe.toml")
    with pytest.raises(ConfigError):
        load_preset("pipe")


def test_a_home_that_cannot_be_written_to_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "file"))
    with pytest.raises(ConfigError, match="cannot"):
        save_preset("mine", load_preset("nano"))
    assert "mine" not in preset_names()
