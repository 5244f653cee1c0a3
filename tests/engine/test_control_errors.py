"""What seldom goes wrong between a trainer and who commands it."""

from __future__ import annotations

import errno
import json
import os
import select
import socket
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from engine.control import CommandQueue, ControlClient, ControlServer, protocol
from engine.control import client as client_module
from engine.control import server as server_module
from engine.control.protocol import MAX_LINE, socket_path
from engine.control.server import _Client
from engine.errors import RunError
from engine.preset_files import load_preset
from engine.runs.layout import RunDir, create_run

EIO = OSError(errno.EIO, "Input/output error")


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> RunDir:
    runtime = Path(f"/tmp/.tinytui-test-{os.getpid()}")
    runtime.mkdir(mode=0o700, exist_ok=True)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(runtime))
    return create_run(tmp_path, "soap-1", load_preset("nano"), corpus={"name": "soap"}, environment={})


def failing(error: BaseException) -> Callable[..., Any]:
    def fails(*_: object, **__: object) -> Any:
        raise error

    return fails


class Pair:
    """A client's end, and the server's."""

    def __init__(self) -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        self.end = theirs
        self.end.settimeout(60)
        self.stopping = threading.Event()
        self.client = _Client(ours, self.stopping)

    def close(self) -> None:
        self.client.close()
        self.end.close()


@pytest.fixture
def pair() -> Any:
    made = Pair()
    yield made
    made.close()


# -- the server's end --------------------------------------------------------------------------------------------------


def test_a_socket_that_cannot_be_opened_is_named(run: RunDir, monkeypatch: pytest.MonkeyPatch) -> None:
    for call in ("chmod", "unlink"):
        with monkeypatch.context() as patch:
            patch.setattr(Path, call, failing(PermissionError(errno.EACCES, "Permission denied")))
            with pytest.raises(RunError, match=r"cannot open the control socket .*\.sock: Permission denied"):
                ControlServer(run, CommandQueue(), failing(AssertionError())).start()


