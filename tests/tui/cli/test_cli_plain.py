"""`--plain`: the same facts as lines, without a terminal and without one escape sequence."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from cli_for_tests import Trained, invoke

from engine.runs.layout import RunDir
from engine.runs.writer import RunWriter
from tui.cli import plain


def test_runs_and_a_run_are_lines(trained: Trained, tmp_path: Path) -> None:
    listed = invoke("--plain").stdout
    assert listed.startswith("first: finished, step 20 of 20, best val loss ") and "\x1b" not in listed
    opened = invoke("open", "first", "--plain").stdout
    assert "finished" in opened and "sample at step 20:" in opened and "tinytui sample" in opened
    assert not set("\x1b│─╭━●") & set(opened)
    assert "no runs in" in invoke("--runs", tmp_path / "none", "--plain").stdout
    missing = invoke("open", "nothing", "--plain")
    assert missing.exit_code == 1 and missing.stderr.count("\n") == 1


def test_a_run_that_is_trained_is_followed_to_its_end(trained: Trained, monkeypatch: pytest.MonkeyPatch) -> None:
    looks = threading.Semaphore(0)
    monkeypatch.setattr(plain, "time", SimpleNamespace(sleep=lambda _: (looks.release(), time.sleep(0.01))))
    run = RunDir(trained.runs / "first")
    with RunWriter(run) as writer:
        writer.status(state="running", phase="training", step=20, steps=20)
        told: list[str] = []
        follower = threading.Thread(target=lambda: told.append(invoke("open", "first", "--plain").stdout))
        follower.start()
        for _ in range(5):
            assert looks.acquire(timeout=60), "it goes on as long as the run does"
        writer.status(state="stopped", phase="")
        follower.join(60.0)
    assert "it is trained now" in told[0] and "first: stopped at step 20 of 20" in told[0]
