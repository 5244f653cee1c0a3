"""The trainer's side: the commands it takes between steps, and a socket for them that it never waits for."""

from __future__ import annotations

import contextlib
import json
import os
import select
import socket
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from types import TracebackType
from typing import Any, Self

from engine.control.protocol import MAX_LINE, Command, check_command, socket_path
from engine.errors import RunError, UserError
from engine.runs.layout import RunDir

MAX_QUEUED = 1000
MAX_CLIENTS = 32
BACKLOG = 1024
"""Clients that may come at once, before the first is looked at."""
MAX_PROMPTS = 24
"""Clients whose prompts are under way; the others are for commands."""
ROOM = 0.5
"""Seconds who comes waits for a place while every client is being answered: most answers end within one of them."""
IDLE = 30.0
"""Seconds a client may take for a request line."""
MAX_SAID = 2000
"""Characters of an error's line: it may repeat what the client sent."""
DRAIN = 30.0
"""Seconds the rest of an answer waits for its client to read it."""

Prompter = Callable[[Command, Callable[[], bool]], Iterator[Mapping[str, Any]]]
"""`prompter(request, cancelled)` yields answer lines; it ends soon after `cancelled()` is true."""


class CommandQueue:
    """Commands on their way to a step boundary, in the order they came. Any thread puts, the trainer drains."""

    def __init__(self) -> None:
        self._commands: deque[Command] = deque()
        self._arrival = threading.Condition()

    def put(self, command: Command) -> None:
        """Adds a command, checked, and wakes a waiting trainer; RunError when it is not one, or too many wait."""
        command = check_command(command)
        with self._arrival:
            if len(self._commands) >= MAX_QUEUED and command["do"] != "stop":
                raise RunError(f"{MAX_QUEUED} commands wait already; the trainer has not come to a step boundary yet")
            self._commands.append(command)
            self._arrival.notify_all()

    def drain(self) -> list[Command]:
        """All that wait, oldest first; never blocks. Free when nothing waits: the trainer asks at every step."""
        if not self._commands:
            return []
        with self._arrival:
            commands = list(self._commands)
            self._commands.clear()
        return commands

    def wait(self, timeout: float | None = None) -> bool:
        """Blocks until something waits, at most `timeout` seconds; True when something waits."""
        with self._arrival:
            if not self._commands:
                self._arrival.wait(timeout)
            return bool(self._commands)


