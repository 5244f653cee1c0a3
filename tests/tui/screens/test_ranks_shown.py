"""A run of several processes: in the device pane, in the form, and begun by a person at a real terminal."""

from __future__ import annotations

import json
import os
import pty
import re
import select
import signal
import struct
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from fcntl import ioctl
from pathlib import Path
from termios import TIOCSWINSZ
from typing import Any

import psutil
import pytest
from pilot_for_tests import on_screen, still, until
from pytest_textual_snapshot import SVGImageExtension
from runs_for_tests import write_run
from syrupy import SnapshotAssertion

from engine.control import ControlClient
from engine.errors import ConfigError
from engine.preset_files import load_preset
from engine.runs.layout import RunDir
from engine.runs.status import read_status
from tui.app import Workbench
from tui.screens.newrun.fields import processes_of
from tui.screens.newrun.screen import NewRunScreen
from tui.state import machine
from tui.state.several import LEAST_READINGS
from tui.theme import ANSI, CONTRAST, DARK, LIGHT
from tui.widgets.form import SettingsForm
from tui.widgets.topline import run_line

ROOT = Path(__file__).parents[3]
WHOLE = os.environ.get("FAULTS") == "whole"
TINY = (
    "model.n_layer=1", "model.n_head=2", "model.n_embd=16", "model.block_size=8", "train.batch_size=4",
    "train.eval_every=1000000", "train.sample_tokens=0", "train.max_steps=1000000",
)  # fmt: skip


def ranks(size: int, late: int = -1, hosts: int = 1) -> list[dict[str, Any]]:
    return [
        {
            "rank": rank,
            "host": f"gpu-{rank * hosts // size}",
            "pid": 5000 + rank,
            "device": f"cuda:{rank * hosts % size // hosts}",
            "seconds": 0.142 + 0.001 * (rank % 5) + 0.06 * (rank == late),
            "memory": 31 << 30,
        }
        for rank in range(size)
    ]


SHOWN = (
    ("straggling", (140, 40), ANSI),
    ("straggling", (100, 30), LIGHT),
    ("straggling", (80, 24), CONTRAST),
    ("lost", (80, 24), DARK),
)
MARKS = {"straggling": ("! rank 2 1.4x", "! 1.4x slowest"), "lost": ("✖ rank 3 lost", "✖ lost")}


async def test_every_rank_is_shown_the_straggler_and_the_lost_one(
    runs: Path, monkeypatch: pytest.MonkeyPatch, snapshot: SnapshotAssertion
) -> None:
    """In every theme and size, alone and beside the other panes: one workbench, which each of them is given in turn."""
    monkeypatch.setattr(machine, "EVERY", 1e6)  # what this machine does is in no picture
    run = write_run(runs, state="running", step=340, parallel="ddp", ranks=ranks(4, late=2))
    said = json.loads(run.status_json.read_text())
    lost = "rank 3 (process 5003 on gpu-0) has died; the checkpoint of step 340 stands, go on with tinytui "
    lost += "train --resume x"
    app = Workbench(runs, run=run)
    async with app.run_test(size=(140, 40)) as pilot:
        await until(pilot, lambda: app.session.view is not None)
        assert "slowest" not in on_screen(app)
        for step in range(341, 341 + LEAST_READINGS):
            run.status_json.write_text(json.dumps(said | {"step": step}))
            await until(pilot, lambda step=step: app.session.status["step"] == step)
        assert "4 ranks · ddp" in "".join(text for text, _ in run_line("x", app.session.now, 120))
        assert app.session.now.several is not None and app.session.now.several.pids == set(range(5000, 5004))
        screen = app.train_screen()
        assert screen is not None
        for state, size, theme in SHOWN:
            if state == "lost":
                run.status_json.write_text(json.dumps(said | {"step": 344, "state": "failed", "problem": lost}))
            line, mark = MARKS[state]
            app.theme = theme
            await pilot.resize_terminal(*size)
            screen.show_pane("device", alone=False)
            await until(pilot, lambda size=size, line=line: app.size == size and line in on_screen(app))
            screen.show_pane("device", alone=True)
            await until(pilot, lambda: "a step's own work, memory, over the others'" in on_screen(app))
            await still(pilot)
            shown = on_screen(app)
            assert "4 · ddp  142 to 204 ms  " + line in shown
            for rank, milliseconds in enumerate((142, 143, 204, 145)):
                assert f"{rank} cuda:{rank}  {milliseconds} ms 31.0 GiB " in shown
            assert sum(mark in row and "cuda" in row for row in shown.splitlines()) == 1
            assert app.export_screenshot() == snapshot(name=f"{state}-{theme}", extension_class=SVGImageExtension)


async def test_a_run_of_one_shows_none_of_it(runs: Path) -> None:
    app = Workbench(runs, run=write_run(runs))
    async with app.run_test(size=(140, 40)) as pilot:
        await until(pilot, lambda: app.session.view is not None)
        assert "rank" not in on_screen(app) and app.session.now.several is None


async def test_a_dead_rank_is_told_whole(runs: Path) -> None:
    problem = "rank 1 (process 4322 on gpu-box) has died; the checkpoint of step 340 stands, go on with tinytui "
    problem += "train --resume x"
    run = write_run(runs, state="failed", step=340, parallel="ddp", ranks=ranks(2), problem=problem)
    app = Workbench(runs, run=run)
    async with app.run_test(size=(80, 24)) as pilot:
        await until(pilot, lambda: app.session.view is not None and "has died" in on_screen(app))
        words = re.sub(r"[\s│]+", " ", on_screen(app))
        assert problem in words, words


