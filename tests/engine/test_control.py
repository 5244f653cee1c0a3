from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from engine.control import CommandQueue, ControlClient, ControlServer
from engine.control import client as client_module
from engine.control import server as server_module
from engine.control.protocol import MAX_LINE, MAX_PATH, check_command, socket_path
from engine.control.server import MAX_QUEUED
from engine.errors import RunError, UserError
from engine.machine import is_suspended
from engine.preset_files import load_preset
from engine.runs.layout import RunDir, create_run
from engine.runs.writer import RunWriter

Cancelled = Callable[[], bool]
WAIT = 60.0


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[RunDir]:
    with tempfile.TemporaryDirectory(dir="/tmp") as runtime:
        monkeypatch.setenv("XDG_RUNTIME_DIR", runtime)
        yield create_run(tmp_path, "soap-1", load_preset("nano"), corpus={"name": "soap"}, environment={})


class Trainer:
    """What a host is to its clients: the lock, the queue, and something to answer prompts."""

    def __init__(self) -> None:
        self.queue = CommandQueue()
        self.cancelled = threading.Event()
        self.begun = threading.Event()

    def answer(self, request: dict[str, Any], cancelled: Cancelled) -> Iterator[dict[str, Any]]:
        self.begun.set()
        text = request["prompt"]
        if text == "unknown":
            raise UserError("'€' is not in the vocabulary; leave it out")
        if text == "bug":
            raise KeyError("x")
        if text == "broken off":
            return
        if text == "endless":
            try:
                while not cancelled():
                    yield {"piece": {"text": "x" * 1000}}
                    time.sleep(0.001)
            finally:
                self.cancelled.set()
            return
        if text == "silent":
            while not cancelled():
                time.sleep(0.005)
            self.cancelled.set()
            return
        for character in text:
            yield {"piece": {"text": character}}
        yield {"done": {"text": text, **request["settings"]}}


@pytest.fixture
def trainer(run: RunDir) -> Iterator[Trainer]:
    made = Trainer()
    with RunWriter(run) as writer, ControlServer(run, made.queue, made.answer) as server:
        writer.serve_at(server.path)
        yield made


def raw(run: RunDir) -> socket.socket:
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    connection.settimeout(WAIT)
    connection.connect(json.loads(run.lock.read_text())["socket"])
    return connection


def reply(connection: socket.socket) -> list[dict[str, Any]]:
    """Everything until the server hangs up."""
    received = b""
    with contextlib.suppress(ConnectionResetError):
        while data := connection.recv(1 << 16):
            received += data
    return [json.loads(line) for line in received.splitlines()]


def test_commands_reach_the_trainer_in_order(run: RunDir, trainer: Trainer) -> None:
    client = ControlClient(run)
    assert client.send("ping") == {"ok": True, "run": "soap-1", "pid": os.getpid()}
    for do in ("pause", "resume", "checkpoint", "sample"):
        assert client.send(do) == {"ok": True}
    client.send("learning_rate", value=3e-4)
    client.send("stop", checkpoint=False)
    assert trainer.queue.drain() == [
        {"do": "pause"},
        {"do": "resume"},
        {"do": "checkpoint"},
        {"do": "sample"},
        {"do": "learning_rate", "value": 3e-4},
        {"do": "stop", "checkpoint": False},
    ]
    assert trainer.queue.drain() == []


