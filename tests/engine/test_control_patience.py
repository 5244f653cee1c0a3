"""How long a trainer's clients may take, and that nobody goes while there is room; by a clock of the test's own."""

from __future__ import annotations

import json
import os
import select
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from engine.control import CommandQueue, ControlServer
from engine.control import server as server_module
from engine.control.server import _Client
from engine.errors import UserError
from engine.preset_files import load_preset
from engine.runs.layout import create_run


class Waits:
    """A client that never says nor reads anything; what it is waited for moves the clock."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, each: float) -> None:
        self.now, self.each, self.asked = 100.0, each, list[Any]()
        ours, self.end = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        self.client = _Client(ours, threading.Event())
        monkeypatch.setattr(server_module, "time", SimpleNamespace(monotonic=lambda: self.now))
        monkeypatch.setattr(_Client, "_wait", self._wait())

    def _wait(self) -> Callable[..., bool]:
        def wait(client: _Client, events: int, seconds: float) -> bool:
            if events:
                self.asked.append((events, seconds))
                self.now += self.each
            return False

        return wait

    def close(self) -> None:
        self.client.close()
        self.end.close()


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> Iterator[Waits]:
    made = Waits(monkeypatch, 12.0)
    yield made
    made.close()


def test_half_a_minute_for_a_request(waits: Waits) -> None:
    waits.end.sendall(b"half a li")
    assert waits.client.read_line() is None
    assert waits.asked == [(select.POLLIN, 30.0), (select.POLLIN, 18.0), (select.POLLIN, 6.0)]


def test_half_a_minute_for_the_rest_of_an_answer(waits: Waits) -> None:
    waits.client._unsent += b"x"
    waits.client._connection.close()
    waits.client._send = lambda: None  # type: ignore[method-assign]
    assert waits.client.drain() is False
    assert waits.asked == [(select.POLLOUT, 30.0), (select.POLLOUT, 18.0), (select.POLLOUT, 6.0)]
    waits.client._unsent.clear()
    assert waits.client.drain() is True


def test_who_says_nothing_stays_while_there_is_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    runtime = Path(f"/tmp/.tinytui-test-{os.getpid()}")
    runtime.mkdir(mode=0o700, exist_ok=True)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(runtime))
    monkeypatch.setattr(server_module, "MAX_CLIENTS", 3)
    run = create_run(tmp_path, "soap-1", load_preset("nano"), corpus={"name": "soap"}, environment={})
    with ControlServer(run, CommandQueue()) as server:
        clients = [socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) for _ in range(3)]
        for each in clients:
            each.settimeout(20)
            each.connect(server.path)
        for each in reversed(clients):
            each.sendall(b'{"do": "ping"}\n')
            assert json.loads(each.recv(1000))["ok"]
            assert len(server._clients) == 3
        for each in clients:
            each.close()


class Reader:
    """Stands for a client that takes `most` lines, and is gone after `stays`."""

    def __init__(self, most: int, stays: int) -> None:
        self.lines, self.most, self.stays = list[Any](), most, stays

    def push(self, line: Any) -> bool:
        self.lines.append(line)
        return len(self.lines) < self.most

    def gone(self) -> bool:
        return len(self.lines) >= self.stays

    def drain(self) -> bool:
        return True


BROKEN = {"error": "run soap-1 broke the answer off; try again"}
BUG = {"error": "the trainer could not answer: ValueError: a bug"}


@pytest.mark.parametrize(
    ("pieces", "most", "stays", "lines"),
    [
        (({"piece": 1}, {"done": 2}), 9, 9, [{"piece": 1}, {"done": 2}]),
        (({"done": 2}, {"piece": 3}), 9, 9, [{"done": 2}]),
        (({"piece": 1}, {"error": "no"}, {"piece": 3}), 9, 9, [{"piece": 1}, {"error": "no"}]),
        (({"piece": 1},), 9, 9, [{"piece": 1}, BROKEN]),
        ((), 9, 9, [BROKEN]),
        ((UserError("no such token"),), 9, 9, [{"error": "no such token"}]),
        (({"piece": 1}, ValueError("a\n bug")), 9, 9, [{"piece": 1}, BUG]),
        (({"piece": 1}, {"piece": 2}, {"done": 3}), 2, 9, [{"piece": 1}, {"piece": 2}]),
        (({"piece": 1}, {"piece": 2}, {"done": 3}), 9, 1, [{"piece": 1}, BROKEN]),
    ],
)
def test_an_answer_ends_once(pieces: tuple[Any, ...], most: int, stays: int, lines: list[Any]) -> None:
    """Whatever comes of it, the last line says so, and a further request has its own answer."""

    def prompter(request: Any, cancelled: Any) -> Iterator[Any]:
        for piece in pieces:
            if isinstance(piece, Exception):
                raise piece
            yield piece

    run: Any = SimpleNamespace(name="soap-1", path=Path("soap-1"), live=True)
    server, reader = ControlServer(run, CommandQueue(), prompter), Reader(most, stays)
    assert server._stream(reader, {"do": "prompt"}) is (most == 9)  # type: ignore[arg-type]
    assert reader.lines == lines
