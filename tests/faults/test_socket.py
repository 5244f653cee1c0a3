"""Abuse of the control socket: whatever comes in there, training goes on and who asks properly is answered."""

from __future__ import annotations

import contextlib
import json
import os
import random
import resource
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from subprocess import PIPE
from typing import Any

import psutil
import pytest

from engine.control import ControlClient
from engine.control.protocol import COMMANDS, MAX_LINE
from engine.errors import RunError
from engine.runs.layout import RunDir
from engine.runs.status import read_status
from tests.forked import Forked

from .conftest import Campaign
from .tiny import start

ROOT = Path(__file__).parents[2]
WAIT = 60.0
MEMORY = 100 << 20
"""Bytes a trainer may grow by, whatever is sent to it: 32 clients of 1 MiB each way, and what the allocator keeps."""


@dataclass(frozen=True)
class Target:
    """A run in training in a process of its own."""

    run: RunDir
    process: subprocess.Popen[bytes]

    @property
    def step(self) -> int:
        return int(read_status(self.run).get("step") or 0)

    def connect(self) -> socket.socket:
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        connection.settimeout(WAIT)
        path = json.loads(self.run.lock.read_text())["socket"]
        deadline = time.monotonic() + WAIT
        while connection.connect_ex(path) and time.monotonic() < deadline:
            time.sleep(0.001)  # the kernel keeps only so many that come at once
        return connection

    def answers_properly(self) -> None:
        """It lives, it answers who asks properly, and it is still at its steps."""
        assert self.process.poll() is None, "the trainer has ended"
        assert ControlClient(self.run, timeout=WAIT).send("ping")["pid"] == self.process.pid
        status = read_status(self.run)
        assert status["state"] == "running", status
        before = self.step
        until(lambda: self.step > before, "no step was made")

    def memory(self) -> int:
        return int(psutil.Process(self.process.pid).memory_info().rss)


def until(true: Callable[[], bool], otherwise: str) -> None:
    deadline = time.monotonic() + WAIT
    while not true():
        assert time.monotonic() < deadline, otherwise
        time.sleep(0.01)


@pytest.fixture(scope="module")
def target() -> Iterator[Target]:
    with pytest.MonkeyPatch.context() as patch, tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)  # another user may look
        patch.setenv("TINYTUI_CACHE", str(folder / "cache"))
        endless = ("train.max_steps=900000", "train.eval_every=900000", "train.checkpoint_every=900000")
        run = start(folder, "asked", *endless, "train.schedule=constant", "train.warmup_steps=0")
        log = (folder / "out.txt").open("wb")
        command = [sys.executable, "-m", "tui.cli", "train", "--resume", str(run.path)]
        env = {**os.environ, "PYTHONPATH": str(ROOT)}
        process = Forked(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=env)
        found = Target(run, process)
        try:
            until(lambda: process.poll() is not None or found.step > 0, "it does not begin")
            found.answers_properly()
            yield found
            ControlClient(run).send("stop")
            assert process.wait(WAIT) == 0
            assert read_status(run)["state"] == "stopped"
            said = (folder / "out.txt").read_text()
            assert "Traceback" not in said and "this is a bug" not in said, said[-2000:]
        finally:
            process.kill()
            process.wait()
            log.close()


def replies(connection: socket.socket) -> list[dict[str, Any]]:
    """Everything the trainer says until it hangs up."""
    received = b""
    with contextlib.suppress(ConnectionResetError):
        while data := connection.recv(1 << 16):
            received += data
    return [json.loads(line) for line in received.splitlines()]


def exchange(target: Target, data: bytes) -> list[dict[str, Any]]:
    """What is answered to `data` and nothing after it."""
    with target.connect() as connection:
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            connection.sendall(data)
            connection.shutdown(socket.SHUT_WR)
        return replies(connection)


def check_errors(answers: list[dict[str, Any]]) -> None:
    for answer in answers:
        assert set(answer) == {"error"}, answer
        assert "\n" not in answer["error"] and len(answer["error"]) < 2100, answer
        assert "Error" not in answer["error"], answer  # a name of Python's


def garbage(draw: random.Random) -> bytes:
    """Bytes, half JSON, or JSON that is no command."""
    return draw.choice(
        [
            lambda: draw.randbytes(draw.randrange(1, 5000)).replace(b"\n", b""),
            lambda: draw.choice([b"{", b"[", b'{"do":', b'"', b"\\"]) * draw.randrange(1, 100_000),
            lambda: json.dumps(draw.choice([None, 1, "x", [], [[]], {}, {"do": None}, {"Do": "stop"}])).encode(),
            lambda: json.dumps({"do": draw.choice(COMMANDS)}).encode()[: -draw.randrange(1, 9)],
            lambda: b'{"do":"stop"}' + b"\0",
            lambda: json.dumps({"do": "".join(draw.choices("stopau\u202e\ud800\x1b", k=6))}).encode(),
        ]
    )()


