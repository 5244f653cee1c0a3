"""A terminal that closes, stalls or dies: training goes on, nothing waits, nothing spins."""

from __future__ import annotations

import errno
import json
import os
import pty
import select
import signal
import struct
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from termios import ECHO, tcgetattr

import pytest

from tests.forked import on_terminal
from tui.terminal.hangup import TerminalFile, hung_up

ROOT = Path(__file__).parents[3]

# A workbench whose "training" writes a file ten times a second, so that no torch is needed to see whether it lives.
PROGRAM = """
import json, sys, threading, time
from pathlib import Path
import tui.app, tui.cli, tui.state.session
from engine.runs.layout import RunDir

class Training:
    error, host, left, begun, stage, fraction, starting = None, None, None, False, "waiting", 0.0, False
    def __init__(self, job, runs_dir, corpora_dir):
        self.run = RunDir(Path("runs/made-up").absolute())
        self.steps, self.told = 100_000, threading.Event()
        self.thread = threading.Thread(target=self.train, name="train-made-up")
    def begin(self):
        self.thread.start()
    @property
    def alive(self):
        return self.thread.is_alive()
    def train(self):
        for step in range(self.steps):
            if self.told.wait(0.02) or Path("enough").exists():
                break
            Path("step.json").write_text(json.dumps(step))
        Path("ended.json").write_text(json.dumps({"told": self.told.is_set(), "cpu": time.process_time()}))
    def stop(self):
        self.told.set()
    def wait(self, seconds):
        self.thread.join(seconds)

shown = tui.app.Workbench.run
def run(self, **how):
    try:
        return shown(self, **how)
    finally:
        Path("left").touch()

tui.app.Workbench.run = run
tui.state.session.Training = Training
if sys.argv[1:]:
    def break_it(self):
        if Path("step.json").exists():
            raise RuntimeError("\\x1b]0;owned\\x07 by a bug")
    tui.app.Workbench._poll = break_it
sys.argv[1:] = ["demo"]
tui.cli.main()
"""


class Child:
    """PROGRAM in a pseudo-terminal of its own. Its training ends when it is told to, or there is `enough`."""

    def __init__(self, folder: Path, *given: object) -> None:
        self.folder, self.seen = folder, bytearray()
        script = folder / "program.py"
        script.write_text(textwrap.dedent(PROGRAM))
        command = [sys.executable, str(script), *map(str, given)]
        env = {**os.environ, "TERM": "xterm-256color", "PYTHONPATH": str(ROOT), "XDG_CONFIG_HOME": str(folder)}
        self.pid, self.fd = on_terminal(command, cwd=folder, env=env, size=struct.pack("HHHH", 30, 100, 0, 0))

    def until(self, test: Callable[[], bool], seconds: float = 60.0, read: bool = True) -> None:
        end = time.monotonic() + seconds
        while not test():
            assert time.monotonic() < end, "it did not happen"
            if read and select.select([self.fd], [], [], 0.02)[0]:
                self.seen += os.read(self.fd, 65536)
            elif not read:
                time.sleep(0.02)

    @property
    def step(self) -> int:
        try:
            return int(json.loads((self.folder / "step.json").read_text()))
        except (OSError, ValueError):
            return -1

    @property
    def state(self) -> str:
        return Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()[0]

    def enough(self) -> None:
        """Training has made its last step."""
        (self.folder / "enough").touch()

    def exit_code(self, seconds: float = 60.0) -> int:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self.pid = 0
                return os.waitstatus_to_exitcode(status)
            time.sleep(0.02)
        raise AssertionError("it did not end")

    def ended(self) -> dict[str, float]:
        found: dict[str, float] = json.loads((self.folder / "ended.json").read_text())
        return found

    def close(self) -> None:
        if self.pid:
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
        try:
            os.close(self.fd)
        except OSError as error:
            assert error.errno == errno.EBADF


@pytest.fixture
def child(tmp_path: Path) -> Iterator[Callable[..., Child]]:
    made: list[Child] = []

    def make(*given: object) -> Child:
        made.append(Child(tmp_path, *given))
        return made[-1]

    yield make
    for each in made:
        each.close()


def test_training_outlives_its_terminal_and_ends_by_itself(child: Callable[..., Child]) -> None:
    program = child()
    program.until(lambda: program.step > 5)
    os.close(program.fd)
    at = program.step
    program.until(lambda: program.step > at + 20, read=False)
    program.enough()
    assert program.exit_code() == 0
    assert program.ended()["told"] is False