@pytest.mark.parametrize(
    ("command", "complaint"),
    [
        ({"do": "explode"}, "no command 'explode'; there are pause"),
        ({}, "no command None"),
        ({"do": ["pause"]}, "no command"),
        ([], "not list"),
        ({"do": "learning_rate"}, "learning_rate: value is missing"),
        ({"do": "learning_rate", "value": 0}, "learning_rate: value must be above 0, not 0"),
        ({"do": "learning_rate", "value": -1e-3}, "value must be above 0, not -0.001"),
        ({"do": "learning_rate", "value": float("nan")}, "value must be a number, not nan"),
        ({"do": "learning_rate", "value": float("inf")}, "value must be a number, not inf"),
        ({"do": "learning_rate", "value": 10**400}, "value must be a number, not 1000"),
        ({"do": "learning_rate", "value": 1e300}, "value must be at most 10, not 1e"),
        ({"do": "learning_rate", "value": 10.000001}, "value must be at most 10, not 10.000001"),
        ({"do": "learning_rate", "value": True}, "value must be a number, not True"),
        ({"do": "learning_rate", "value": "1e-3"}, "value must be a number, not '1e-3'"),
        ({"do": "prompt"}, "prompt: prompt is missing"),
        ({"do": "prompt", "prompt": 3}, "prompt: prompt must be text, not 3"),
        ({"do": "prompt", "prompt": "x", "settings": []}, r"settings must be an object, not \[\]"),
        (
            {"do": "prompt", "prompt": "x", "settings": {"stop": [["x"]]}},
            r"settings must be values or lists of them, not \[\['x'\]\] for 'stop'",
        ),
        ({"do": "prompt", "prompt": "x", "alternatives": "x"}, "alternatives must be a whole number, not 'x'"),
        ({"do": "prompt", "prompt": "x", "alternatives": None}, "alternatives must be a whole number, not None"),
        ({"do": "prompt", "prompt": "x", "alternatives": -3}, "alternatives must be at least 0, not -3"),
        ({"do": "prompt", "prompt": "x", "alternatives": 1001}, "alternatives must be at most 1,000, not 1001"),
        ({"do": "prompt", "prompt": "x", "top": 1025}, "top must be at most 1,024, not 1025"),
        ({"do": "prompt", "prompt": "x", "forced": "abc"}, "forced must be a list, not 'abc'"),
        ({"do": "prompt", "prompt": "x", "forced": [3, -1]}, "forced.1 must be at least 0, not -1"),
        ({"do": "stop", "checkpoint": 1}, "stop: checkpoint must be true or false, not 1"),
    ],
)
def test_a_command_that_cannot_be_is_never_queued(run: RunDir, trainer: Trainer, command: Any, complaint: str) -> None:
    with pytest.raises(RunError, match=complaint):
        check_command(command)
    with pytest.raises(RunError):
        trainer.queue.put(command)
    with raw(run) as connection:
        connection.sendall(json.dumps(command).encode() + b"\n")
        connection.shutdown(socket.SHUT_WR)
        (answer,) = reply(connection)
    assert re.search(complaint, answer["error"]) and "\n" not in answer["error"]
    assert trainer.queue.drain() == []


def test_a_paused_trainer_is_woken_by_a_command() -> None:
    queue = CommandQueue()
    assert not queue.wait(0.001)
    thread = threading.Timer(0.02, queue.put, [{"do": "resume"}])
    thread.start()
    assert queue.wait(WAIT)
    assert queue.wait(0)
    assert queue.drain() == [{"do": "resume"}]
    thread.join()


def test_a_flood_of_commands_is_bounded_and_stop_still_gets_through() -> None:
    queue = CommandQueue()
    for _ in range(MAX_QUEUED):
        queue.put({"do": "sample"})
    with pytest.raises(RunError, match="wait already"):
        queue.put({"do": "sample"})
    queue.put({"do": "stop"})
    assert len(queue.drain()) == MAX_QUEUED + 1


def test_a_prompt_is_answered_piece_by_piece(run: RunDir, trainer: Trainer) -> None:
    answers = list(ControlClient(run).prompt("héy", {"temperature": 0.5}))
    assert answers[:-1] == [{"piece": {"text": character}} for character in "héy"]
    assert answers[-1] == {"done": {"text": "héy", "temperature": 0.5}}


def test_a_prompt_that_fails_fails_in_one_line(run: RunDir, trainer: Trainer) -> None:
    client = ControlClient(run)
    for prompt, complaint in (
        ("unknown", "not in the vocabulary"),
        ("bug", "could not answer: KeyError"),
        ("broken off", "broke the answer off"),
        ("x" * MAX_LINE, "at most"),
    ):
        with pytest.raises(RunError, match=complaint) as caught:
            list(client.prompt(prompt))
        assert "\n" not in str(caught.value)
    assert list(client.prompt("ok"))[-1] == {"done": {"text": "ok"}}


@pytest.mark.parametrize("prompt", ["endless", "silent"])
def test_cancelling_ends_the_prompt_on_both_sides(run: RunDir, trainer: Trainer, prompt: str) -> None:
    client = ControlClient(run)
    ended = threading.Event()

    def ask() -> None:
        for _ in client.prompt(prompt):
            pass
        ended.set()

    thread = threading.Thread(target=ask)
    thread.start()
    assert trainer.begun.wait(WAIT)
    client.cancel()
    assert trainer.cancelled.wait(WAIT)
    assert ended.wait(WAIT)
    thread.join()