def test_a_folder_for_sockets_that_cannot_be_made_is_named(run: RunDir, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("XDG_RUNTIME_DIR")
    monkeypatch.setattr(protocol.Path, "mkdir", failing(OSError(errno.ENOSPC, "No space left on device")))
    with pytest.raises(RunError, match=r"cannot make /tmp/tinytui-\d+ for the control socket: No space left"):
        socket_path(run.path)


def test_where_descriptors_run_out_clients_wait_and_are_served(run: RunDir, monkeypatch: pytest.MonkeyPatch) -> None:
    server = ControlServer(run, CommandQueue(), failing(AssertionError()))
    accept, tries = socket.socket.accept, []

    def scarce(self: socket.socket) -> Any:
        tries.append(1)
        if len(tries) < 3:
            raise OSError(errno.EMFILE, "Too many open files")
        return accept(self)

    monkeypatch.setattr(socket.socket, "accept", scarce)
    with server:
        assert server.path is not None
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
            client.settimeout(60)
            client.connect(server.path)
            client.sendall(b"nonsense\n")
            assert "error" in json.loads(client.recv(1 << 16).split(b"\n")[0])
    assert len(tries) >= 3


@pytest.mark.parametrize("over", [0, 1])
def test_a_line_is_as_long_as_is_allowed(pair: Pair, over: int) -> None:
    line = b"x" * (MAX_LINE + over)
    sender = threading.Thread(target=lambda: pair.end.sendall(line + (b"" if over else b"\n")))
    sender.start()
    found = pair.client.read_line()
    sender.join(60)
    assert found == (None if over else line)
    if over:
        assert json.loads(pair.end.recv(1 << 16)) == {"error": f"a command is at most {MAX_LINE} bytes"}


def test_lines_come_one_by_one_however_they_are_sent(pair: Pair) -> None:
    pair.end.sendall(b"one\ntwo\nth")
    assert pair.client.waited_for
    assert (pair.client.read_line(), pair.client.waited_for) == (b"one", False)
    assert pair.client.read_line() == b"two"
    pair.end.sendall(b"ree\n\n")
    assert (pair.client.read_line(), pair.client.read_line()) == (b"three", b"")
    pair.end.sendall(b"half")
    pair.end.shutdown(socket.SHUT_WR)
    assert pair.client.read_line() is None


@pytest.mark.parametrize("why", ["nothing is said", "the server stops", "the connection breaks"])
def test_a_client_is_not_waited_for_beyond_its_time(pair: Pair, monkeypatch: pytest.MonkeyPatch, why: str) -> None:
    if why == "nothing is said":
        monkeypatch.setattr(server_module, "IDLE", 0.0)
    elif why == "the server stops":
        pair.stopping.set()
    else:
        monkeypatch.setattr(socket.socket, "recv", failing(ConnectionResetError()))
        monkeypatch.setattr(_Client, "_wait", lambda *_: True)
    assert pair.client.read_line() is None


def test_what_only_seemed_to_come_is_waited_for_again(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    waits: list[int] = []

    def wait(self: _Client, events: int, seconds: float) -> bool:
        waits.append(events)
        if len(waits) == 2:
            pair.end.sendall(b"line\n")
        return True

    monkeypatch.setattr(_Client, "_wait", wait)
    assert pair.client.read_line() == b"line"
    assert waits == [select.POLLIN, select.POLLIN]


def test_who_does_not_read_is_dropped_when_too_much_waits(pair: Pair) -> None:
    piece = {"piece": "x" * 1000}
    length = len(json.dumps(piece).encode()) + 1
    while pair.client.push(piece):
        assert len(pair.client._unsent) <= MAX_LINE
    assert MAX_LINE < len(pair.client._unsent) <= MAX_LINE + length and pair.client.gone()


def test_what_waits_for_a_slow_reader_is_sent_within_a_time(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    while not pair.client._unsent:
        assert pair.client.push({"piece": "x" * 1000})
    with monkeypatch.context() as patch:
        patch.setattr(server_module, "DRAIN", 0.0)
        assert not pair.client.drain()
    assert not pair.client.gone()
    read: list[bytes] = []

    def reads() -> None:
        while data := pair.end.recv(1 << 16):
            read.append(data)

    reader = threading.Thread(target=reads)
    reader.start()
    assert pair.client.drain() and not pair.client._unsent
    pair.client.close()
    reader.join(60)
    lines = b"".join(read).split(b"\n")
    assert lines.pop() == b"" and all(json.loads(line) == {"piece": "x" * 1000} for line in lines)


def test_a_client_that_hangs_up_is_noticed(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    assert pair.client.push({"piece": 1}) and not pair.client.gone()
    pair.end.close()
    assert pair.client.gone() and not pair.client.push({"piece": 2}) and not pair.client.drain()


def test_a_server_that_stops_drops_everybody(pair: Pair) -> None:
    pair.stopping.set()
    assert pair.client.gone() and not pair.client.push({}) and not pair.client.drain()


def test_a_connection_that_breaks_is_a_hang_up(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket.socket, "send", failing(BrokenPipeError()))
    assert not pair.client.push({"piece": 1}) and pair.client.gone()


def test_a_connection_that_is_closed_meanwhile_is_gone(pair: Pair) -> None:
    pair.client._connection.close()
    assert pair.client._wait(0, 0.0) and pair.client.gone()
    pair.client.hang_up()


# -- the client's end --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (PermissionError(), "run soap-1 is trained by another user; ask them"),
        (ConnectionRefusedError(), "the trainer of run soap-1 does not answer; try again in a moment"),
        (ValueError("embedded null byte"), "the trainer of run soap-1 does not answer; try again in a moment"),
        (BlockingIOError(), "the trainer of run soap-1 does not answer; try again in a moment"),
    ],
)
def test_a_trainer_that_cannot_be_reached_is_told(
    run: RunDir, monkeypatch: pytest.MonkeyPatch, error: Exception, said: str
) -> None:
    monkeypatch.setattr(RunDir, "live", property(lambda self: True))
    monkeypatch.setattr(
        client_module, "read_owner", lambda path: {"socket": "/tmp/nothing.sock", "host": socket.gethostname()}
    )
    monkeypatch.setattr(socket.socket, "connect", failing(error))
    with pytest.raises(RunError) as caught:
        ControlClient(run, timeout=0.05).send({"do": "pause"})
    assert str(caught.value) == said


@pytest.mark.parametrize("host", ["", "0", "zzz"])
def test_a_trainer_of_another_machine_is_told_whatever_its_name(
    run: RunDir, monkeypatch: pytest.MonkeyPatch, host: str
) -> None:
    monkeypatch.setattr(RunDir, "live", property(lambda self: True))
    monkeypatch.setattr(client_module, "read_owner", lambda path: {"socket": "/tmp/nothing.sock", "host": host})
    with pytest.raises(RunError, match=f"is trained on {host or 'another machine'}; open it there"):
        ControlClient(run, timeout=0.05).send({"do": "pause"})


class Answers:
    """A connection that gives what it is told to."""

    def __init__(self, *pieces: bytes | Exception) -> None:
        self.pieces = list(pieces)

    def recv(self, most: int) -> bytes:
        piece = self.pieces.pop(0) if self.pieces else b""
        if isinstance(piece, Exception):
            raise piece
        return piece

    def sendall(self, data: bytes) -> None:
        self.recv(0)


def answers(run: RunDir, *pieces: bytes | Exception) -> list[dict[str, Any]]:
    return list(ControlClient(run)._answers(Answers(*pieces)))  # type: ignore[arg-type]


def test_answers_come_line_by_line_until_the_end(run: RunDir) -> None:
    assert answers(run, b'{"a": 1}\n{"b"', b": 2}\n", b'{"c": 3}') == [{"a": 1}, {"b": 2}]
    assert answers(run, b'{"a": 1}\n', ConnectionResetError()) == [{"a": 1}]
    with pytest.raises(RunError, match="the prompt is too long"):
        answers(run, b'{"a": 1}\n{"error": "the prompt is too long"}\n')


@pytest.mark.parametrize(
    "piece", [TimeoutError(), b"nonsense\n", b"[1]\n", b"[" * 100_000 + b"\n", b"x" * (2 * MAX_LINE + 1)]
)
def test_what_is_no_answer_is_a_silent_trainer(run: RunDir, piece: bytes | Exception) -> None:
    with pytest.raises(RunError, match="does not answer; try again in a moment"):
        answers(run, piece)
    assert answers(run, b"x" * (2 * MAX_LINE)) == []


def test_a_request_that_cannot_be_sent(run: RunDir) -> None:
    client, command = ControlClient(run), {"do": "prompt", "prompt": "x", "settings": {}}
    client._request(Answers(BrokenPipeError()), command)  # type: ignore[arg-type]
    with pytest.raises(RunError, match="does not answer"):
        client._request(Answers(TimeoutError()), command)  # type: ignore[arg-type]
