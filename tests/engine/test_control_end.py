"""The end of a control socket, and of a connection: nothing is left that runs, nothing unsent that was promised."""

from __future__ import annotations

import json
import os
import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from engine.control import CommandQueue, ControlServer
from engine.control import server as server_module
from engine.control.server import _Client
from engine.preset_files import load_preset
from engine.runs.layout import RunDir, create_run

WAIT = 60.0


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RunDir:
    runtime = Path(f"/tmp/.tinytui-test-{os.getpid()}")
    runtime.mkdir(mode=0o700, exist_ok=True)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(runtime))
    return create_run(tmp_path, "soap-1", load_preset("nano"), corpus={"name": "soap"}, environment={})


def echo(request: Mapping[str, Any], cancelled: Callable[[], bool]) -> Iterator[dict[str, Any]]:
    yield {"done": {"text": request["prompt"]}}


def connected(server: ControlServer) -> socket.socket:
    client = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    client.settimeout(WAIT)
    client.connect(server.path)
    return client


def waiting(monkeypatch: pytest.MonkeyPatch) -> threading.Event:
    """Set once the server waits for what its client says."""
    begun, wait = threading.Event(), _Client._wait

    def waits(self: _Client, events: int, seconds: float) -> bool:
        if seconds > 1:
            begun.set()
        return wait(self, events, seconds)

    monkeypatch.setattr(_Client, "_wait", waits)
    return begun


def test_who_says_nothing_is_hung_up_on_at_the_end(run: RunDir, monkeypatch: pytest.MonkeyPatch) -> None:
    begun = waiting(monkeypatch)
    server = ControlServer(run, CommandQueue(), echo)
    server.start()
    with connected(server) as silent:
        assert begun.wait(WAIT)
        (thread,) = server._clients
        server.stop(WAIT)
        assert silent.recv(1) == b"" and not thread.is_alive()


def test_the_end_waits_for_every_thread(run: RunDir, monkeypatch: pytest.MonkeyPatch) -> None:
    begun = waiting(monkeypatch)
    close, slowly = _Client.close, threading.Event()

    def closes(self: _Client) -> None:
        slowly.wait(0.1)  # of a client's last moment; nobody sets it
        close(self)

    monkeypatch.setattr(_Client, "close", closes)
    server = ControlServer(run, CommandQueue(), echo)
    server.start()
    accepting = server._thread
    assert accepting is not None and accepting.is_alive()
    with connected(server):
        assert begun.wait(WAIT)
        (client,) = server._clients
        server.stop(WAIT)
        assert not client.is_alive() and not accepting.is_alive()
    assert server._clients == {} and not Path(server.path).exists()


def test_the_end_may_come_from_a_client_and_waits_no_longer_than_it_may(
    run: RunDir, monkeypatch: pytest.MonkeyPatch
) -> None:
    ended, held = threading.Event(), threading.Event()

    def ends(request: Mapping[str, Any], cancelled: Callable[[], bool]) -> Iterator[dict[str, Any]]:
        server.stop(WAIT)
        ended.set()
        yield {"done": {}}

    server = ControlServer(run, CommandQueue(), ends)
    server.start()
    with connected(server) as client:
        client.sendall(b'{"do":"prompt","prompt":"x"}\n')
        assert ended.wait(WAIT)

    def holds(request: Mapping[str, Any], cancelled: Callable[[], bool]) -> Iterator[dict[str, Any]]:
        begun.set()
        held.wait(WAIT)
        yield {"done": {}}

    begun = threading.Event()
    server = ControlServer(run, CommandQueue(), holds)
    server.start()
    with connected(server) as client:
        client.sendall(b'{"do":"prompt","prompt":"x"}\n')
        assert begun.wait(WAIT)
        (thread,) = server._clients
        server.stop(0.01)
        assert thread.is_alive()
        held.set()
        thread.join(WAIT)


@pytest.mark.parametrize("do", ["ping", "pause", "explode", "prompt"])
def test_an_answer_is_sent_whole_or_the_connection_ends(run: RunDir, monkeypatch: pytest.MonkeyPatch, do: str) -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
    client = _Client(ours, threading.Event())
    server = ControlServer(run, CommandQueue(), echo)
    line = json.dumps({"do": do, "prompt": "x"}).encode()
    with ours, theirs:
        assert server._answer(client, line)
        while not client._unsent:
            assert client.push({"piece": "x" * 1000})
        monkeypatch.setattr(server_module, "DRAIN", 0.0)
        assert not server._answer(client, line), "who does not read is waited for"
