"""Signals, and terminals that go, in every phase of a training: it finishes, or stops with a checkpoint and says so."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.faults.conftest import WHOLE, Campaign
from tests.faults.sessions import PHASES, ROOT, Held, held, until

Make = Callable[..., Campaign]

STALL = 30.0 if WHOLE else 1.0
"""Seconds that a stalled terminal reads nothing."""

ENDS = {signal.SIGTERM: 143, signal.SIGINT: 130, signal.SIGQUIT: 131}
ASKED = ("HUP", "TERM", "INT", "QUIT", "TSTP", "PIPE")
TERMINALS = ("there", "closing", "gone", "stalled")
KINDS = ("leader", "shell", "tmux") if shutil.which("tmux") else ("leader", "shell")
MATRIX = [
    (name, phase, terminal, kind, screen)
    for phase in PHASES
    for name in ASKED
    for terminal in TERMINALS
    for kind, screen in (*((kind, True) for kind in KINDS), ("leader", False))
]
"""Signal, phase, what becomes of the terminal, what it is, and whether the workbench or the plain command trains."""


def order(cells: list[tuple[str, str, str, str, bool]]) -> list[tuple[str, str, str, str, bool]]:
    """The cells shuffled, always alike: the quick tries are the first of the whole."""
    return random.Random(7).sample(cells, len(cells))


def test_the_signal_matrix(campaign: Make, tmp_path: Path) -> None:
    promise = campaign(
        "a signal at any moment, at any terminal, ends with training finished or a checkpoint, and a true status",
        quick=2,
        whole=len(MATRIX),
    )
    cells = order(MATRIX)
    for number in promise:
        name, phase, terminal, kind, screen = cells[number]
        what = f"{name} while {phase}, terminal {terminal}, {kind}, {'workbench' if screen else 'plain'}"
        with promise.trial(what), held(tmp_path / str(number), phase, kind, screen) as session:
            try_signal(session, name, terminal, random.Random(number))


def try_signal(session: Held, name: str, terminal: str, chance: random.Random) -> None:
    """Send it, let the terminal do what it does, and see how it ends."""
    number = getattr(signal, f"SIG{name}")
    if terminal == "gone":
        session.close()
    if terminal == "stalled":
        session.stall(True)
    session.send(number)
    if name == "TSTP":
        session.wait_sleep()
        if terminal == "stalled":  # or its shell could not be told to go on with it
            session.rest(STALL)
            session.stall(False)
        session.wake()
    if terminal == "closing":
        session.rest(chance.uniform(0.0, 1.0))
        session.close()
    if session.stalled:
        session.rest(STALL)
        session.stall(False)
    session.wait_end()
    session.verify(finishes=number not in ENDS)
    session.verify_terminal()
    code = session.terminal.exit_code if session.terminal is not None and session.kind == "leader" else None
    if code is not None:
        untrained = {-number} if number in ENDS and not session.status else set()
        # the SIGTERM that `wait_end` sends a workbench whose training is over may find the program at its very end
        told = {143, -signal.SIGTERM} if session.screen and number not in ENDS else set()
        assert code in {0, ENDS.get(number, 0)} | told | untrained, f"exit code {code}"


WAYS = ("signal, then closed", "closed", "signal alone")
"""How a terminal hangs up: as sshd does it, as an emulator that is closed, and as a bare kill -HUP."""


def test_hang_ups(campaign: Make, tmp_path: Path) -> None:
    promise = campaign("a hang-up at any moment costs no step, whichever way it comes", quick=1, whole=150)
    for number in promise:
        chance, way = random.Random(number), WAYS[number % len(WAYS)]
        phase = chance.choice(list(PHASES))
        with promise.trial(f"{way}, {phase}, {number}"), held(tmp_path / str(number), phase) as session:
            session.rest(chance.uniform(0.0, 1.0 if phase == "start" else 0.5))
            if way != "closed":
                session.send(signal.SIGHUP)
            if way == "signal, then closed":
                session.rest(chance.uniform(0.0, 2.0))
            if way != "signal alone":
                session.close()
            session.wait_end()
            session.verify(finishes=True)


def test_any_number_of_signals(campaign: Make, tmp_path: Path) -> None:
    promise = campaign(
        "any number of hang-ups and requests to end, in any order, loses no checkpoint", quick=1, whole=60
    )
    for number in promise:
        chance = random.Random(number)
        phase, screen = chance.choice(list(PHASES)), chance.random() < 0.6
        names = chance.choices(["HUP", "TERM", "INT", "QUIT", "CONT"], k=chance.randint(2, 8))
        what = f"{' '.join(names)} while {phase}, {'workbench' if screen else 'plain'}"
        with promise.trial(what), held(tmp_path / str(number), phase, screen=screen) as session:
            closing = chance.randrange(-1, len(names))
            for place, name in enumerate(names):
                session.send(getattr(signal, f"SIG{name}"))
                if place == closing:
                    session.close()
                session.rest(chance.choice([0.0, 0.01, 0.3]))
            session.wait_end()
            session.verify(finishes=not {"TERM", "INT", "QUIT"} & set(names))


@pytest.mark.skipif(not WHOLE, reason="it waits for a shell and a training of its own; make faults")
def test_a_progress_line_that_is_stopped_gives_the_cursor_back(tmp_path: Path) -> None:
    with held(tmp_path, "training", "shell", screen=False) as session:
        assert session.terminal is not None
        session.send(signal.SIGTSTP)
        session.wait_sleep()
        session.terminal.wait("Stopped", 20)
        raw = session.terminal.raw
        assert raw.rfind(b"\x1b[?25l") < raw.rfind(b"\x1b[?25h")
        session.wake()
        session.wait_end()
        session.verify(finishes=True)


COMMANDS = {
    "list": ["runs", "list"],
    "help": ["--help"],
    "train": ["train", "t.txt", "--steps", "20", "--set", "data.tokenizer=bpe"],
    "sample": ["sample", "nobody"],
    "detach": ["train", "t.txt", "--steps", "100000", "--detach"],
    "doctor": ["doctor"],
}


def test_ctrl_c_at_the_beginning(campaign: Make, tmp_path: Path) -> None:
    promise = campaign("Ctrl-C in the first seconds of any command is one line at most", quick=3, whole=200)
    (tmp_path / "t.txt").write_text("the cat sat on the mat.\n" * 5_000)
    given = {**os.environ, "PYTHONPATH": str(ROOT), "TINYTUI_CACHE": str(tmp_path / "cache"), "OMP_NUM_THREADS": "1"}
    for number in promise:
        chance = random.Random(number)
        name = list(COMMANDS)[number % len(COMMANDS)]
        with promise.trial(f"{name} {number}"):
            command = [sys.executable, "-m", "tui.cli", "--runs", str(tmp_path / str(number)), *COMMANDS[name]]
            process = subprocess.Popen(
                command, cwd=tmp_path, env=given, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
            )
            try:
                until(lambda now=process: begun(now), 30, lambda: "the first line of the program")
                time.sleep(chance.uniform(0.0, 3.0 if name == "train" else 0.5))  # wherever that is
                process.send_signal(signal.SIGINT)
                said = process.communicate(timeout=60)[1]
            finally:
                process.kill()
            assert said.count("\n") <= 1 and "Traceback" not in said, said
            assert process.returncode in (0, 1, 130, -signal.SIGINT), process.returncode
            status = tmp_path / str(number) / "t-nano-1" / "status.json"
            if name == "detach" and process.returncode == 0:  # it was too late: that is stopped as any
                os.kill(json.loads(status.read_text())["pid"], signal.SIGTERM)
            if status.exists():
                until(
                    lambda told=status: json.loads(told.read_text())["state"] in ("stopped", "finished"),
                    60,
                    lambda: "an end",
                )


def begun(process: subprocess.Popen[str]) -> bool:
    """Whether the program's own first line has run: before that Ctrl-C is Python's."""
    try:
        lines = Path(f"/proc/{process.pid}/status").read_text().splitlines()
    except OSError:
        return True
    caught = [int(line.split()[1], 16) for line in lines if line.startswith("SigCgt")]
    return process.poll() is not None or not caught or bool(caught[0] & 1)
