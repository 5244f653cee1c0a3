"""The one writer of a run: appends records, replaces the status, holds the lock.

It only appends and goes on; nobody is waited for. Every record is one line in one `os.write`, so a kill leaves at most
one torn last line, which the next writer ends with a newline before it adds its own.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from pathlib import Path
from types import TracebackType
from typing import Any, Self, SupportsFloat

from engine.errors import RunError, UserError
from engine.files import cannot, sweep, write_atomic
from engine.runs.layout import RunDir
from engine.runs.lock import RunLock, hostname
from engine.runs.records import TORN, json_line, metric_line, pretty_json
from engine.runs.status import ALIVE, read_json

HEARTBEAT = 0.5
"""Least seconds between two status files while neither state, phase nor message changes."""

_URGENT = ("state", "phase", "message")


class RunWriter:
    """Writes a run's records. A context manager: entering takes the lock, leaving writes the last status and frees it.

    All methods may be called from any thread. Entering raises LockedError while another process trains the run,
    RunError when it is not a run, UserError when it cannot be written. Records that cannot be written (disk full)
    raise UserError naming the file; a status that cannot be written is left out, for it is only a heartbeat.
    """

    def __init__(self, run: RunDir, *, socket: str = "") -> None:
        self.run = run
        self._lock = RunLock(run.path, socket=socket)
        self._guard = threading.RLock()
        self._files: dict[str, _Log] = {}
        self._status: dict[str, Any] = {}
        self._written = 0.0
        self._dirty = False

    def __enter__(self) -> Self:
        if not self.run.exists:
            raise RunError(f"{self.run.path} is not a run; see tinytui runs list")
        self._lock.acquire()
        try:
            sweep(self.run.path)
            for name, path in (
                ("metrics", self.run.metrics),
                ("samples", self.run.samples),
                ("events", self.run.events),
            ):
                self._files[name] = _Log(path)
            self._status = read_json(self.run.status_json) or {}
            self._status.update(pid=os.getpid(), host=hostname(), socket=self._lock.socket, message="")
        except BaseException:
            self._close_files()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None and self._status.get("state", "running") in ALIVE:
            said = str(error) if isinstance(error, UserError) else f"{type(error).__name__}: {error}"
            self.status(state="failed", message=" ".join(said.split()))
        self.close()

    def close(self) -> None:
        """Writes the last status and frees the lock; a run still said to be training is then `stopped`."""
        with self._guard:
            if not self._lock.held:
                return
            if self._status.get("state") in ALIVE:
                self._status["state"] = "stopped"
                self._dirty = True
            if self._dirty:
                self._write_status()
            self._close_files()

    def _close_files(self) -> None:
        for log in self._files.values():
            log.close()
        self._files = {}
        self._lock.release()

    def metric(self, **fields: SupportsFloat | None) -> None:
        """Appends a record to metrics.jsonl: numbers by name, `step` first (records.TRAIN_KEYS or VAL_KEYS).

        Floats keep 6 significant digits, `time_s` milliseconds. A field that is None is left out; a number that is
        not finite is written as null, JSON having no NaN.
        """
        self._append("metrics", metric_line(fields))

    def sample(self, **fields: Any) -> None:
        """Appends what the model wrote to samples.jsonl: step, prompt, text, settings, seed, how much is copied."""
        self._append("samples", json_line(fields))

    def event(self, kind: str, step: int, **fields: Any) -> None:
        """Appends to events.jsonl {step, time (Unix seconds), kind, ...}: what happened to this run, and when."""
        self._append("events", json_line({"step": step, "time": round(time.time(), 3), "kind": kind, **fields}))

    def rewind(self, step: int) -> None:
        """Training goes on from `step`: metrics and samples beyond it, written before, no longer count.

        Nothing is rewritten: a line {"resumed": step} tells every reader to forget what it read of later steps.
        Events stay, they did happen.
        """
        line = json_line({"resumed": int(step)})
        self._append("metrics", line)
        self._append("samples", line)

    def status(self, **fields: Any) -> bool:
        """Merges `fields` into the status and replaces status.json; without fields it is a heartbeat.

        Written at once when state, phase or message changes, else at most every HEARTBEAT seconds: call it each step.
        Returns False only when the file could not be written; the fields are kept for the next time.
        """
        with self._guard:
            urgent = any(key in fields and fields[key] != self._status.get(key) for key in _URGENT)
            self._status.update(fields)
            self._dirty = self._dirty or bool(fields)
            if not self._lock.held or (not urgent and time.monotonic() - self._written < HEARTBEAT):
                return True
            return self._write_status()

    def _write_status(self) -> bool:
        self._written = time.monotonic()
        self._status["heartbeat"] = round(time.time(), 3)
        try:
            write_atomic(self.run.status_json, pretty_json(self._status), sync=False)
        except UserError:
            return False
        self._dirty = False
        return True

    def describe(self, **fields: Any) -> None:
        """Adds facts to run.json or replaces them (tokenizer's fingerprint, a config with more steps); atomic."""
        with self._guard:
            info = read_json(self.run.run_json)
            if info is None:
                raise RunError(f"{self.run.run_json} cannot be read; restore it or start a new run")
            write_atomic(self.run.run_json, pretty_json({**info, **fields}))

    def serve_at(self, socket: str) -> None:
        """Tells the path of the control socket, in the lock file and the status."""
        with self._guard:
            self._lock.say(socket)
            self.status(socket=socket)

    def sync(self) -> None:
        """Makes everything appended so far last through a power loss; called beside each checkpoint."""
        with self._guard:
            for log in self._files.values():
                log.sync()

    def _append(self, name: str, line: bytes) -> None:
        with self._guard:
            log = self._files.get(name)
            if log is None:
                raise RunError(f"run {self.run.name} is closed; nothing more can be written to it")
            log.append(line)


class _Log:
    """An append-only JSONL file that never glues a record to a torn one."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self._fd = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o666)
        except OSError as error:
            raise cannot("open", path, error) from None
        try:
            size = os.fstat(self._fd).st_size
            self._torn = size > 0 and os.pread(self._fd, 1, size - 1) != b"\n"
            if self._torn:
                self.append(b"")
        except BaseException:
            self.close()
            raise

    def append(self, line: bytes) -> None:
        data = TORN + line if self._torn else line
        try:
            while data:
                written = os.write(self._fd, data)
                data = data[written:]  # a disk that fills up takes a part and refuses the rest
                self._torn = bool(data)
        except OSError as error:
            raise cannot("write", self.path, error) from None

    def sync(self) -> None:
        try:
            os.fsync(self._fd)
        except OSError as error:
            raise cannot("sync", self.path, error) from None

    def close(self) -> None:
        with contextlib.suppress(OSError):
            os.close(self._fd)