def test_hanging_up_cancels(run: RunDir, trainer: Trainer) -> None:
    pieces = ControlClient(run).prompt("endless")
    next(pieces)
    pieces.close()  # type: ignore[attr-defined]
    assert trainer.cancelled.wait(WAIT)


def test_a_client_that_never_reads_is_dropped_and_stalls_nobody(run: RunDir, trainer: Trainer) -> None:
    with raw(run) as deaf, raw(run) as dumb:
        deaf.sendall(b'{"do":"prompt","prompt":"endless"}\n')
        dumb.sendall(b'{"do":"pau')
        client = ControlClient(run)
        assert client.send("checkpoint") == {"ok": True}
        assert list(client.prompt("ok"))[-1] == {"done": {"text": "ok"}}
        assert trainer.cancelled.wait(WAIT)
    assert trainer.queue.drain() == [{"do": "checkpoint"}]


def test_a_stalled_client_cannot_hold_up_the_end(run: RunDir) -> None:
    trainer = Trainer()
    with RunWriter(run) as writer:
        server = ControlServer(run, trainer.queue, trainer.answer)
        writer.serve_at(server.start())
        with raw(run) as deaf, raw(run) as idle:
            deaf.sendall(b'{"do":"prompt","prompt":"silent"}\n')
            assert trainer.begun.wait(WAIT)
            idle.sendall(b'{"do":"ping"}\n')
            assert idle.recv(1000)
            server.stop(WAIT)
            assert trainer.cancelled.wait(WAIT)
            assert reply(idle) == []
        assert not Path(server.path).exists()
        server.stop()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("control")]


@pytest.mark.parametrize(
    "junk",
    [
        b"hello\n",
        b"\x00\xff\xfe\n",
        b"[" * 200_000 + b"\n",
        b"x" * (MAX_LINE + 70_000),
        b'{"do": "pause"\n',
        b"1" * 9999 + b"\n",
    ],
    ids=["text", "bytes", "deep", "long", "cut", "number"],
)
def test_junk_is_answered_with_an_error_and_hung_up_on(run: RunDir, trainer: Trainer, junk: bytes) -> None:
    with raw(run) as connection:
        with contextlib.suppress(BrokenPipeError):
            connection.sendall(junk)
        (answer,) = reply(connection)
    assert "error" in answer
    assert ControlClient(run).send("ping")["ok"]
    assert trainer.queue.drain() == []


def test_many_requests_on_one_connection_and_clients_beyond_the_bound(
    run: RunDir, trainer: Trainer, monkeypatch: pytest.MonkeyPatch
) -> None:
    with raw(run) as connection:
        connection.sendall(b'{"do":"pause"}\n{"do":"explode"}\n{"do":"resume"}\n')
        connection.shutdown(socket.SHUT_WR)
        assert [next(iter(answer)) for answer in reply(connection)] == ["ok", "error", "ok"]
    monkeypatch.setattr(server_module, "MAX_CLIENTS", 0)
    monkeypatch.setattr(server_module, "ROOM", 0.0)
    with pytest.raises(RunError, match="serves 0 clients already"):
        ControlClient(run).send("ping")


def test_silent_clients_keep_nobody_out(run: RunDir, trainer: Trainer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server_module, "MAX_CLIENTS", 3)
    client = ControlClient(run)
    with raw(run) as first, raw(run) as second:
        second.sendall(b'{"do":"pau')
        pieces = client.prompt("endless")
        next(pieces)  # one is being answered, and is never the one that goes
        for _ in range(4):
            assert client.send("ping")["ok"]
        assert reply(first) == []
        assert client.send("ping")["ok"] and next(pieces)
        pieces.close()  # type: ignore[attr-defined]


def test_clients_that_have_hung_up_keep_nobody_out_however_late_their_threads_see_it(
    run: RunDir, trainer: Trainer, monkeypatch: pytest.MonkeyPatch
) -> None:
    read_line, over = server_module._Client.read_line, threading.Event()

    def late(client: server_module._Client) -> bytes | None:
        if not client.waited_for:  # it has had an answer
            assert over.wait(WAIT)
        return read_line(client)

    monkeypatch.setattr(server_module._Client, "read_line", late)
    monkeypatch.setattr(server_module, "MAX_CLIENTS", 1)
    try:
        for _ in range(4):
            assert ControlClient(run).send("ping")["ok"]
    finally:
        over.set()


