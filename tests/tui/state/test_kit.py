"""What a new run can be made of, as it is on this machine; and a run fine-tuned in this process."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest

from engine.config import DataConfig
from engine.preset_files import load_preset, own_folder, save_preset
from engine.runs.status import read_info
from engine.tokenizers.prepare import ask_for, prepare
from engine.training.host import TrainingHost
from engine.training.start import open_dataset, start_run
from tui.state.kit import Expected, KitReader, Tuning, expected_in, presets, read_tokens, read_tuning
from tui.state.session import Session
from tui.state.training import Start
from tui.state.worker import Ticket

TICKET = Ticket("kit", lambda _: None, lambda _: None, lambda _: None)
SMALL = {
    "model.n_layer": 1,
    "model.n_embd": 16,
    "model.n_head": 2,
    "model.block_size": 16,
    "train.max_steps": 2,
    "train.sample_tokens": 0,
}


@pytest.fixture(autouse=True)
def own_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("TINYTUI_CACHE", str(tmp_path / "cache"))
    (tmp_path / "text.txt").write_text("a few words to train on, again and again\n" * 100)


def until(session: Session, test: Callable[[], bool]) -> None:
    end = time.monotonic() + 60
    while not test():
        assert time.monotonic() < end, "it did not happen"
        session.poll()
        time.sleep(0.005)


def test_what_there_is_on_this_machine(tmp_path: Path) -> None:
    save_preset("mine", load_preset("nano"), "my own")
    (own_folder() / "hurt.toml").write_text("[model]\nn_layer = 0\n")
    found = presets()
    assert next(iter(found)) == "nano" and found["mine"].about == "my own"
    assert found["hurt"].config is None and "model.n_layer" in found["hurt"].problem
    kit = KitReader(tmp_path / "runs", tmp_path / "corpora").look(TICKET)
    assert kit is not None and kit.devices[:2] == ("auto", "cpu") and (kit.memory["cpu"][0] or 0) > 0
    assert "soap-notes" in kit.corpora and kit.runs == ()


def test_a_folder_of_tokens_is_known_by_its_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With its own tokenizer, whatever the settings ask for."""
    folder = tmp_path / "tokens"
    name, ask = ask_for(str(tmp_path / "text.txt"))
    made = prepare(name, ask, folder, DataConfig(tokenizer="bpe", vocab_size=270))
    monkeypatch.chdir(tmp_path)
    for typed in (str(folder), f"{folder}/", "tokens", "./tokens/"):
        found = read_tokens(typed)
        assert found is not None
        assert (found.tokens, found.val_tokens) == (made.train.tokens, made.val.tokens)
        assert found.vocab_size == made.tokenizer["vocab_size"] and found.settings["data.tokenizer"] == "bpe"
    assert read_tokens("text.txt") is read_tokens("none") is read_tokens("") is None
    (folder / "meta.json").write_text('{"kind": "tinytui tokens", "format": 1}')
    assert read_tokens("tokens") is None


def test_memory_that_is_nearly_the_same_is_told_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reader = KitReader(tmp_path / "runs", tmp_path / "corpora")
    for free, told in ((1000, 1000), (981, None), (1020, None), (970, 970), (989, None), (None, None), (980, 980)):
        monkeypatch.setattr("engine.telemetry.available_by_device", lambda free=free: {"cpu": (free, False)})
        kit = reader.look(TICKET)
        assert (None if kit is None else kit.memory["cpu"][0]) == told
        assert kit is not None or free is not None


@pytest.mark.parametrize("typed", ["none", "none@5", "@", "../x", "x\ny"])
def test_a_run_that_cannot_be_tuned_says_so_in_one_line(typed: str, tmp_path: Path) -> None:
    found = read_tuning(typed, tmp_path / "runs")
    assert found.config is None and found.problem and "\n" not in found.problem and not found.pending
    assert Tuning(typed).pending


def test_a_run_is_fine_tuned_in_this_process(tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    parent = start_run(str(tmp_path / "text.txt"), load_preset("nano").replace(SMALL), runs, name="parent")
    host = TrainingHost(parent)
    host.start()
    host.join(60)
    tuning = read_tuning("parent@2", runs)
    assert tuning.run == parent and tuning.config is not None and not tuning.problem
    known, data = expected_in(read_info(parent)), open_dataset(parent)
    assert known == Expected(data.tokenizer.vocab_size, len(data.train), len(data.val))
    assert tuning.vocab_size == data.tokenizer.vocab_size and expected_in({}) is None
    session = Session(runs, tmp_path / "corpora")
    config = tuning.config.replace({"train.lora_r": 2, "train.max_steps": 3})
    session.train(Start(str(tmp_path / "text.txt"), config, "tuned", "child", "cpu", base=(tuning.run, tuning.which)))
    until(session, lambda: session.view is not None and session.state == "finished")
    assert session.run is not None and session.run.name == "child"
    origin = read_info(session.run)["parent"]
    assert (origin["run"], origin["step"], origin["how"]) == ("parent", 2, "fine-tune")
    session.end()
