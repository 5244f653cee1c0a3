"""Commands to a trainer: a queue it empties between steps, a Unix socket that fills it, and the client of that socket.

The protocol is JSON, one object a line. A request is a command `{"do": "pause"}`; the answer is `{"ok": true}` once it
is queued (it takes effect at the next step) or `{"error": "one line"}`. `prompt` is answered by a stream of lines that
ends with `{"done": {...}}` or `{"error": ...}`; hanging up cancels it. No client can make the trainer wait.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import os
import select
import socket
import stat
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self

from engine.errors import RunError, UserError

COMMANDS = ("pause", "resume", "stop", "checkpoint", "sample", "learning_rate", "prompt", "ping")

MAX_LINE = 1 << 20
"""Bytes of a request line, and of answers that wait for a client that does not read."""
MAX_CLIENTS = 32
MAX_QUEUED = 1000
IDLE = 30.0
"""Seconds a client may take for a request line."""
DRAIN = 5.0
"""Seconds an answer may wait for its client to read on."""
MAX_PATH = 100
"""Bytes of a socket's path; the kernel takes 108, macOS 104."""

Command = dict[str, Any]
Prompter = Callable[[Command, Callable[[], bool]], Iterator[Mapping[str, Any]]]
"""`prompter(request, cancelled)` yields answer lines; it ends soon after `cancelled()` is true."""


class RunPlace(Protocol):
    """What a run has to be, to be spoken to: engine.runs.layout.RunDir is one."""

    @property
    def path(self) -> Path: ...

    @property
    def name(self) -> str: ...


def check_command(command: object) -> Command:
    """`command` when a trainer can carry it out; RunError in one line otherwise."""
    if not isinstance(command, dict):
        raise RunError(f'a command is an object like {{"do": "pause"}}, not {type(command).__name__}')
    do = command.get("do")
    if do not in COMMANDS:
        raise RunError(f"no command {do!r}; there are {', '.join(COMMANDS)}")
    if do == "learning_rate":
        value = command.get("value")
        if isinstance(value, bool) or not isinstance(value, int | float) or not _is_positive(value):
            raise RunError(f"learning_rate takes a value that is a positive number, not {value!r}")
        return {**command, "value": float(value)}
    if do in ("prompt", "sample") and not isinstance(command.get("prompt", "" if do == "sample" else None), str):
        raise RunError(f"{do} takes a prompt that is text, not {command.get('prompt')!r:.80}")
    if do == "prompt" and not isinstance(command.setdefault("settings", {}), dict):
        raise RunError('prompt takes settings by name, such as {"temperature": 0.8}')
    return command


def _is_positive(value: float) -> bool:
    try:
        return math.isfinite(value) and value > 0 and math.isfinite(float(value))
    except OverflowError:
        return False


class CommandQueue:
    """Commands on their way to the trainer, in the order they came. Any thread puts, the trainer drains."""

    def __init__(self) -> None:
        self._commands: deque[Command] = deque()
        self._arrival = threading.Condition()

    def put(self, command: Command) -> None:
        """Adds a command, checked, and wakes a waiting trainer; RunError when it is not one, or too many wait."""
        command = check_command(command)
        with self._arrival:
            if len(self._commands) >= MAX_QUEUED:
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
        """Blocks until something waits or `wake` is called, at most `timeout` seconds; True when something waits."""
        with self._arrival:
            if not self._commands:
                self._arrival.wait(timeout)
            return bool(self._commands)

    def wake(self) -> None:
        """Ends a `wait` without a command, for a trainer that is told to end by other means."""
        with self._arrival:
            self._arrival.notify_all()


