"""Several processes from the command line: refused in a line, trained to the end, ended, begun again, or launched."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from cli_for_tests import TINY, command, environment, invoke, one_complaint, small_text, spawn, wait_for

from engine.runs.layout import RunDir
from engine.runs.status import read_status
from engine.training.verify import verify_checkpoint

WHOLE = pytest.mark.skipif(os.environ.get("FAULTS") != "whole", reason="a group of processes each; make faults")
LONG = ("--steps", 1_000_000, "--set", "train.eval_every=1000000", "--set", "train.sample_tokens=0")


@pytest.fixture
def text(tmp_path: Path) -> Path:
    path = tmp_path / "text.txt"
    path.write_text(small_text())
    return path


@pytest.mark.parametrize("given", ["x", "0", "-1", "2.5", "99999"])
def test_a_number_that_is_none_is_refused_before_anything_is_made(tmp_path: Path, text: Path, given: str) -> None:
    result = invoke("--runs", tmp_path / "runs", "train", text, *TINY, "--nproc", given)
    assert result.exit_code in (1, 2) and "--nproc" in result.stderr and "Traceback" not in result.output
    assert not (tmp_path / "runs").exists()


def test_sequences_that_cannot_be_parted_are_refused_in_a_line_that_helps(tmp_path: Path, text: Path) -> None:
    result = invoke("--runs", tmp_path / "runs", "train", text, *TINY, "--nproc", 3)
    assert result.exit_code == 1 and not (tmp_path / "runs").exists()
    said = one_complaint(result)
    assert "4 sequences a step" in said and "evenly among 3 processes" in said
    advice = re.findall(r"--set (\S+)", said)
    sets = [word for each in advice for word in ("--set", each)]
    dry = invoke("--runs", tmp_path / "runs", "train", text, *TINY, *sets, "--nproc", 3, "--dry-run")
    assert dry.exit_code == 0, dry.output


def test_the_forecast_says_what_each_process_needs(tmp_path: Path, text: Path) -> None:
    result = invoke("--runs", tmp_path / "runs", "train", text, *TINY, "--nproc", 2, "--dry-run")
    assert result.exit_code == 0 and re.search(r"processes +2, ddp", result.stdout), result.output


@WHOLE
def test_a_group_trains_to_the_end_and_is_resumed_as_it_was_begun(tmp_path: Path, text: Path) -> None:
    runs = tmp_path / "runs"
    words = ("--runs", runs, "train", text, *TINY, "--name", "two", "--steps", 12, "--nproc", 2, "--json")
    ran = subprocess.run(command(*words), env=environment(), capture_output=True, text=True, timeout=120, check=True)
    assert [json.loads(line) for line in ran.stdout.splitlines()][-1]
    run = RunDir(runs / "two")
    assert read_status(run)["state"] == "finished" and len(read_status(run)["ranks"]) == 2
    more = ("--runs", runs, "train", "--resume", "two", "--steps", 16)
    ran = subprocess.run(command(*more), env=environment(), capture_output=True, text=True, timeout=120, check=True)
    assert "finished at step 16 of 16" in ran.stdout and len(read_status(run)["ranks"]) == 2
    shown = invoke("--runs", runs, "runs", "show", "two").stdout
    assert "own work" in shown and len(re.findall(r"^ *[01] +\S+ +cpu", shown, re.M)) == 2


@WHOLE
def test_ctrl_c_ends_it_with_a_checkpoint(tmp_path: Path, text: Path) -> None:
    run = RunDir(tmp_path / "runs" / "two")
    with spawn(
        "--runs", tmp_path / "runs", "train", text, *TINY, *LONG, "--name", "two", "--nproc", 2, stdout=subprocess.PIPE
    ) as training:
        wait_for(lambda: run.status_json.exists() and int(read_status(run).get("step") or 0) > 3)
        training.send_signal(signal.SIGINT)
        out, _ = training.communicate(timeout=60)
    assert training.returncode == 130 and "stopped at step" in out
    assert read_status(run)["state"] == "stopped" and verify_checkpoint(run.checkpoint(run.checkpoint_steps()[-1])).ok


@WHOLE
def test_it_is_begun_again_whoever_dies(tmp_path: Path, text: Path) -> None:
    run = RunDir(tmp_path / "runs" / "two")
    often = ("--set", "train.checkpoint_every=5")
    words = ("--runs", tmp_path / "runs", "train", text, *TINY, *LONG, *often, "--name", "two", "--nproc", 2)
    with spawn(*words, "--restarts", 2, stdout=subprocess.PIPE) as training:
        for victim in (1, 0):
            status = wait_for(
                lambda: (
                    run.checkpoint_steps()
                    and read_status(run).get("state") == "running"
                    and read_status(run).get("ranks")
                    and read_status(run)
                )
            )
            before = {each["rank"]: each["pid"] for each in status["ranks"]}
            os.kill(before[victim], signal.SIGKILL)
            wait_for(
                lambda before=before: (
                    {each["pid"] for each in read_status(run).get("ranks") or []}.isdisjoint(before.values())
                    and read_status(run).get("state") == "running"
                )
            )
        assert invoke("--runs", tmp_path / "runs", "runs", "stop", "two").exit_code == 0
        assert training.wait(60) == 0
    assert read_status(run)["state"] == "stopped"


@WHOLE
def test_any_launcher_may_start_it(tmp_path: Path, text: Path) -> None:
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", "-m", "tui.cli"]
    words = ("--runs", tmp_path / "runs", "train", text, *TINY, "--name", "two", "--steps", 12)
    ran = subprocess.run([*launcher, *map(str, words)], env=environment(), capture_output=True, text=True, timeout=120)
    assert ran.returncode == 0 and "two: finished at step 12 of 12" in ran.stdout, ran.stderr
    run = RunDir(tmp_path / "runs" / "two")
    assert json.loads(run.run_json.read_text())["environment"]["ranks"] == 2