def test_who_has_asked_keeps_the_place_however_late_that_is_read(
    run: RunDir, trainer: Trainer, monkeypatch: pytest.MonkeyPatch
) -> None:
    read_line, over = server_module._Client.read_line, threading.Event()
    monkeypatch.setattr(
        server_module._Client, "read_line", lambda client: read_line(client) if over.wait(WAIT) else None
    )
    monkeypatch.setattr(server_module, "MAX_CLIENTS", 1)
    monkeypatch.setattr(server_module, "ROOM", 0.0)
    with raw(run) as first:
        first.sendall(b'{"do":"ping"}\n')
        try:
            with pytest.raises(RunError, match="serves 1 clients already"):
                ControlClient(run).send("ping")
        finally:
            over.set()
        assert json.loads(first.recv(1000))["ok"]


def test_prompts_leave_room_for_commands(run: RunDir, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server_module, "MAX_PROMPTS", 1)
    trainer = Trainer()
    with RunWriter(run) as writer, ControlServer(run, trainer.queue, trainer.answer) as server:
        writer.serve_at(server.path)
        client = ControlClient(run)
        pieces = client.prompt("endless")
        next(pieces)
        with pytest.raises(RunError, match="has 1 prompts to answer already; try again"):
            list(client.prompt("ok"))
        assert client.send("stop")["ok"]
        pieces.close()  # type: ignore[attr-defined]
        assert trainer.cancelled.wait(WAIT)
        deadline = time.monotonic() + WAIT
        while time.monotonic() < deadline:  # the place is free once the thread of that prompt has ended
            with contextlib.suppress(RunError):
                assert list(client.prompt("ok"))[-1] == {"done": {"text": "ok"}}
                break
        else:
            raise AssertionError("the place was not given back")


def test_a_client_waits_while_too_many_come_at_once(
    run: RunDir, trainer: Trainer, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, refusals = socket.socket.connect, iter([True] * 3 + [False] + [True] * 1000)

    class Crowded(socket.socket):
        def connect(self, address: Any) -> None:
            if next(refusals):
                raise BlockingIOError(11, "Resource temporarily unavailable")
            real(self, address)

    monkeypatch.setattr(client_module.socket, "socket", Crowded)
    assert ControlClient(run).send("ping")["ok"]
    with pytest.raises(RunError, match="does not answer"):
        ControlClient(run, timeout=0.05).send("ping")


@pytest.mark.parametrize("socket_field", ["\0", "x" * 300, "\ud800", 3, [], {"a": 1}])
def test_a_lock_that_names_no_socket_is_a_trainer_that_does_not_answer(run: RunDir, socket_field: Any) -> None:
    with RunWriter(run):
        owner = {"pid": os.getpid(), "host": socket.gethostname(), "socket": socket_field}
        run.lock.write_text(json.dumps(owner))
        with pytest.raises(RunError, match=r"does not answer|takes no commands yet") as caught:
            ControlClient(run).send("ping")
        assert "\n" not in str(caught.value)


def test_a_trainer_that_was_suspended_is_told_to_be(run: RunDir) -> None:
    sleeper = subprocess.Popen([sys.executable, "-c", "import sys; sys.stdin.read()"], stdin=subprocess.PIPE)
    try:
        sleeper.send_signal(signal.SIGSTOP)
        deadline = time.monotonic() + WAIT
        while not is_suspended(sleeper.pid) and time.monotonic() < deadline:
            time.sleep(0.001)
        with (
            tempfile.TemporaryDirectory(dir="/tmp") as folder,
            socket.socket(socket.AF_UNIX) as listener,
            RunWriter(run),
        ):
            listener.bind(f"{folder}/x.sock")
            listener.listen()
            owner = {"pid": sleeper.pid, "host": socket.gethostname(), "socket": f"{folder}/x.sock", "started": 0.0}
            run.lock.write_text(json.dumps(owner))
            with pytest.raises(RunError, match=f"suspended.*kill -CONT {sleeper.pid}"):
                ControlClient(run, timeout=0.05).send("ping")
    finally:
        sleeper.kill()
        sleeper.communicate()
    assert not is_suspended(sleeper.pid) and not is_suspended(None) and not is_suspended(1 << 70)


@pytest.mark.parametrize("answer", [b"[1]\n", b"3\n", b"hello\n", b"[" * 9999 + b"\n", b"x" * (3 * MAX_LINE), b""])
def test_what_is_no_answer_is_a_trainer_that_does_not_answer(run: RunDir, answer: bytes) -> None:
    with tempfile.TemporaryDirectory(dir="/tmp") as folder, socket.socket(socket.AF_UNIX) as listener:
        listener.bind(f"{folder}/x.sock")
        listener.listen()

        def serve() -> None:
            connection, _ = listener.accept()
            with connection, contextlib.suppress(OSError):
                connection.recv(1000)
                connection.sendall(answer)

        thread = threading.Thread(target=serve)
        thread.start()
        with RunWriter(run) as writer:
            writer.serve_at(f"{folder}/x.sock")
            with pytest.raises(RunError, match="does not answer"):
                ControlClient(run).send("ping")
        thread.join()


def test_the_socket_is_for_its_owner_alone(run: RunDir, trainer: Trainer) -> None:
    path = Path(json.loads(run.lock.read_text())["socket"])
    facts = path.lstat()
    assert stat.S_ISSOCK(facts.st_mode) and stat.S_IMODE(facts.st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert json.loads(run.status_json.read_text())["socket"] == str(path)


def test_the_sockets_path_is_short_private_and_the_runs_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    deep = tmp_path / ("a" * 120) / ("b" * 120)
    deep.mkdir(parents=True, mode=0o700)
    fallback = Path("/tmp") / f"tinytui-{os.getuid()}"
    for runtime in (None, "", "relative", str(deep), str(tmp_path / "missing"), "/tmp"):
        if runtime is None:
            monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)
        else:
            monkeypatch.setenv("XDG_RUNTIME_DIR", runtime)
        path = socket_path(deep)
        assert path.parent == fallback and len(os.fsencode(path)) < MAX_PATH
    assert socket_path(deep) != socket_path(tmp_path)
    (tmp_path / "link").symlink_to(deep)
    assert socket_path(tmp_path / "link") == socket_path(deep)


def test_a_folder_that_others_can_enter_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)
    monkeypatch.setattr(os, "getuid", lambda: 987_654_321)
    with pytest.raises(RunError, match="is not a folder of yours with mode 0700"):
        socket_path(tmp_path)
    (Path("/tmp") / "tinytui-987654321").rmdir()