def socket_path(run: Path) -> Path:
    """Where the control socket of the run at `run` lies: short whatever the run's path, in a folder only we can enter.

    `$XDG_RUNTIME_DIR/tinytui-<hash>.sock` where that folder is ours alone, else `/tmp/tinytui-<uid>/<hash>.sock`.
    Raises RunError when somebody else made that folder, or others can enter it.
    """
    key = hashlib.sha256(os.fsencode(os.path.realpath(run))).hexdigest()[:16]
    runtime = os.environ.get("XDG_RUNTIME_DIR")
    if runtime and os.path.isabs(runtime) and _is_private(Path(runtime)):  # noqa: PTH117 - no Path of an odd value
        path = Path(runtime) / f"tinytui-{key}.sock"
        if len(os.fsencode(path)) < MAX_PATH:
            return path
    folder = Path("/tmp") / f"tinytui-{os.getuid()}"
    try:
        with contextlib.suppress(FileExistsError):
            folder.mkdir(mode=0o700)
    except OSError as error:
        raise RunError(f"cannot make {folder} for the control socket: {error.strerror}") from None
    if not _is_private(folder):
        raise RunError(f"{folder} is not a folder of yours with mode 0700; remove it, or set XDG_RUNTIME_DIR to one")
    return folder / f"{key}.sock"


def _is_private(folder: Path) -> bool:
    try:
        facts = folder.lstat()
    except OSError:
        return False
    return stat.S_ISDIR(facts.st_mode) and facts.st_uid == os.getuid() and not facts.st_mode & 0o077


class ControlServer:
    """Serves a run's queue on its Unix socket, a thread a client. Only the holder of the run's lock may start it.

    A client that stalls, floods or never reads costs one thread and a bounded buffer until it is dropped.
    """

    def __init__(self, run: RunPlace, queue: CommandQueue, prompter: Prompter | None = None) -> None:
        self.run = run
        self.queue = queue
        self.prompter = prompter
        self.path = ""
        self._listener: socket.socket | None = None
        self._identity: tuple[int, int] = (0, 0)
        self._stopping = threading.Event()
        self._guard = threading.Lock()
        self._clients: dict[threading.Thread, socket.socket] = {}
        self._thread: threading.Thread | None = None

    def start(self) -> str:
        """Opens the socket (replacing a dead owner's) and serves it; returns its path, to be told in the lock."""
        path = socket_path(self.run.path)
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            path.unlink(missing_ok=True)
            listener.bind(str(path))
            path.chmod(0o600)  # before listen: nobody can have connected yet
            listener.listen(MAX_CLIENTS)
            facts = path.lstat()
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
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)  # wakes accept
        with self._guard:
            clients = dict(self._clients)
        for connection in clients.values():
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        for thread in [self._thread, *clients]:
            if thread is not None and thread is not threading.current_thread():
                thread.join(max(0.0, deadline - time.monotonic()))
        self._listener.close()
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
        while not self._stopping.is_set():
            try:
                connection, _ = listener.accept()
            except OSError:
                if self._stopping.wait(0.1):  # out of descriptors: clients wait, the trainer does not
                    return
                continue
            client = _Client(connection, self._stopping)
            thread = threading.Thread(target=self._serve, args=(client,), name="control client", daemon=True)
            with self._guard:
                full = len(self._clients) >= MAX_CLIENTS or self._stopping.is_set()
                if not full:
                    self._clients[thread] = connection
            if full:
                client.push({"error": f"the trainer serves {MAX_CLIENTS} clients already; close one"})
                client.close()
                continue
            try:
                thread.start()
            except RuntimeError:  # no more threads
                self._forget(thread, client)

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
                return client.push({"ok": True, "run": self.run.name, "pid": os.getpid()}) and client.drain()
            if command["do"] == "prompt":
                return self._stream(client, command)
            self.queue.put(command)
        except UserError as error:
            return client.push({"error": str(error)}) and client.drain()
        return client.push({"ok": True}) and client.drain()

    def _stream(self, client: _Client, command: Command) -> bool:
        if self.prompter is None:
            raise RunError(f"run {self.run.name} takes no prompts now")
        ended = False
        pieces = self.prompter(command, client.gone)
        try:
            for piece in pieces:
                ended = "done" in piece or "error" in piece
                if not client.push(piece):
                    return False
                if ended or client.gone():
                    break
        except UserError as error:
            ended = True
            client.push({"error": str(error)})
        except Exception as error:
            ended = True
            client.push({"error": f"the trainer could not answer: {type(error).__name__}: {error}"})
        finally:
            close = getattr(pieces, "close", None)
            if close is not None:
                with contextlib.suppress(Exception):
                    close()
        if not ended:
            client.push({"done": {}})
        return client.drain()


