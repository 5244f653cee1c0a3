"""A training at a terminal of some kind, that signals and hang-ups are tried at; and whether it ended as it should."""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from tests.faults.conftest import WHOLE
from tests.terminal import Terminal, modes, new_modes

ROOT = Path(__file__).parents[2]
RUN = "r"
TEXT = "the cat sat on the mat, and dog number {} ran away with the spoon.\n"

Status = dict[str, Any]


def until(test: Callable[[], object], seconds: float, what: Callable[[], str]) -> None:
    end = time.monotonic() + seconds
    while not test():
        assert time.monotonic() < end, f"not within {seconds:g} s: {what()}"
        time.sleep(0.005)


# the least work that is in a phase for long enough to be met there, and over soon
PHASES: dict[str, list[str]] = {
    "start": [],
    "loading torch": [],
    "tokenizing": ["data.tokenizer=bpe", "data.val_fraction=0.01"],
    "training": [],
    "evaluating": ["data.val_fraction=0.5", "train.eval_every=20"],
    "sampling": ["train.sample_tokens=300", "train.checkpoint_every=10"],
    "checkpointing": ["train.checkpoint_every=1", "train.sample_tokens=0"],
}
SMALL = [
    *("model.n_layer=1", "model.n_embd=32", "model.n_head=2", "model.block_size=32", "model.embd_window=1"),
    *("train.batch_size=4", "train.eval_every=10000", "train.sample_tokens=5"),
]