class ControlServer:
    """Serves a run's queue on its Unix socket, a thread a client. Only the holder of the run's lock may start it.

    A client that stalls, floods or never reads costs one thread and a bounded buffer until it is dropped.
    """

    def __init__(
        self,
        run: RunDir,
        queue: CommandQueue,
        prompter: Prompter | None = None,
        waits: Callable[[], str] = str,
    ) -> None:
        self.run = run
        self.queue = queue
        self.prompter = prompter
        self.waits = waits
        """Says what the trainer waits for (a full disk), in one line; nothing while it does not."""
        self.path = ""
        self._listener: socket.socket | None = None
        self._alarm: tuple[socket.socket, ...] = ()
        """Closing the second wakes the thread that waits for clients."""
        self._identity: tuple[int, int] = (0, 0)
        self._stopping = threading.Event()
        self._guard = threading.Lock()
        self._clients: dict[threading.Thread, _Client] = {}
        self._prompts = threading.BoundedSemaphore(MAX_PROMPTS)
        self._thread: threading.Thread | None = None

    def start(self) -> str:
        """Opens the socket (replacing a dead owner's) and serves it; returns its path, to be told in the lock."""
        path = socket_path(self.run.path)
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            path.unlink(missing_ok=True)
            listener.bind(str(path))
            path.chmod(0o600)  # before listen: nobody can have connected yet
            listener.listen(BACKLOG)
            listener.setblocking(False)
            facts = path.lstat()
            self._alarm = socket.socketpair()
        except OSError as error:
            listener.close()
            raise RunError(f"cannot open the control socket {path}: {error.strerror}") from None
        self._identity = (facts.st_dev, facts.st_ino)
        self._listener = listener
        self.path = str(path)
        self._thread = threading.Thread(target=self._accept, name="control", daemon=True)
        self._thread.start()
        return self.path

    def stop(self, timeout: float = 2.0) -> None:
        """Hangs up on every client, ends the threads, removes the socket; returns within about `timeout` seconds."""
        if self._listener is None:
            return
        deadline = time.monotonic() + timeout
        self._stopping.set()
        self._alarm[1].close()
        with self._guard:
            clients = dict(self._clients)
        for client in clients.values():
            client.hang_up()
        for thread in [self._thread, *clients]:
            if thread is not None and thread is not threading.current_thread():
                thread.join(deadline - time.monotonic())  # past it, not at all
        self._listener.close()
        self._alarm[0].close()
        self._listener = None
        with contextlib.suppress(OSError):
            facts = os.lstat(self.path)
            if (facts.st_dev, facts.st_ino) == self._identity:  # not a successor's
                os.unlink(self.path)  # noqa: PTH108

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _accept(self) -> None:
        listener = self._listener
        assert listener is not None
        poll = select.poll()
        poll.register(listener, select.POLLIN)
        poll.register(self._alarm[0], select.POLLIN)
        while not self._stopping.is_set():
            poll.poll()
            try:
                connection, _ = listener.accept()
            except BlockingIOError:
                continue
            except OSError:  # out of descriptors: clients wait, the trainer does not
                self._stopping.wait(0.1)
                continue
            client = _Client(connection, self._stopping)
            thread = threading.Thread(target=self._serve, args=(client,), name="control client", daemon=True)
            if not self._makes_room(thread, client):
                client.push({"error": f"the trainer serves {MAX_CLIENTS} clients already; close one"})
                client.close()
                continue
            try:
                thread.start()
            except RuntimeError:  # no more threads
                self._forget(thread, client)

    def _makes_room(self, thread: threading.Thread, client: _Client) -> bool:
        """Counts `client` in; False when all the others are still being answered after ROOM seconds, or at the end."""
        deadline = time.monotonic() + ROOM
        while not self._stopping.is_set():
            with self._guard:
                if len(self._clients) >= MAX_CLIENTS:
                    self._drop_one()
                if len(self._clients) < MAX_CLIENTS:
                    self._clients[thread] = client
                    return True
            if time.monotonic() > deadline:
                return False
            self._stopping.wait(0.01)
        return False

    def _drop_one(self) -> None:
        """Makes room for who comes: one that has hung up goes, whether its thread has seen that or not; or else, of
        those that have sent no whole request, the one that has been there longest.

        Or a few clients that say nothing would keep their owner's own `stop` out for as long as they may idle.
        """
        there = [*self._clients.items()]  # in the order they came
        leaves = [thread for thread, client in there if client.gone()]
        leaves = leaves or [thread for thread, client in there if client.says_nothing()]
        if leaves:
            self._clients.pop(leaves[0]).hang_up()

    def _forget(self, thread: threading.Thread, client: _Client) -> None:
        with self._guard:
            self._clients.pop(thread, None)
        client.close()

    def _serve(self, client: _Client) -> None:
        try:
            while (line := client.read_line()) is not None:
                if not self._answer(client, line):
                    return
        finally:
            self._forget(threading.current_thread(), client)

    def _answer(self, client: _Client, line: bytes) -> bool:
        """Answers one request; False ends the connection."""
        try:
            request = json.loads(line)
        except (ValueError, RecursionError):
            client.push({"error": "that is not a line of JSON"})
            return False
        try:
            command = check_command(request)
            if command["do"] == "ping":
                return client.push({**self._ok(), "run": self.run.name, "pid": os.getpid()}) and client.drain()
            if command["do"] == "prompt":
                return self._stream(client, command)
            self.queue.put(command)
        except UserError as error:
            return client.push({"error": one_line(error)}) and client.drain()
        return client.push(self._ok()) and client.drain()

    def _ok(self) -> dict[str, Any]:
        why = self.waits()
        return {"ok": True, **({"waits": why} if why else {})}

    def _stream(self, client: _Client, command: Command) -> bool:
        if self.prompter is None:
            raise RunError(f"run {self.run.name} takes no prompts now")
        if not self._prompts.acquire(blocking=False):
            raise RunError(f"the trainer has {MAX_PROMPTS} prompts to answer already; try again when one has ended")
        why = f"run {self.run.name} broke the answer off; try again"
        try:
            for piece in self.prompter(command, client.gone):
                if not client.push(piece):
                    return False
                if "done" in piece or "error" in piece:
                    return client.drain()
                if client.gone():
                    break
        except UserError as error:
            why = one_line(error)
        except Exception as error:
            why = f"the trainer could not answer: {type(error).__name__}: {one_line(error)}"
        finally:
            self._prompts.release()
        client.push({"error": why})
        return client.drain()