def test_garbage(target: Target, campaign: Callable[..., Campaign]) -> None:
    promise = campaign("bytes that are no command are answered in one line, and training goes on", quick=60, whole=1000)
    for number in promise:
        draw = random.Random(f"garbage {number}")
        data = garbage(draw)
        with promise.trial(f"try {number}: {data[:40]!r}"):
            answers = exchange(target, data + b"\n")
            assert answers
            check_errors(answers)
            if number % 20 == 0:
                target.answers_properly()


FIELDS = (
    ("stop", "checkpoint", ("x", 1, None, [], {})),
    ("learning_rate", "value", ("x", None, True, [], {}, 0, -1, "1e-3", 10**400, float("nan"), float("inf"), -0.0)),
    ("prompt", "prompt", (1, None, True, [], {}, 1.5)),
    ("prompt", "alternatives", ("x", None, True, [], {}, -3, 1.5, 10**400, float("nan"))),
    ("prompt", "top", ("x", None, True, [], {}, -3, 1.5, 1025, 10**400)),
    ("prompt", "forced", ("x", None, True, 1, {}, [-1], [1.5], ["a"], [None], [10**400], [10**9])),
    ("prompt", "settings", ("x", None, True, [], 1, {"temperature": {}}, {"stop": [[]]}, {"nonsense": 1})),
    *(
        ("prompt", f"settings.{name}", ("x", None, True, [], {}, -1, 10**400, float("nan"), float("inf"), [[1]]))
        for name in ("temperature", "top_k", "top_p", "min_p", "repetition_penalty", "max_tokens")
    ),
    ("prompt", "settings.seed", ("x", True, [], {}, -1, 10**400, 1.5)),
    ("prompt", "settings.stop", ("x", None, True, 1, {}, [1], [""], [None])),
    ("prompt", "settings.stop_ids", ("x", None, 1, {}, ["x"], [-1], [None], [1.5])),
    *(("do", "", (value,)) for value in (None, 1, True, [], {}, "x", "PAUSE", "pause ")),
)
WRONG = [(do, field, value) for do, field, values in FIELDS for value in values]


def test_a_value_of_another_type(target: Target, campaign: Callable[..., Campaign]) -> None:
    promise = campaign(
        "a wrong value for any field of any command is refused in one line, and changes nothing",
        quick=len(WRONG),
        whole=len(WRONG),
    )
    rate = read_status(target.run)["learning_rate"]
    events = len(target.run.events.read_text().splitlines())
    for number in promise:
        do, field, value = WRONG[number]
        name, _, setting = field.partition(".")
        given = {setting: value} if setting else value
        command: dict[str, Any] = {"do": value} if do == "do" else {"do": do, name: given}
        if do == "prompt":
            command.setdefault("prompt", "a cat")
        with promise.trial(f"{do} {field} = {value!r:.40}"):
            answers = exchange(target, json.dumps(command).encode() + b"\n")
            assert len(answers) == 1
            check_errors(answers)
    target.answers_properly()
    assert read_status(target.run)["learning_rate"] == rate
    assert len(target.run.events.read_text().splitlines()) == events


def test_a_line_without_end(target: Target, campaign: Callable[..., Campaign]) -> None:
    promise = campaign("100 MB without a newline are cut off at 1 MiB, in bounded memory", quick=1, whole=10)
    for number in promise:
        with promise.trial(f"try {number}"):
            before, sent = target.memory(), 0
            with target.connect() as connection:
                with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                    while sent < 100_000_000:
                        connection.sendall(b"x" * (1 << 16))
                        sent += 1 << 16
                check_errors(replies(connection))
            assert sent < 10 * MAX_LINE
            assert target.memory() - before < MEMORY
            target.answers_properly()


def trickle(connections: list[socket.socket], stop: threading.Event) -> None:
    """Half of them send a byte now and then, of a line that never ends."""
    while not stop.wait(0.05):
        for connection in connections[::2]:
            with contextlib.suppress(OSError):
                connection.send(b"x")