def test_processes_are_checked_where_they_are_typed() -> None:
    config = load_preset("nano").replace({"train.batch_size": 4, "train.grad_accum": 2})
    assert [processes_of(text, config, "auto", 0) for text in ("1", " 8 ", "", "4")] == [1, 8, 1, 4]
    assert processes_of("gpu", config, "cuda", 4) == 4 and processes_of("2", config, "cpu", 1) == 2
    for text, device, gpus, why in (
        ("3", "auto", 0, "8 sequences a step .* evenly among 3"),
        ("x", "auto", 0, "a number from 1 to"),
        ("gpu", "auto", 0, "there is none here"),
        ("2", "cuda:0", 4, "cannot train on one cuda:0"),
        ("4", "auto", 2, "there are 2 GPUs here"),
    ):
        with pytest.raises(ConfigError, match=why):
            processes_of(text, config, device, gpus)


async def test_the_form_says_what_each_process_needs(runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    app = Workbench(runs, run=write_run(runs))
    async with app.run_test(size=(140, 40)) as pilot:
        await until(pilot, lambda: app.session.view is not None)
        await pilot.press("n")
        await until(pilot, lambda: isinstance(app.screen, NewRunScreen) and bool(app.screen.query(SettingsForm)))
        screen = app.screen
        assert isinstance(screen, NewRunScreen)
        form = screen.query_one(SettingsForm)
        await until(pilot, lambda: bool(form.value("corpus")))
        form.go_to("processes")
        await pilot.press("ctrl+u", "3")
        await until(pilot, lambda: "evenly among 3" in on_screen(app))
        await pilot.press("ctrl+u", "2")
        await until(pilot, lambda: "memory each" in on_screen(app))
        assert "not measured for several processes" in on_screen(app)
        started: list[Any] = []
        monkeypatch.setattr(app, "train", started.append)
        await pilot.press("ctrl+s")
        await until(pilot, lambda: bool(started))
        assert started[0].processes == 2


# -- real ones ---------------------------------------------------------------------------------------------------------


@contextmanager
def terminal(folder: Path, *words: str) -> Iterator[tuple[int, Callable[[Callable[[str], bool]], str]]]:
    """The command in a pseudo-terminal: what is typed there, and a wait until what was drawn satisfies."""
    pid, fd = pty.fork()
    if pid == 0:
        ioctl(0, TIOCSWINSZ, struct.pack("HHHH", 40, 140, 0, 0))
        os.chdir(folder)
        for name in ("COLUMNS", "LINES"):
            os.environ.pop(name, None)
        os.environ.update(TERM="xterm-256color", PYTHONPATH=str(ROOT), OMP_NUM_THREADS="1")
        os.execv(sys.executable, [sys.executable, "-m", "tui.cli", *words])
    drawn = bytearray()

    def wait(satisfied: Callable[[str], bool], seconds: float = 90.0) -> str:
        deadline = time.monotonic() + seconds
        while not satisfied(text := drawn.decode(errors="replace")):
            assert time.monotonic() < deadline, text[-3000:]
            if select.select([fd], [], [], 0.05)[0]:
                with suppress(OSError):
                    drawn.extend(os.read(fd, 1 << 16))
        return text

    try:
        yield fd, wait
    finally:
        with suppress(ProcessLookupError, ChildProcessError):
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
        os.close(fd)


@pytest.mark.skipif(not WHOLE, reason="a group of processes at a real terminal; make faults")
def test_several_are_begun_on_the_screen_and_go_on_without_it(tmp_path: Path) -> None:
    """With FAULTS=whole a rank is killed too: its launcher begins again, and the same screen sees it go on."""
    (tmp_path / "small.txt").write_text("one small step after another goes on.\n" * 200)
    run = RunDir(tmp_path / "runs" / "two")
    sets = [word for each in TINY for word in ("--set", each)]
    several = ("--nproc", "2", "--restarts", "1", "--tui", "--name", "two")

    def pids() -> list[int]:
        status = read_status(run)
        told = [int(each["pid"]) for each in status.get("ranks") or ()]
        return told if status.get("state") == "running" and told[:1] == [status.get("pid")] else []

    try:
        with terminal(tmp_path, "train", "small.txt", *sets, *several) as (fd, wait):
            wait(lambda text: "training" in text and len(pids()) == 2)
            first = pids()
            if WHOLE:
                os.kill(first[1], signal.SIGKILL)
                wait(lambda text: len(pids()) == 2 and not set(pids()) & set(first))
                first, step = pids(), int(read_status(run)["step"])
                wait(lambda text: int(read_status(run)["step"]) > step)
            os.write(fd, b"q")
            wait(lambda text: "\x1b[?1049l" in text)
        assert all(psutil.pid_exists(pid) for pid in first), "they are none of the workbench's"
        ControlClient(run).send("stop", checkpoint=True)
        deadline = time.monotonic() + 60
        while read_status(run).get("state") != "stopped":
            assert time.monotonic() < deadline
            time.sleep(0.05)
        assert run.checkpoint_steps()[-1] == read_status(run)["step"]
    finally:
        for pid in pids() if run.run_json.exists() else ():
            with suppress(psutil.Error):
                for each in (psutil.Process(pid).parent(), psutil.Process(pid)):
                    if each is not None:
                        each.kill()