class _Client:
    """One connection as the server sees it: bounded reading, and writing that never waits in the middle of a stream."""

    def __init__(self, connection: socket.socket, stopping: threading.Event) -> None:
        self._connection = connection
        self._stopping = stopping
        self._received = bytearray()
        self._unsent = bytearray()
        self._hung_up = False
        self._closed = False

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
            try:
                self._connection.settimeout(left)
                data = self._connection.recv(1 << 16)
            except OSError:
                return None
            if not data:
                return None
            self._received += data
        line = bytes(self._received[:end])
        del self._received[: end + 1]
        return line

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
                sent = self._connection.send(self._unsent, socket.MSG_DONTWAIT)
                del self._unsent[:sent]
        except BlockingIOError:
            pass
        except OSError:
            self._hung_up = True

    def drain(self) -> bool:
        """Waits until the client has read everything; False when it does not for DRAIN seconds."""
        deadline = time.monotonic() + DRAIN
        while self._unsent and not self.gone():
            left = deadline - time.monotonic()
            if left <= 0:
                return False
            with contextlib.suppress(OSError, ValueError):
                select.select([], [self._connection], [], min(left, 0.2))
            before = len(self._unsent)
            self._send()
            if len(self._unsent) < before:
                deadline = time.monotonic() + DRAIN
        return not self.gone()

    def gone(self) -> bool:
        """True once the client has hung up or is dropped, or the server stops. Cheap: asked at every token."""
        if self._hung_up or self._closed or self._stopping.is_set():
            return True
        try:
            poll = select.poll()
            poll.register(self._connection, 0)  # POLLHUP and POLLERR are always told
            self._hung_up = bool(poll.poll(0))
        except (OSError, ValueError):
            self._hung_up = True
        return self._hung_up

    def close(self) -> None:
        self._closed = True
        with contextlib.suppress(OSError):
            self._connection.shutdown(socket.SHUT_WR)
        self._connection.close()


class ControlClient:
    """Speaks to the trainer of a run. Every call opens its own connection: a trainer may come and go.

    Everything raises RunError in one line when the run has no trainer, or the trainer refuses. `cancel` may be called
    from another thread than the one that iterates over `prompt`.
    """

    def __init__(self, run: RunPlace, timeout: float = 5.0) -> None:
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
            raise self._not_live()
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
                raise self._not_live()
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
        owner = _read_object(self.run.path / "lock")
        path = str(owner.get("socket") or "")
        host = owner.get("host")
        if path and host != socket.gethostname() and not os.path.exists(path):  # noqa: PTH110
            raise RunError(f"run {self.run.name} is trained on {host}; open it there")
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        connection.settimeout(self.timeout)
        try:
            if not path:
                raise FileNotFoundError
            connection.connect(path)
        except OSError as error:
            connection.close()
            if isinstance(error, PermissionError):
                raise RunError(f"run {self.run.name} is trained by another user; ask them") from None
            if isinstance(error, TimeoutError | BlockingIOError):
                raise self._silent() from None
            raise self._not_live() from None
        return connection

    def _request(self, connection: socket.socket, command: Command) -> None:
        line = json.dumps(check_command(command)).encode() + b"\n"
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
                answer = json.loads(line)
                if "error" in answer:
                    raise RunError(str(answer["error"]))
                yield answer

    def _not_live(self) -> RunError:
        name = self.run.name
        return RunError(f"run {name} is not being trained now; go on with tinytui train --resume {name}")

    def _silent(self) -> RunError:
        return RunError(f"the trainer of run {self.run.name} does not answer; try again, or see its log.txt")


def _read_object(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_bytes().split(b"\n", 1)[0])
    except (OSError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}