def test_a_thousand_connections(target: Target, campaign: Callable[..., Campaign]) -> None:
    promise = campaign(
        "1,000 connections that say nothing, or a byte at a time, keep nobody else out, in bounded memory",
        quick=1,
        whole=5,
    )
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    count = 1000 if hard == resource.RLIM_INFINITY or hard >= 1200 else hard - 200
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, count + 200), hard))
    try:
        for number in promise:
            with promise.trial(f"try {number}"), contextlib.ExitStack() as stack:
                before = target.memory()
                open_ones = [stack.enter_context(target.connect()) for _ in range(count)]
                done = threading.Event()
                sender = threading.Thread(target=trickle, args=(open_ones, done))
                sender.start()
                try:
                    for _ in range(5):
                        target.answers_properly()
                    assert target.memory() - before < MEMORY
                finally:
                    done.set()
                    sender.join()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    target.answers_properly()


def ask(run: RunDir, ended: list[str]) -> None:
    try:
        answers = list(ControlClient(run, timeout=WAIT).prompt("a cat", {"max_tokens": 4, "seed": 1}))
        ended.append(str(answers[-1]["done"]["text"]))
    except RunError as error:
        ended.append(f"error: {error}")


def test_fifty_prompts_at_once(target: Target, campaign: Callable[..., Campaign]) -> None:
    promise = campaign(
        "50 prompts at once are each answered or refused in one line, while training goes on", quick=1, whole=10
    )
    for number in promise:
        with promise.trial(f"try {number}"):
            before, ended = target.memory(), list[str]()
            threads = [threading.Thread(target=ask, args=(target.run, ended)) for _ in range(50)]
            for thread in threads:
                thread.start()
            target.answers_properly()
            for thread in threads:
                thread.join(3 * WAIT)
            assert len(ended) == 50
            refused = [said for said in ended if said.startswith("error: ")]
            assert len(refused) < 50 and all("\n" not in said for said in refused)
            assert target.memory() - before < MEMORY
            target.answers_properly()


AS_ANOTHER = """
import json, os, sys
from typer.testing import CliRunner
from tui.cli.app import make_app
import encodings.ascii, pwd
import engine.control, engine.training.start, tui.cli.live, tui.cli.writing
for command in (["runs", "show"], ["runs", "verify"]):  # all that is loaded late; others may not read this Python
    assert CliRunner().invoke(make_app(), [*command, sys.argv[1]]).exit_code == 0
os.setgroups([]); os.setgid(65534); os.setuid(65534)
for line in sys.argv[2:]:
    result = CliRunner().invoke(make_app(), json.loads(line))
    print(json.dumps([result.exit_code, result.stderr]))
"""
OTHERS = (
    (("runs", "stop", "RUN"), 1, "is trained by another user; ask them"),
    (("runs", "pause", "RUN"), 1, "is trained by another user; ask them"),
    (("runs", "set-lr", "RUN", "1e-9"), 1, "is trained by another user; ask them"),
    (("sample", "RUN", "--checkpoint", "live"), 1, "is trained by another user; ask them"),
    (("train", "--resume", "RUN"), 1, "is being trained by process"),
    (("runs", "rm", "RUN", "--yes"), 1, "is being trained"),
    (("runs", "show", "RUN"), 0, ""),
    (("runs", "verify", "RUN"), 0, ""),
)


@pytest.mark.skipif(os.getuid() != 0, reason="only root can become another user")
def test_another_user(target: Target, campaign: Callable[..., Campaign]) -> None:
    promise = campaign(
        "another user can look at a run whose files may be read, and can neither command, prompt nor harm it",
        quick=len(OTHERS),
        whole=len(OTHERS),
    )
    path = str(target.run.path)
    commands = [[path if word == "RUN" else word for word in command] for command, _, _ in OTHERS]
    env = {**os.environ, "PYTHONPATH": str(ROOT), "HOME": "/nowhere", "TINYTUI_CACHE": "/nowhere"}
    command = [sys.executable, "-c", AS_ANOTHER, path, *map(json.dumps, commands)]
    with Forked(command, stdout=PIPE, stderr=PIPE, text=True, env=env, cwd="/") as other:
        told, problem = other.communicate(timeout=2 * WAIT)
    results = [json.loads(line) for line in told.splitlines() if line.startswith("[")]
    assert len(results) == len(OTHERS), told + problem[-2000:]
    for number in promise:
        (_, code, words), (ended, said) = OTHERS[number], results[number]
        with promise.trial(" ".join(OTHERS[number][0])):
            assert ended == code and words in said and "this is a bug" not in said, said
            assert len(said.splitlines()) == (1 if code else 0), said
    target.answers_properly()
