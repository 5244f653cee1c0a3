"""The program as people meet it: in a real pseudo-terminal, training a real model on real text."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.engine.training.conftest import tiny_text
from tests.terminal import Terminal

TINYTUI = [sys.executable, "-m", "tui.cli"]
SMALL = [
    "--set=model.n_layer=2",
    "--set=model.n_head=2",
    "--set=model.n_embd=32",
    "--set=model.block_size=32",
    "--set=train.batch_size=8",
    "--set=train.eval_every=200",
    "--set=train.checkpoint_every=100",
    "--set=train.sample_tokens=20",
    "--set=train.keep_last=9",
    "--set=train.schedule=constant",  # so that a shorter training comes to the same weights as a part of a longer one
]


@pytest.fixture
def place(tmp_path: Path) -> Path:
    (tmp_path / "tiny.txt").write_text(tiny_text())
    return tmp_path


@pytest.fixture
def env(place: Path) -> Iterator[dict[str, str]]:
    root = str(Path(__file__).parents[2])
    yield {
        "TINYTUI_CACHE": str(place / "cache"),
        "XDG_CONFIG_HOME": str(place / "config"),
        "XDG_DATA_HOME": str(place / "data"),
        "PYTHONPATH": root,
        "OMP_NUM_THREADS": "1",
    }
    for status in (place / "runs").glob("*/status.json"):  # nothing outlives a failed test
        said = json.loads(status.read_text())
        if said.get("state") in ("running", "paused"):
            with contextlib.suppress(ProcessLookupError):
                os.kill(said["pid"], signal.SIGKILL)


def command(place: Path, *words: str) -> list[str]:
    return [*TINYTUI, "--runs", str(place / "runs"), *words]


def status(place: Path, name: str) -> dict[str, Any]:
    path = place / "runs" / name / "status.json"
    return json.loads(path.read_text()) if path.exists() else {}


def until(test: Callable[[], object], seconds: float = 60.0) -> None:
    deadline = time.monotonic() + seconds
    while not test():
        assert time.monotonic() < deadline, f"not within {seconds:g} s"
        time.sleep(0.05)


def weights(place: Path, name: str, step: int) -> str:
    file = place / "runs" / name / "checkpoints" / f"step-{step:08d}" / "model.safetensors"
    return hashlib.sha256(file.read_bytes()).hexdigest()


def headless(place: Path, env: dict[str, str], *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(place, *words), env={**os.environ, **env}, cwd=place, capture_output=True, text=True, timeout=120
    )


STEPS = 700  # long enough to be found running by a second screen on a busy machine
FEWER = 200


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> dict[int, str]:
    """The weights after STEPS and after FEWER steps that nothing disturbed."""
    place = tmp_path_factory.mktemp("whole")
    (place / "tiny.txt").write_text(tiny_text())
    env = {"TINYTUI_CACHE": str(place / "cache"), "PYTHONPATH": str(Path(__file__).parents[2]), "OMP_NUM_THREADS": "1"}
    done = headless(
        place, env, "train", str(place / "tiny.txt"), "--steps", str(STEPS), *SMALL, "--name", "w", "--json"
    )
    assert done.returncode == 0, done.stderr
    return {step: weights(place, "w", step) for step in (STEPS, FEWER)}


def test_a_hung_up_terminal_costs_no_step_and_the_run_is_found_again(
    place: Path, env: dict[str, str], uninterrupted: dict[int, str]
) -> None:
    train = ["train", str(place / "tiny.txt"), "--steps", str(STEPS), *SMALL]
    with Terminal(command(place, *train, "--name", "hung", "--tui"), env=env, cwd=place) as first:
        first.wait("training", 60)
        until(lambda: status(place, "hung").get("step", 0) > 20)
        first.hang_up()
        hung_at = status(place, "hung")["step"]

        with Terminal(command(place, "open", "hung"), env=env, cwd=place) as second:
            second.wait("hung")
            second.wait("training")
            second.key(" ")
            second.wait("paused")
            until(lambda: status(place, "hung")["state"] == "paused")
            second.key("p")
            second.type("a cat ")
            second.key("enter")
            until(lambda: second.pump(0.1) or (place / "runs" / "hung" / "prompts.jsonl").exists())
            second.key("escape")  # leave the input, so that space is a command again
            second.key(" ")
            until(lambda: second.pump(0.1) or status(place, "hung")["state"] != "paused")
            until(lambda: status(place, "hung")["step"] > hung_at)
        assert first.wait_exit(90) == 0
    assert status(place, "hung")["state"] == "finished"
    assert weights(place, "hung", STEPS) == uninterrupted[STEPS]


def test_detached_training_goes_on_in_the_background(
    place: Path, env: dict[str, str], uninterrupted: dict[int, str]
) -> None:
    train = ["train", str(place / "tiny.txt"), "--steps", str(FEWER), *SMALL]
    with Terminal(command(place, *train, "--name", "away", "--tui"), env=env, cwd=place) as terminal:
        terminal.wait("training", 60)
        until(lambda: status(place, "away").get("step", 0) > 10)
        terminal.key("q")
        terminal.wait("detach")
        terminal.key("d")
        assert terminal.wait_exit(60) == 0
    until(lambda: status(place, "away").get("state") == "finished", 90)
    assert weights(place, "away", FEWER) == uninterrupted[FEWER]


def test_kill_9_loses_nothing_before_the_last_checkpoint(
    place: Path, env: dict[str, str], uninterrupted: dict[int, str]
) -> None:
    train = ["train", str(place / "tiny.txt"), "--steps", str(FEWER), *SMALL]
    process = subprocess.Popen(
        command(place, *train, "--name", "killed"),
        env={**os.environ, **env},
        cwd=place,
        stdout=subprocess.DEVNULL,
    )
    until(lambda: status(place, "killed").get("step", 0) > 110)
    process.kill()
    process.wait()
    shown = json.loads(headless(place, env, "runs", "show", "killed", "--json").stdout)
    assert shown["state"] == "crashed"
    assert [checkpoint["step"] for checkpoint in shown["checkpoints"]][-1] >= 100
    resumed = headless(place, env, "train", "--resume", "killed", "--json")
    assert resumed.returncode == 0, resumed.stderr
    assert weights(place, "killed", FEWER) == uninterrupted[FEWER]
    verified = json.loads(headless(place, env, "runs", "verify", "killed", "--json").stdout)
    assert all(checkpoint["ok"] for checkpoint in verified["checkpoints"])


def test_a_second_trainer_is_refused_in_one_line(place: Path, env: dict[str, str]) -> None:
    process = subprocess.Popen(
        command(place, "train", str(place / "tiny.txt"), "--steps", "100000", "--name", "mine", *SMALL),
        env={**os.environ, **env},
        cwd=place,
        stdout=subprocess.DEVNULL,
    )
    try:
        until(lambda: status(place, "mine").get("step", 0) > 0)
        second = headless(place, env, "train", "--resume", "mine")
        assert second.returncode == 1
        assert second.stderr.count("\n") == 1
        assert "run mine is being trained" in second.stderr and "tinytui open mine" in second.stderr
        assert process.poll() is None
    finally:
        process.terminate()
        process.wait(30)


def test_demo_without_a_terminal_trains_samples_and_says_where(place: Path, env: dict[str, str]) -> None:
    shown = headless(place, env, "demo", "--steps", "10")
    assert shown.returncode == 0, shown.stderr
    assert "step" in shown.stdout and "loss" in shown.stdout
    name = next((place / "runs").iterdir()).name
    assert name in shown.stdout
    assert "\x1b" not in shown.stdout