def test_no_signal_finds_a_screen_that_has_ended(child: Callable[..., Child]) -> None:
    program = child()
    program.until(lambda: program.step > 5)
    os.kill(program.pid, signal.SIGHUP)
    program.until((program.folder / "left").exists)  # the screen; the terminal is still there
    for number in (signal.SIGCONT, signal.SIGWINCH, signal.SIGHUP):
        os.kill(program.pid, number)
        at = program.step
        program.until(lambda at=at: program.step > at + 5)  # type: ignore[misc]
    os.close(program.fd)  # and with it come one more hang-up, and the kernel's SIGCONT
    at = program.step
    program.until(lambda: program.step > at + 5, read=False)
    program.enough()
    assert program.exit_code() == 0
    assert program.ended()["told"] is False


def test_stopped_and_gone_on_with_the_screen_is_whole(child: Callable[..., Child]) -> None:
    program = child()
    program.until(lambda: b"waiting" in program.seen)
    before = tcgetattr(program.fd)
    os.kill(program.pid, signal.SIGTSTP)
    program.until(lambda: program.state == "T" and b"\x1b[?1049l" in program.seen)
    assert program.seen.count(b"\x1b[?1049h") == program.seen.count(b"\x1b[?1049l") == 1
    assert tcgetattr(program.fd)[3] & ECHO and not before[3] & ECHO
    at = len(program.seen)
    os.kill(program.pid, signal.SIGCONT)
    program.until(lambda: b"waiting" in program.seen[at:] and b"\x1b[?1049h" in program.seen[at:])
    assert not tcgetattr(program.fd)[3] & ECHO
    os.kill(program.pid, signal.SIGTERM)
    assert program.exit_code() == 143


@pytest.mark.parametrize(
    ("number", "code"),
    [(signal.SIGTERM, 143), (signal.SIGINT, 130), (signal.SIGQUIT, 131)],
    ids=["term", "int", "quit"],
)
def test_a_signal_to_end_finishes_training_first(child: Callable[..., Child], number: int, code: int) -> None:
    program = child()
    program.until(lambda: program.step > 5)
    os.kill(program.pid, number)
    assert program.exit_code() == code
    assert program.ended()["told"] is True


def test_a_hung_up_workbench_can_still_be_ended(child: Callable[..., Child]) -> None:
    program = child()
    program.until(lambda: program.step > 5)
    os.close(program.fd)
    at = program.step
    program.until(lambda: program.step > at + 5, read=False)
    os.kill(program.pid, signal.SIGTERM)
    assert program.exit_code() == 143
    assert program.ended()["told"] is True


def test_training_outlives_a_screen_that_broke(child: Callable[..., Child]) -> None:
    program = child("broken")
    program.until(lambda: b"ended by a bug" in program.seen)
    at = program.step
    program.until(lambda: program.step > at + 5)
    program.enough()
    program.until(lambda: b"all of it is in" in program.seen)
    assert program.exit_code() == 1
    assert program.ended()["told"] is False
    said = bytes(program.seen).decode()
    assert "this is a bug: RuntimeError: ␛]0;owned" in said and "\x1b]0;" not in said and "Traceback" not in said
    assert said.rfind("\x1b[?1049h") < said.rfind("\x1b[?1049l")


def test_a_terminal_that_does_not_read_stops_nothing(child: Callable[..., Child]) -> None:
    program = child()
    program.until(lambda: program.step > 5)
    at = program.step
    program.until(lambda: program.step > at + 40, read=False)
    os.kill(program.pid, signal.SIGTERM)  # and it can be ended although nobody reads what it writes
    assert program.exit_code() == 143


def test_the_file_waits_for_a_stalled_terminal_until_it_is_given_up() -> None:
    master, slave = pty.openpty()
    file = TerminalFile(slave)
    text = "x" * 200_000
    file.write(text)
    writing = threading.Thread(target=file.flush, daemon=True)
    writing.start()
    read = 0
    while read < 100_000:
        read += len(os.read(master, 65536))
    assert writing.is_alive()  # the rest waits for the reader
    file.abandon()
    writing.join(60)
    assert not writing.is_alive()
    file.write("more")
    file.flush()
    os.close(master)
    os.close(slave)


def test_the_file_swallows_what_a_dead_terminal_is_told() -> None:
    master, slave = pty.openpty()
    file = TerminalFile(slave)
    assert not hung_up(slave)
    os.close(master)
    assert hung_up(slave)
    for _ in range(3):
        file.write("nobody reads this")
        file.flush()
    os.close(slave)
