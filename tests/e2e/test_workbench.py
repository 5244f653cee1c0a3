"""The program as people meet it: in a real pseudo-terminal, training a real model on real text.

A training waits, paused at a step of its own, for what is to happen to it: on a busy machine too it is not over before.
"""

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
from click.testing import Result
from typer.testing import CliRunner

from engine.control import ControlClient
from engine.runs.layout import RunDir
from tests.engine.training.conftest import tiny_text
from tests.forked import Forked
from tests.terminal import Terminal
from tui.cli.app import make_app

TINYTUI = [sys.executable, "-m", "tui.cli"]
SMALL = [
    "--set=model.n_layer=1",
    "--set=model.n_head=2",
    "--set=model.n_embd=16",
    "--set=model.block_size=16",
    "--set=train.batch_size=4",
    "--set=train.eval_every=100",
    "--set=train.checkpoint_every=50",
    "--set=train.sample_tokens=8",
    "--set=train.keep_last=9",
]


@pytest.fixture
def place(tmp_path: Path) -> Path:
    (tmp_path / "tiny.txt").write_text(tiny_text())
    return tmp_path


@pytest.fixture
def env(place: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, str]]:
    """What the programs started are told, and those run in this process too."""
    given = {
        "TINYTUI_CACHE": str(place / "cache"),
        "XDG_CONFIG_HOME": str(place / "config"),
        "XDG_DATA_HOME": str(place / "data"),
        "PYTHONPATH": str(Path(__file__).parents[2]),
        "OMP_NUM_THREADS": "1",
    }
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    yield given
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
        time.sleep(0.01)


def weights_file(place: Path, name: str, step: int) -> Path:
    return place / "runs" / name / "checkpoints" / f"step-{step:08d}" / "model.safetensors"


def weights(place: Path, name: str, step: int) -> str:
    return hashlib.sha256(weights_file(place, name, step).read_bytes()).hexdigest()


def headless(place: Path, *words: str) -> Result:
    """The command in this process."""
    given = ["--runs", str(place / "runs"), *words]
    return CliRunner().invoke(make_app(given), given)


STEPS, PAUSED_AT = 200, 60
TRAIN = ["train", "tiny.txt", "--steps", str(STEPS), *SMALL]
PAUSES = f"""
from engine.control import CommandQueue
drain, steps = CommandQueue.drain, iter(range({PAUSED_AT}))
def drains(queue):
    if next(steps, None) == {PAUSED_AT - 1}:
        queue.put({{"do": "pause"}})
    return drain(queue)
CommandQueue.drain = drains
from tui.cli import main
main()
"""
"""The program, whose training hears that it is to pause when it has asked so often; it asks at every step."""


def that_pauses(place: Path, name: str, *words: str) -> list[str]:
    """A training of that name."""
    return [sys.executable, "-c", PAUSES, *command(place, *TRAIN, "--name", name, *words)[len(TINYTUI) :]]


def in_background(place: Path, env: dict[str, str], name: str) -> subprocess.Popen[bytes]:
    """The same, in a process of its own."""
    return Forked(that_pauses(place, name), env={**os.environ, **env}, cwd=place, stdout=subprocess.DEVNULL)


def paused(place: Path, name: str) -> ControlClient:
    """Who can speak to it, when it has paused."""
    until(lambda: status(place, name).get("state") == "paused")
    assert 0 < status(place, name)["step"] < STEPS
    return ControlClient(RunDir(place / "runs" / name))


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The weights after STEPS steps that nothing disturbed."""
    place = tmp_path_factory.mktemp("whole")
    (place / "tiny.txt").write_text(tiny_text())
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TINYTUI_CACHE", str(place / "cache"))
        patch.chdir(place)
        done = headless(place, *TRAIN, "--name", "w", "--json")
    assert done.exit_code == 0, done.output
    return weights(place, "w", STEPS)


def test_a_hung_up_terminal_costs_no_step_and_the_run_is_found_again(
    place: Path, env: dict[str, str], uninterrupted: str
) -> None:
    with Terminal(that_pauses(place, "hung", "--tui"), env=env, cwd=place, forked=True) as first:
        paused(place, "hung")
        first.wait("paused", 60)
        first.hang_up()
        hung_at = status(place, "hung")["step"]

        with Terminal(command(place, "open", "hung"), env=env, cwd=place, forked=True) as second:
            second.wait("hung")
            second.wait("paused")
            second.key("p")
            second.type("a cat ")
            second.key("enter")
            until(lambda: second.pump(0.1) or (place / "runs" / "hung" / "prompts.jsonl").exists())
            until(lambda: second.key("escape") or "resume" in second.text)  # first out of an answer, then of the input
            second.key(" ")
            until(lambda: second.pump(0.1) or status(place, "hung")["state"] != "paused")
            until(lambda: status(place, "hung")["step"] > hung_at)
        assert first.wait_exit(90) == 0
    assert status(place, "hung")["state"] == "finished"
    assert weights(place, "hung", STEPS) == uninterrupted


def test_detached_training_goes_on_in_the_background(place: Path, env: dict[str, str], uninterrupted: str) -> None:
    with Terminal(that_pauses(place, "away", "--tui"), env=env, cwd=place, forked=True) as terminal:
        paused(place, "away")
        terminal.wait("paused", 60)
        terminal.key("q")
        terminal.wait("detach")
        terminal.key("d")
        assert terminal.wait_exit(60) == 0
    until(lambda: status(place, "away").get("state") == "finished", 90)
    assert weights(place, "away", STEPS) == uninterrupted


def test_kill_9_loses_nothing_before_the_last_checkpoint(place: Path, env: dict[str, str], uninterrupted: str) -> None:
    process = in_background(place, env, "killed")
    trainer = paused(place, "killed")
    reached = status(place, "killed")["step"]
    trainer.send("checkpoint")
    until(lambda: weights_file(place, "killed", reached).exists())
    process.kill()
    process.wait()
    shown = json.loads(headless(place, "runs", "show", "killed", "--json").stdout)
    assert shown["state"] == "crashed"
    assert [checkpoint["step"] for checkpoint in shown["checkpoints"]][-1] == reached < STEPS
    resumed = headless(place, "train", "--resume", "killed", "--json")
    assert resumed.exit_code == 0, resumed.output
    assert weights(place, "killed", STEPS) == uninterrupted
    verified = json.loads(headless(place, "runs", "verify", "killed", "--json").stdout)
    assert all(checkpoint["ok"] for checkpoint in verified["checkpoints"])


def test_a_second_trainer_is_refused_in_one_line(place: Path, env: dict[str, str]) -> None:
    process = in_background(place, env, "mine")
    try:
        paused(place, "mine")
        second = headless(place, "train", "--resume", "mine")
        assert second.exit_code == 1
        assert second.stderr.count("\n") == 1
        assert "run mine is being trained" in second.stderr and "tinytui open mine" in second.stderr
        assert process.poll() is None
    finally:
        process.terminate()
        process.wait(60)