def test_a_dead_trainers_socket_is_replaced_and_a_successors_left(run: RunDir) -> None:
    with RunWriter(run) as writer:
        first = ControlServer(run, CommandQueue())
        first.start()
        second = ControlServer(run, CommandQueue())
        writer.serve_at(second.start())
        first.stop()
        assert ControlClient(run).send("ping")["ok"]
        with pytest.raises(RunError, match="takes no prompts"):
            list(ControlClient(run).prompt("x"))
        second.stop()


def test_a_run_without_a_trainer_says_how_to_get_one(run: RunDir, trainer: Trainer, tmp_path: Path) -> None:
    shutil.copytree(run.path, tmp_path / "copy")
    copy = RunDir(tmp_path / "copy")
    with pytest.raises(RunError, match="run copy is not being trained now; go on with tinytui train --resume copy"):
        ControlClient(copy).send("pause")
    assert trainer.queue.drain() == []
    with RunWriter(copy) as writer:
        with pytest.raises(RunError, match="is starting and takes no commands yet"):
            ControlClient(copy).send("pause")
        writer.serve_at(str(tmp_path / "nothing.sock"))
        with pytest.raises(RunError, match="does not answer"):
            ControlClient(copy).send("pause")
    copy.lock.write_text(json.dumps({"pid": 1, "host": "far-away", "socket": "/nowhere/x.sock"}))
    with pytest.raises(RunError, match="trained on far-away; open it there"):
        ControlClient(copy).send("pause")


def test_a_trainer_that_ends_ends_its_prompts(run: RunDir) -> None:
    trainer = Trainer()
    complaint: list[str] = []

    def ask() -> None:
        try:
            for _ in ControlClient(run).prompt("silent"):
                pass
        except RunError as error:
            complaint.append(str(error))

    with RunWriter(run) as writer, ControlServer(run, trainer.queue, trainer.answer) as server:
        writer.serve_at(server.path)
        thread = threading.Thread(target=ask)
        thread.start()
        assert trainer.begun.wait(WAIT)
    thread.join(WAIT)
    assert len(complaint) == 1 and "run soap-1" in complaint[0]
