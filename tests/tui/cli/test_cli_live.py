"""Commands to a run that another process trains."""

from __future__ import annotations

import json
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cli_for_tests import TINY, Trained, invoke, one_complaint, spawn, wait_for

from engine.machine import hostname
from engine.runs.layout import RunDir
from engine.runs.lock import RunLock
from engine.runs.status import read_status
from engine.training.verify import verify_checkpoint
from tui.cli.live import PATIENCE


@pytest.fixture
def live(trained: Trained) -> Iterator[tuple[RunDir, subprocess.Popen[str]]]:
    """A run that a process of its own trains, for longer than any test."""
    sets = ("--set", "train.eval_every=100000", "--set", "train.schedule=constant", "--set", "train.warmup_steps=0")
    process = spawn(
        "train", trained.text, *TINY, *sets, "--steps", 900_000, "--name", "going",
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
    )  # fmt: skip
    run = RunDir(trained.runs / "going")
    wait_for(lambda: process.poll() is not None or (read_status(run).get("step") or 0) > 0)
    yield run, process
    process.kill()
    process.communicate()


def told(*args: object) -> dict[str, Any]:
    result = invoke("runs", *args, "--json")
    assert result.exit_code == 0, result.output
    facts: dict[str, Any] = json.loads(result.stdout)
    return facts


def test_a_run_of_another_process_obeys(live: tuple[RunDir, subprocess.Popen[str]]) -> None:
    run, process = live
    paused = told("pause", "going")
    assert paused["state"] == "paused" and paused["step"] > 0
    assert read_status(run)["step"] == paused["step"]
    assert told("pause", "going")["step"] == paused["step"]  # again: nothing to wait for

    rate = read_status(run)["learning_rate"]
    changed = told("set-lr", "going", rate / 4)
    assert (changed["learning_rate"], changed["before"]) == (rate / 4, rate)
    wait_for(lambda: read_status(run)["learning_rate"] == pytest.approx(rate / 4, rel=1e-12))
    began = time.monotonic()  # the rate in force leaves no event that could be waited for
    assert "already, nothing is changed" in invoke("runs", "set-lr", "going", read_status(run)["learning_rate"]).stdout
    assert time.monotonic() - began < PATIENCE

    made = told("checkpoint", "going")
    assert Path(made["checkpoint"]) == run.checkpoint(paused["step"])
    assert verify_checkpoint(run.checkpoint(paused["step"])).ok

    assert told("resume", "going")["state"] == "running"
    wait_for(lambda: read_status(run)["step"] > paused["step"])
    assert "sent; it takes effect at the next step" in invoke("runs", "checkpoint", "going", "--no-wait").stdout

    refused = invoke("runs", "rm", "going", "--yes")
    assert refused.exit_code == 1 and "stop it first: tinytui runs stop going" in one_complaint(refused)

    stopped = invoke("runs", "stop", "going")
    assert stopped.exit_code == 0, stopped.output
    assert process.wait(60) == 0
    status = read_status(run)
    assert status["state"] == "stopped"
    assert f"stopped at step {status['step']:,} of 900,000, checkpoint step-{status['step']:08d}" in stopped.stdout
    assert "go on with: tinytui train --resume going" in stopped.stdout
    assert verify_checkpoint(run.checkpoint(status["step"])).ok
    assert invoke("runs", "rm", "going", "--yes").exit_code == 0


COMMANDS = (["stop"], ["pause"], ["resume"], ["checkpoint"], ["set-lr"])


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command[0])
def test_a_run_that_nobody_trains_says_how_to_go_on(trained: Trained, command: list[str]) -> None:
    rate = ["3e-4"] if command == ["set-lr"] else []
    before = {path: path.read_bytes() for path in trained.path.rglob("*") if path.is_file()}
    result = invoke("runs", *command, "first", *rate)
    assert result.exit_code == 1
    assert "not being trained now; go on with tinytui train --resume first" in one_complaint(result)
    assert "no run 'frist'" in one_complaint(invoke("runs", *command, "frist", *rate))
    assert {path: path.read_bytes() for path in trained.path.rglob("*") if path.is_file()} == before


def test_a_run_of_another_machine_is_named_as_that(trained: Trained) -> None:
    lock = {"pid": 1, "host": "far-away", "socket": "/nowhere/x.sock", "started": 1.0}
    (trained.path / "lock").write_text(json.dumps(lock))
    result = invoke("runs", "stop", "first")
    assert result.exit_code == 1
    assert "run first is trained on far-away; open it there" in one_complaint(result)


@pytest.mark.parametrize("rate", ["0", "nan", "inf", "-1e-3", "1e400"])
def test_a_rate_that_cannot_be_is_refused_before_it_is_sent(trained: Trained, rate: str) -> None:
    with RunLock(trained.path, socket=str(trained.path / "none.sock")):
        result = invoke("runs", "set-lr", "first", "--", rate)
    assert result.exit_code == 1
    assert "value must be above 0" in one_complaint(result) or "does not answer" in one_complaint(result)


def test_no_dead_trainer_is_blamed_for_a_strangers_lock(trained: Trained, tmp_path: Path) -> None:
    dead = subprocess.Popen(["true"])
    dead.wait()
    lock = trained.path / "lock"
    lock.write_text(json.dumps({"pid": dead.pid, "host": hostname(), "socket": "", "started": 1.0}))
    flock = shutil.which("flock")
    if flock is None:
        pytest.skip("there is no flock here")
    stranger = subprocess.Popen([flock, lock, "sh", "-c", "echo held; read _"], stdin=-1, stdout=-1, text=True)
    try:
        assert stranger.stdout is not None and stranger.stdout.readline() == "held\n"
        said = one_complaint(invoke("train", "--resume", "first", "--steps", 30))
    finally:
        stranger.communicate("\n")
    assert str(dead.pid) not in said
    assert f"run first is locked by process {stranger.pid}" in said and "end that first" in said


def test_a_run_that_ended_says_how_to_train_it_longer(trained: Trained) -> None:
    """As it stopped early it goes on with its patience anew; as it is done it takes more steps."""
    done = invoke("train", "--resume", "first")
    assert "train it longer with tinytui train --resume first --steps 40" in one_complaint(done)
    longer = invoke("train", "--resume", "first", "--steps", 24)
    assert longer.exit_code == 0, longer.output
    assert "train it longer with: tinytui train --resume first --steps 48" in longer.stdout
    sets = ("--set", "train.eval_every=2", "--set", "train.early_stop=1", "--set", "train.learning_rate=1e-9")
    sets += ("--set", "train.min_learning_rate=0", "--set", "train.muon_learning_rate=1e-9")
    early = invoke("train", trained.text, *TINY, *sets, "--steps", 60, "--name", "early")
    assert early.exit_code == 0, early.output
    stopped_at = read_status(RunDir(trained.runs / "early"))["step"]
    assert stopped_at < 60
    assert "train it longer with: tinytui train --resume early\n" in early.stdout
    on = invoke("train", "--resume", "early")
    assert on.exit_code == 0, on.output
    assert read_status(RunDir(trained.runs / "early"))["step"] > stopped_at