def one_line(error: Exception) -> str:
    """What it says, in one line of a length to show."""
    return " ".join(str(error).split())[:MAX_SAID]


class _Client:
    """One connection as the server sees it: bounded reading, and writing that never waits in the middle of a stream."""

    def __init__(self, connection: socket.socket, stopping: threading.Event) -> None:
        connection.setblocking(False)
        self._connection = connection
        self._stopping = stopping
        self._received = bytearray()
        self._unsent = bytearray()
        self._hung_up = False
        self.waited_for = True
        """Whether the next word is the client's: it has sent no request, or all are answered."""

    def read_line(self) -> bytes | None:
        """The next request without its newline; None at hang-up, after IDLE seconds, or when it is too long."""
        deadline = time.monotonic() + IDLE
        searched = 0
        while (end := self._received.find(b"\n", searched)) < 0:
            searched = len(self._received)
            if searched > MAX_LINE:
                self.push({"error": f"a command is at most {MAX_LINE} bytes"})
                return None
            left = deadline - time.monotonic()
            if left <= 0 or self._stopping.is_set():
                return None
            self.waited_for = True
            self._wait(select.POLLIN, left)
            self.waited_for = False  # before it is taken: it may be a whole request
            try:
                data = self._connection.recv(1 << 16)
            except BlockingIOError:
                continue
            except OSError:
                return None
            if not data:
                return None
            self._received += data
        line = bytes(self._received[:end])
        del self._received[: end + 1]
        self.waited_for = False
        return line

    def says_nothing(self) -> bool:
        """Whether the next word is the client's, and none has come that its thread has not seen yet."""
        return self.waited_for and not self._wait(select.POLLIN, 0.0)

    def push(self, answer: Mapping[str, Any]) -> bool:
        """Sends a line, or what of it the client takes at once, and keeps the rest; False when it is to be dropped."""
        self._unsent += json.dumps(answer).encode() + b"\n"
        self._send()
        if len(self._unsent) > MAX_LINE:
            self._hung_up = True
        return not self.gone()

    def _send(self) -> None:
        try:
            while self._unsent and not self._hung_up:
                sent = self._connection.send(self._unsent)
                del self._unsent[:sent]
        except BlockingIOError:
            pass
        except OSError:
            self._hung_up = True

    def drain(self) -> bool:
        """Waits until the client has read everything; False when it does not in DRAIN seconds."""
        deadline = time.monotonic() + DRAIN
        while self._unsent and not self.gone():
            left = deadline - time.monotonic()
            if left <= 0:
                return False
            self._wait(select.POLLOUT, left)
            self._send()
        return not self.gone()

    def gone(self) -> bool:
        """True once the client has hung up or is dropped, or the server stops. Cheap: asked at every token."""
        if not self._hung_up and not self._stopping.is_set():
            self._hung_up = self._wait(0, 0.0)  # hang-ups and errors are told unasked
        return self._hung_up or self._stopping.is_set()

    def _wait(self, events: int, seconds: float) -> bool:
        """Whether one of `events`, a hang-up or an error comes within `seconds`."""
        try:
            poll = select.poll()
            poll.register(self._connection, events)
            return bool(poll.poll(seconds * 1000))
        except (OSError, ValueError):  # closed meanwhile
            return True

    def hang_up(self) -> None:
        """Ends the connection from another thread; the client's own closes it."""
        with contextlib.suppress(OSError):
            self._connection.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._connection.shutdown(socket.SHUT_WR)
        self._connection.close()
