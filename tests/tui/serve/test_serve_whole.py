"""What takes its time: hundreds of keys in a session that only looks, and a training that outlives its page."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from serve_for_tests import ROOT, WAIT, children_of, command, lives, opened_at, until

from engine.control.client import ControlClient
from engine.runs.layout import RunDir, list_runs
from engine.runs.status import read_status
from tui.actions import ACTIONS

pytestmark = pytest.mark.skipif(os.environ.get("FAULTS") != "whole", reason="it takes a minute; make faults")

LONG = 4 * WAIT

NAMED = {
    "enter": "\r", "escape": "\x1b", "tab": "\t", "space": " ", "backspace": "\x7f", "delete": "\x1b[3~",
    "up": "\x1b[A", "down": "\x1b[B", "right": "\x1b[C", "left": "\x1b[D", "home": "\x1b[H", "end": "\x1b[F",
    "pageup": "\x1b[5~", "pagedown": "\x1b[6~", "f5": "\x1b[15~", "plus": "+", "minus": "-",
}  # fmt: skip


def keys() -> list[str]:
    """What a terminal sends for the keys of the registry, those left out that leave the workbench."""
    found = set()
    for key in (key for action in ACTIONS if action.id != "app.leave" for key in action.keys):
        if key in NAMED:
            found.add(NAMED[key])
        elif key.startswith("ctrl+") and len(key) == 6 and key[-1].isalpha() and key[-1] not in "cq":
            found.add(chr(ord(key[-1]) - ord("a") + 1))
        elif len(key) == 1 and key != "q":
            found.add(key)
    return sorted(found)


def state(folder: Path) -> dict[Path, tuple[int, int]]:
    """Every file below a folder, when it was last changed, and its size."""
    facts = ((path, path.lstat()) for path in folder.rglob("*") if not path.is_socket())
    return {path: (fact.st_mtime_ns, fact.st_size) for path, fact in facts}


@pytest.mark.parametrize("seed", range(3))
async def test_no_key_of_a_session_that_only_looks_changes_anything(tmp_path: Path, seed: int) -> None:
    own = os.environ | {"TINYTUI_CACHE": str(tmp_path / "cache")}
    subprocess.run(
        [sys.executable, "-m", "tui.cli", "--runs", str(tmp_path / "runs"), "train", "dialogues", "--steps", "20",
         "--set", "model.n_layer=1", "--set", "model.n_embd=16", "--set", "model.n_head=2", "--name", "kept"],
        check=True, capture_output=True, timeout=LONG, cwd=ROOT, env=own,
    )  # fmt: skip
    rng, choices = random.Random(seed), [*keys(), *"123456" * 3, *"\r" * 8, *"t" * 3]
    with command(tmp_path, "--port", "0") as (process, told):
        before = state(tmp_path)
        async with opened_at(told["url"], 120, 36) as browser:
            await browser.until("kept")
            for _ in range(400):
                await browser.say("stdin", rng.choice(choices))
                await asyncio.sleep(0.02)  # as fast as keys come, not as messages do
            await browser.resize(100, 30)
            await browser.until_drawn()
            assert len(children_of(process.pid)) == 1
        await until(lambda: not children_of(process.pid))
        assert state(tmp_path) == before


async def test_a_training_outlives_its_page(tmp_path: Path) -> None:
    try:
        with command(tmp_path, "--port", "0", "--allow-control") as (process, told):
            assert told["allow_control"] is True
            async with opened_at(told["url"], 120, 36) as browser:
                await browser.until("Train a small GPT")
                (session,) = children_of(process.pid)
                await browser.say("stdin", "\r")
                await until(lambda: any(map(begun, list_runs(tmp_path / "runs"))), LONG)
            (run,) = list_runs(tmp_path / "runs")
            await until(lambda: not lives(session), LONG)
            trainer = int(read_status(run)["pid"])
            assert run.live and trainer != session
            ControlClient(run).send("stop")
            await until(lambda: not lives(trainer), LONG)
            assert read_status(run)["state"] == "stopped"
    finally:
        for left in list_runs(tmp_path / "runs"):
            if left.live:
                os.kill(int(read_status(left)["pid"]), signal.SIGKILL)


def begun(run: RunDir) -> bool:
    return bool(read_status(run).get("step"))


async def test_a_server_that_is_killed_leaves_nothing(tmp_path: Path) -> None:
    with command(tmp_path, "--port", "0") as (process, told):
        async with opened_at(told["url"]) as browser:
            await browser.until("Train a small GPT")
            (child,) = children_of(process.pid)
            process.send_signal(signal.SIGKILL)
            await until(lambda: not lives(child))


async def test_two_signals_wait_for_no_checkpoint_and_end_none(tmp_path: Path) -> None:
    with command(tmp_path, "--port", "0", "--allow-control") as (process, told):
        async with opened_at(told["url"]) as browser:
            await browser.until("Train a small GPT")
            (child,) = children_of(process.pid)
            os.kill(child, signal.SIGSTOP)  # as one that waits for a disk
            process.send_signal(signal.SIGINT)
            await browser.until_closed()
        assert process.poll() is None
        process.send_signal(signal.SIGINT)
        assert process.wait(WAIT) == 130
        assert lives(child)
        os.kill(child, signal.SIGCONT)
        await until(lambda: not lives(child))
