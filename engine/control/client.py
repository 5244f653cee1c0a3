"""The other side of the socket: the workbench and the command line, in this process or another."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from engine.control.protocol import MAX_LINE, Command, check_command
from engine.errors import RunError
from engine.machine import hostname, is_suspended
from engine.runs.layout import RunDir
from engine.runs.lock import read_owner

refuse: Callable[[str], None] | None = None
"""Asked with the name of each command before it is sent; raises RunError where this process may not send it."""


class ControlClient:
    """Speaks to the trainer of a run. Every call opens its own connection: a trainer may come and go.

    Everything raises RunError in one line when the run has no trainer, or the trainer refuses. `cancel` may be called
    from another thread than the one that iterates over `prompt`.
    """

    def __init__(self, run: RunDir, timeout: float = 5.0) -> None:
        self.run = run
        self.timeout = timeout
        self._streams: set[socket.socket] = set()
        self._guard = threading.Lock()

    def send(self, do: str, **fields: Any) -> dict[str, Any]:
        """Sends a command; returns the answer {"ok": true, ...} once it is queued."""
        connection = self._connect()
        try:
            self._request(connection, {"do": do, **fields})
            for answer in self._answers(connection):
                return answer
            raise self._silent() if self.run.live else self._not_live()
        finally:
            connection.close()

    def prompt(self, prompt: str, settings: Mapping[str, Any] | None = None, **fields: Any) -> Iterator[dict[str, Any]]:
        """Streams {"piece": {...}} and at last {"done": {...}} from the weights in training; ends early on `cancel`."""
        connection = self._connect()
        with self._guard:
            self._streams.add(connection)
        try:
            self._request(connection, {"do": "prompt", "prompt": prompt, "settings": dict(settings or {}), **fields})
            connection.settimeout(None)  # the trainer may compile or evaluate first; its death closes the socket
            for answer in self._answers(connection):
                yield answer
                if "done" in answer:
                    return
            with self._guard:
                cancelled = connection not in self._streams
            if not cancelled:
                raise self._silent() if self.run.live else self._not_live()
        finally:
            with self._guard:
                self._streams.discard(connection)
            connection.close()

    def cancel(self) -> None:
        """Hangs up on every prompt under way; their iterators end."""
        with self._guard:
            streams, self._streams = self._streams, set()
        for connection in streams:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def _connect(self) -> socket.socket:
        owner = read_owner(self.run.lock)
        path, host = owner.get("socket") or "", owner.get("host") or "another machine"
        if path and host != hostname() and not os.path.exists(path):  # noqa: PTH110
            raise RunError(f"run {self.run.name} is trained on {host:.100}; open it there")
        if not self.run.live:  # a copy of a run's folder names the socket of the original
            raise self._not_live()
        if not path:
            raise RunError(f"run {self.run.name} is starting and takes no commands yet; try again in a moment")
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        connection.settimeout(self.timeout)
        deadline = time.monotonic() + self.timeout
        try:
            while True:
                try:
                    connection.connect(path)
                    break
                except BlockingIOError:  # so many come at once that the kernel keeps no more of them
                    if time.monotonic() > deadline:
                        raise
                    time.sleep(0.01)
        except PermissionError:
            connection.close()
            raise RunError(f"run {self.run.name} is trained by another user; ask them") from None
        except (OSError, ValueError):  # a path that is none
            connection.close()
            raise self._silent() from None
        return connection

    def _request(self, connection: socket.socket, command: Command) -> None:
        checked = check_command(command)
        if refuse is not None:
            refuse(checked["do"])
        line = json.dumps(checked).encode() + b"\n"
        if len(line) > MAX_LINE:
            raise RunError(f"a prompt is at most {MAX_LINE} bytes as JSON, not {len(line)}; shorten it")
        try:
            connection.sendall(line)
        except TimeoutError:
            raise self._silent() from None
        except OSError:
            pass  # hung up on us: its last words may still be there to read

    def _answers(self, connection: socket.socket) -> Iterator[dict[str, Any]]:
        """Lines until the trainer hangs up; an {"error": ...} is raised."""
        received = b""
        while True:
            try:
                data = connection.recv(1 << 16)
            except TimeoutError:
                raise self._silent() from None
            except OSError:
                return
            if not data:
                return
            *lines, received = (received + data).split(b"\n")
            for line in lines:
                try:
                    answer = json.loads(line)
                except (ValueError, RecursionError):
                    raise self._silent() from None
                if not isinstance(answer, dict):
                    raise self._silent()
                if "error" in answer:
                    raise RunError(str(answer["error"]))
                yield answer
            if len(received) > 2 * MAX_LINE:
                raise self._silent()

    def _not_live(self) -> RunError:
        name = self.run.name
        return RunError(f"run {name} is not being trained now; go on with tinytui train --resume {name}")

    def _silent(self) -> RunError:
        owner = read_owner(self.run.lock)
        if owner.get("host") == hostname() and is_suspended(pid := owner.get("pid")):
            return RunError(
                f"the trainer of run {self.run.name} is suspended (ctrl+z); wake it: fg there, or kill -CONT {pid}"
            )
        return RunError(f"the trainer of run {self.run.name} does not answer; try again in a moment")