class Held:
    """`tinytui train` in a phase, at a terminal of a kind: `leader`, `shell`, or `tmux`; `times` as much to do."""

    def __init__(self, place: Path, phase: str, kind: str = "leader", screen: bool = True, times: int = 1) -> None:
        self.place, self.phase, self.kind, self.screen = place, phase, kind, screen
        place.mkdir(parents=True, exist_ok=True)
        self.run = place / "runs" / RUN
        lines = {"tokenizing": 20_000, "evaluating": 4_000}.get(phase, 1_000) * times
        (place / "t.txt").write_text("".join(TEXT.format(number) for number in range(lines)))
        steps = f"train.max_steps={(600 if phase == 'training' else 40) * times}"
        sets = [f"--set={change}" for change in [*SMALL, *PHASES[phase], steps]]
        words = ["train", "t.txt", "--name", RUN, *sets, *(["--tui"] if screen else [])]
        self.command = [sys.executable, "-m", "tui.cli", *words]
        self.env = {
            "TINYTUI_CACHE": str(place / "cache"),
            "XDG_CONFIG_HOME": str(place / "config"),
            "XDG_DATA_HOME": str(place / "data"),
            "PYTHONPATH": str(ROOT),
            "OMP_NUM_THREADS": "1",
        }
        self.terminal: Terminal | None = None
        self.socket = f"tinytui-faults-{os.getpid()}-{time.monotonic_ns()}"
        if kind == "tmux":
            self._tmux("-f", "/dev/null", "new-session", "-d", "-x", "140", "-y", "40", "-c", str(place), self._told())
        elif kind == "shell":
            self.terminal = Terminal(
                ["bash", "--norc", "--noprofile", "-i"], env={**self.env, "PS1": "ready> "}, cwd=place
            )
            self.terminal.wait("ready>", 20)
            self.terminal.type("\x15" + self._told() + "\r")
        elif WHOLE or phase in ("start", "loading torch"):
            self.terminal = Terminal(self._wrapped(), env=self.env, cwd=place)
        else:  # how it starts is not what is tried
            self.terminal = Terminal(self.command, env=self.env, cwd=place, forked=True)
            (place / "pid").write_text(str(self.terminal.pid))
        until(lambda: self._moved() or self.pid, 30, lambda: "a process id")
        self.pid = int((place / "pid").read_text())

    # -- how it is begun -----------------------------------------------------------------------------------------------

    def _wrapped(self) -> list[str]:
        return ["sh", "-c", 'echo $$ > pid.new; mv pid.new pid; exec "$@"', "sh", *self.command]

    def _told(self) -> str:
        given = " ".join(f"{name}={shlex.quote(value)}" for name, value in self.env.items())
        return f"env {given} {shlex.join(self._wrapped())}"

    def _tmux(self, *words: str) -> None:
        clean = {name: value for name, value in os.environ.items() if name not in ("TMUX", "NO_COLOR")}
        subprocess.run(["tmux", "-L", self.socket, *words], env=clean, check=True, timeout=20, capture_output=True)

    def __enter__(self) -> Held:
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(ProcessLookupError, AttributeError):
            if not self.ended:
                os.kill(self.pid, signal.SIGKILL)
                os.kill(self.pid, signal.SIGCONT)
        if self.kind == "tmux":
            with contextlib.suppress(subprocess.SubprocessError):
                self.stall(False)
                self._tmux("kill-server")
        if self.terminal is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.terminal.pid, signal.SIGKILL)
            self.terminal.end()

    # -- how it is -----------------------------------------------------------------------------------------------------

    @property
    def status(self) -> Status:
        try:
            said: Status = json.loads((self.run / "status.json").read_text())
        except (OSError, ValueError):
            return {}
        return said

    def _proc(self, name: str) -> str:
        try:
            return Path(f"/proc/{self.pid}/{name}").read_text()
        except OSError:
            return ""

    @property
    def ended(self) -> bool:
        if self.kind == "leader" and self.terminal is not None and self.terminal.exit_code is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self.terminal.exit_code = os.waitstatus_to_exitcode(status)
        stat = self._proc("stat")
        return not stat or stat.rpartition(")")[2].split()[0] == "Z"

    @property
    def asleep(self) -> bool:
        return self._proc("stat").rpartition(")")[2].split()[:1] == ["T"]

    @property
    def handles_hangups(self) -> bool:
        caught = [line.split()[1] for line in self._proc("status").splitlines() if line.startswith("SigCgt")]
        return bool(caught) and bool(int(caught[0], 16) & 1)

    def in_phase(self) -> bool:
        if self.phase == "start":
            return self.handles_hangups
        if self.phase == "tokenizing":
            return (self.place / "cache").exists() and not self.run.exists()
        said = self.status
        return said.get("phase") == self.phase and (self.phase != "training" or said.get("step", 0) > 20)

    def wait_phase(self) -> bool:
        """Until it is in its phase; False when it has ended, and was not seen there."""
        self._until(lambda: self.in_phase() or self.ended, 60, f"phase {self.phase}")
        return not self.ended

    def wait_sleep(self) -> None:
        """Until it sleeps. Where nobody could wake it the kernel lets a plain command go on; tmux wakes sleepers."""
        lone = self.kind == "tmux" or (self.kind == "leader" and (not self.screen or self.phase == "start"))
        self._until(lambda: self.asleep or self.ended or lone, 30, "asleep")

    def wake(self) -> None:
        """As whoever put it to sleep would."""
        if self.kind == "shell" and self.terminal is not None and self.terminal.open and not self.stalled:
            raw = self.terminal.raw
            self._until(lambda: b"ready>" in raw[raw.rfind(b"Stopped") :], 20, "a shell")
            self.terminal.type("fg\r")
        else:
            self.send(signal.SIGCONT)

    def _until(self, test: Callable[[], object], seconds: float, what: str) -> None:
        until(lambda: self._moved() or test(), seconds, lambda: f"{what}; it is {self.status} and said {self.said()}")

    pid = 0
    stalled = False

    def _moved(self) -> bool:
        """The terminal reads, unless it is stalled; always False."""
        if self.terminal is not None and self.terminal.open and not self.stalled:
            self.terminal.pump(0.01)
        if not self.pid and (self.place / "pid").exists():
            self.pid = int((self.place / "pid").read_text())
        return False

    def said(self) -> str:
        return bytes(self.terminal.raw[-1500:]).decode("utf-8", "replace") if self.terminal is not None else ""

    # -- what is done to it --------------------------------------------------------------------------------------------

    def stall(self, on: bool) -> None:
        """The terminal stops reading, or goes on."""
        self.stalled = on
        if self.kind == "tmux":
            found = subprocess.run(["pgrep", "-f", f"tmux -L {self.socket}"], capture_output=True, text=True).stdout
            for pid in found.split():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(int(pid), signal.SIGSTOP if on else signal.SIGCONT)

    def close(self) -> None:
        """The terminal goes, as with a dropped connection."""
        if self.kind == "tmux":
            with contextlib.suppress(subprocess.CalledProcessError):  # it went with its last program
                self._tmux("kill-server")
        elif self.terminal is not None and self.terminal.open:
            self.terminal.hang_up()

    def send(self, number: int) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, number)

    def rest(self, seconds: float) -> None:
        """Time goes by, and the terminal reads."""
        end = time.monotonic() + seconds
        while time.monotonic() < end and not (self.ended or self.asleep):
            self._moved()
            time.sleep(0.01)

    # -- how it ended --------------------------------------------------------------------------------------------------

    def wait_end(self, seconds: float = 90.0) -> None:
        """Until it has ended; a workbench that nobody asked to is told once its training has."""

        def over() -> bool:
            if self.asleep and self.kind != "shell":  # the first SIGCONT came before it had stopped
                self.send(signal.SIGCONT)
            return self.ended or self.status.get("state") in ("finished", "stopped", "failed", "crashed")

        self._until(over, seconds, "the end of training")
        if self.screen:
            self.send(signal.SIGTERM)
        self._until(lambda: self.ended, seconds, "its end")
        if self.terminal is not None and self.terminal.open:
            self.terminal.pump(0.2)

    def verify(self, finishes: bool) -> None:
        """Training finished (with `finishes` it must have) or stands at a checkpoint, and the status says which.

        What was asked to end before its run was made has made none, or one that is new.
        """
        from engine.runs.layout import RunDir
        from engine.runs.status import read_status
        from engine.training.checkpoint import newest_good

        assert b"Traceback" not in (self.terminal.raw if self.terminal is not None else b""), self.said()
        raw, run = self.status, RunDir(self.run)
        if not raw:
            early = self.phase in ("start", "tokenizing", "loading torch")
            assert early and not finishes, f"nothing was trained: {self.said()}"
            assert not run.exists or read_status(run)["state"] == "new"
            return
        assert read_status(run)["state"] == raw["state"], f"{raw} is not true: {read_status(run)}"
        assert raw["state"] in (("finished",) if finishes else ("finished", "stopped")), (raw, self.said())
        newest, problems = newest_good(run)
        assert not problems, problems
        if (
            raw["state"] == "finished"
            or self.phase not in ("start", "loading torch", "tokenizing")
            or newest is not None
        ):
            assert newest is not None and newest.step == raw.get("step", 0), (raw, newest and newest.step)
        assert raw["state"] != "finished" or raw["step"] == raw["steps"], raw

    def verify_terminal(self) -> None:
        """A terminal that is still there is as it was before: its modes, its screen, its cursor."""
        if self.terminal is None or not self.terminal.open or self.stalled or self.kind != "leader":
            return
        assert modes(self.terminal.fd) == new_modes(), "the terminal's modes are others"
        raw = bytes(self.terminal.raw)
        assert raw.count(b"\x1b[?1049h") <= raw.count(b"\x1b[?1049l"), "the other screen was not left"
        assert raw.rfind(b"\x1b[?25l") <= raw.rfind(b"\x1b[?25h"), "the cursor is hidden"
        assert raw.rfind(b"\x1b[?1000h") <= raw.rfind(b"\x1b[?1000l"), "the mouse is still reported"


@contextlib.contextmanager
def held(place: Path, phase: str, kind: str = "leader", screen: bool = True) -> Iterator[Held]:
    """A training that has come to `phase`; one that was over before it was looked at is begun again with more to do."""
    for times in (1, 4, 16, 64):
        with Held(place / str(times), phase, kind, screen, times) as session:
            if session.wait_phase():
                yield session
                return
            said = session.said()
    raise AssertionError(f"ended before its phase: {said}")
