"""A terminal that goes while a training is being begun: the training begins all the same, and ends by itself."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]

# Each place of the way in a process of its own, forked from one that has imported all; the terminal's other end is in
# there too, so that it goes at that place and nowhere else. The "training" is a file, so that no torch is needed.
PROGRAM = """
import errno, fcntl, importlib, os, pty, sys, termios, traceback
from pathlib import Path
import tui.app, tui.cli, tui.cli.app, tui.cli.output, tui.cli.train, tui.cli.workbench, tui.state.session
import engine.config, engine.runs.layout, textual.drivers.linux_driver, tui.screens.train.screen
from tui.terminal.signals import PROCESS

class Training:
    run = host = left = None
    begun = False
    error = "made up"
    stage, fraction, starting, alive = "", 0.0, False, False
    def __init__(self, job, runs_dir, corpora_dir):
        self.job = job
    def begin(self):
        Path(place).write_text("begun")
    def stop(self):
        pass
    def wait(self, seconds):
        pass

tui.state.session.Training = Training

def terminal(controlling):
    os.setsid()
    master, slave = pty.openpty()
    if controlling:
        fcntl.ioctl(slave, termios.TIOCSCTTY, 0)
    for fd in (0, 1, 2):
        os.dup2(slave, fd)
    os.close(slave)
    sys.stdin, sys.stdout, sys.stderr = (open(fd, mode, closefd=False) for fd, mode in enumerate("rww"))
    return master

def goes_after(name, master, way):
    module, _, attribute = name.rpartition(".")
    owner = importlib.import_module(module) if ":" not in module else getattr(
        importlib.import_module(module.partition(":")[0]), module.partition(":")[2])
    plain, gone = getattr(owner, attribute), []
    def call(*args, **kwargs):
        result = plain(*args, **kwargs)
        if gone:
            return result
        gone.append(True)
        os.close(master)
        if way == "with an error":
            raise OSError(errno.EIO, "as of a screen that is taken apart")
        return result
    setattr(owner, attribute, call)

def train(name, way):
    goes_after(name, terminal(way == "with a signal"), way)
    sys.argv = ["tinytui", "train", "t.txt", "--tui"]
    tui.cli.main()

def speak(name, way):
    master = terminal(way == "with a signal")
    PROCESS.install()
    os.close(master)
    tui.cli.output.say("x" * 100_000)
    tui.cli.output.complain("x")
    tui.cli.output.say("x")
    sys.stdout.flush()
    assert PROCESS.hung_up
    os._exit(0)

begun = {}
for place in sys.argv[1:]:
    name, _, way = place.partition(" ")
    pid = os.fork()
    if pid:
        begun[pid] = place
    else:
        try:
            (speak if name == "speak" else train)(name, way)
        except SystemExit as end:
            os._exit(end.code or 0)
        except BaseException:
            Path(place).write_text(traceback.format_exc())
        finally:
            os._exit(70)
while begun:
    pid, status = os.wait()
    print(begun.pop(pid), os.waitstatus_to_exitcode(status), sep=": ", flush=True)
"""
PLACES = (
    "tui.cli.train.gather with a signal",
    "tui.app:Workbench.__init__ with a signal",
    "tui.app:Workbench.compose with a signal",
    "tui.cli.train.has_screen without a word",
    "tui.app:Workbench.__init__ without a word",
    "tui.app:Workbench._first_place with an error",
    "tui.app:Workbench._poll with an error",
)


def test_a_terminal_that_goes_while_a_training_is_begun_costs_it_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HOME", "XDG_CONFIG_HOME", "TINYTUI_CACHE", "TINYTUI_CORPORA"):
        monkeypatch.setenv(name, str(tmp_path / "home"))
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    (tmp_path / "t.txt").write_text("the cat sat on the mat.\n")
    command = [sys.executable, "-c", PROGRAM, *PLACES, "speak with a signal", "speak without a word"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60)
    codes = dict(line.split(": ") for line in done.stdout.splitlines())
    begun = {place: (tmp_path / place).read_text() if (tmp_path / place).exists() else "" for place in PLACES}
    assert begun == dict.fromkeys(PLACES, "begun"), (begun, codes, done.stderr)
    assert set(codes.values()) == {"0"}, codes
