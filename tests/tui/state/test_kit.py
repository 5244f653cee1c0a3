"""What a new run can be made of, as it is on this machine; and a run fine-tuned in this process."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest

from engine.config import load_preset, save_preset
from engine.preset_files import own_folder
from engine.runs.status import read_info
from engine.training.host import TrainingHost
from engine.training.start import start_run
from tui.state.kit import KitReader, Tuning, presets, read_tuning
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
    end = time.monotonic() + 30
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
    session = Session(runs, tmp_path / "corpora")
    config = tuning.config.replace({"train.lora_r": 2, "train.max_steps": 3})
    session.train(Start(str(tmp_path / "text.txt"), config, "tuned", "child", "cpu", base=(tuning.run, tuning.which)))
    until(session, lambda: session.view is not None and session.state == "finished")
    assert session.run is not None and session.run.name == "child"
    origin = read_info(session.run)["parent"]
    assert (origin["run"], origin["step"], origin["how"]) == ("parent", 2, "fine-tune")
    session.end()
