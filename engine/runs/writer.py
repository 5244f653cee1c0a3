"""The one writer of a run: appends records, replaces the status, holds the lock.

It only appends and goes on; nobody is waited for. Every record is one line in one `os.write`, so a kill leaves at most
one torn last line, which the next writer ends with a newline before it adds its own. What cannot be written (a full
disk, a folder that is gone) stays in memory, in order, and is tried again at every heartbeat; `stuck` says why.
"""

from __future__ import annotations

import os
import shutil
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Self, SupportsFloat

from engine.errors import LockedError, RunError, UserError
from engine.files import beside, cannot, overwrite, reason, sweep, sync_folder, write_atomic
from engine.machine import hostname
from engine.runs.layout import RunDir
from engine.runs.lines import json_line, metric_line, pretty_json
from engine.runs.lock import RunLock
from engine.runs.log import AppendLog
from engine.runs.status import ALIVE, read_json, read_said

HEARTBEAT = 0.5
"""Least seconds between two status files while neither state, phase nor message changes, and between two tries."""

_URGENT = ("state", "phase", "message")


class RunWriter:
    """Writes a run's records. A context manager: entering takes the lock, leaving writes the last status and frees it.

    All methods may be called from any thread. Entering raises LockedError while another process trains the run,
    RunError when it is not a run, UserError when it cannot be written. From then on nothing is raised for what cannot
    be written: `stuck` tells, until it is. Leaving with something unwritten raises UserError that names it.
    """

    def __init__(self, run: RunDir) -> None:
        self.run = run
        self.taken = ""
        """Why nothing more can be written for good: another run stands at this one's path."""
        self.restored = False
        """Whether the folder was taken away and written again, without checkpoints; who writes one takes this back."""
        self._lock = RunLock(run.path)
        self._guard = threading.RLock()
        self._files: dict[str, AppendLog] = {}
        self._info: dict[str, Any] | None = None
        self._status: dict[str, Any] = {}
        self._written = 0.0
        self._dirty = False
        self._gone = ""
        """Why the run's folder, which is gone, cannot be made again."""
        self._waiting: dict[str, tuple[str, Path, Callable[[], None]]] = {}
        """What could not be written, by name: why in one line, where, and how to try again."""

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
                self._files[name] = AppendLog(path)
            self._info = read_json(self.run.run_json)
            self._status = read_said(self.run)[0] or {}
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
        if error is None:
            self.check()

    def close(self) -> None:
        """Writes the last status and frees the lock; a run still said to be training is then `stopped`."""
        with self._guard:
            if not self._lock.held:
                return
            if self._status.get("state") in ALIVE:
                self._status["state"] = "stopped"
                self._dirty = True
            if self._dirty or self._waiting:
                self.retry()
            if not self.taken:
                sweep(self.run.path)  # what could not be unlinked when it was made
            self._close_files()

    def _close_files(self) -> None:
        for log in self._files.values():
            log.close()
        self._files = {}
        self._lock.release()

    # -- records -----------------------------------------------------------------------------------------------------

    def metric(self, **fields: SupportsFloat | None) -> None:
        """Appends a record to metrics.jsonl: numbers by name, `step` first (records.TRAIN_KEYS or VAL_KEYS).

        Floats keep 6 significant digits, `time_s` milliseconds. A field that is None is left out; a number that is
        not finite is written as null, JSON having no NaN.
        """
        self._append("metrics", metric_line(fields), int(fields.get("step") or 0))  # type: ignore[call-overload]

    def sample(self, **fields: Any) -> None:
        """Appends what the model wrote to samples.jsonl: step, prompt, text, settings, seed, how much is copied."""
        self._append("samples", json_line(fields), int(fields.get("step") or 0))

    def event(self, kind: str, step: int, **fields: Any) -> None:
        """Appends to events.jsonl {step, time (Unix seconds), kind, ...}: what happened to this run, and when."""
        line = json_line({"step": step, "time": round(time.time(), 3), "kind": kind, **fields})
        self._append("events", line, step)

    def rewind(self, step: int) -> None:
        """Training goes on from `step`: metrics and samples beyond it, written before, no longer count.

        Nothing is rewritten: a line {"resumed": step} tells every reader to forget what it read of later steps.
        Events stay, they did happen.
        """
        line = json_line({"resumed": int(step)})
        self._append("metrics", line, step)
        self._append("samples", line, step)

    def _append(self, name: str, line: bytes, step: int) -> None:
        with self._guard:
            log = self._files.get(name)
            if log is None:
                raise RunError(f"run {self.run.name} is closed; nothing more can be written to it")
            try:
                log.append(line, step)
            except OSError as error:
                self._wait(name, log.path, error, log.write)

    # -- the status and the other small files ------------------------------------------------------------------------

    def status(self, **fields: Any) -> bool:
        """Merges `fields` into the status and replaces status.json; without fields it is a heartbeat.

        Written at once when state, phase or message changes, else at most every HEARTBEAT seconds: call it each step.
        What waits to be written is tried again then, and the run's folder is looked after. Returns False only when
        status.json could not be written; the fields are kept for the next time.
        """
        with self._guard:
            urgent = any(key in fields and fields[key] != self._status.get(key) for key in _URGENT)
            self._status.update(fields)
            self._dirty = self._dirty or bool(fields)
            if not self._lock.held or (not urgent and time.monotonic() - self._written < HEARTBEAT):
                return True
            self.retry()
            return "status.json" not in self._waiting

    def _write_status(self) -> None:
        self._status["heartbeat"] = round(time.time(), 3)
        data = pretty_json(self._status)
        try:
            write_atomic(self.run.status_json, data, sync=False)
        except UserError as error:
            try:
                overwrite(self.run.status_json, data)  # needs no room
            except OSError:
                raise error from None
        self._dirty = False

    def describe(self, **fields: Any) -> None:
        """Adds facts to run.json or replaces them (tokenizer's fingerprint, a config with more steps); atomic."""
        with self._guard:
            if self._info is None:
                raise RunError(f"{self.run.run_json} cannot be read; restore it or start a new run")
            self._info |= fields
            self._try("run.json", self.run.run_json, self._write_info)

    def _write_info(self) -> None:
        write_atomic(self.run.run_json, pretty_json(self._info))

    def serve_at(self, socket: str) -> None:
        """Tells the path of the control socket, in the lock file and the status."""
        with self._guard:
            self._try("lock", self.run.lock, lambda: self._lock.say(socket))
            self.status(socket=socket)

    def sync(self) -> None:
        """Makes everything appended so far last through a power loss; called beside each checkpoint.

        Raises UserError when something could not be written or synced.
        """
        with self._guard:
            self.retry()
            for name, log in self._files.items():
                if name not in self._waiting:
                    self._try(name, log.path, log.sync)
            self.check()

    # -- what could not be written -----------------------------------------------------------------------------------

    @property
    def stuck(self) -> str:
        """Why something of the run is not written, in one line; empty when all of it is."""
        with self._guard:
            return self.taken or self._gone or next((why for why, *_ in self._waiting.values()), "")

    def untold(self) -> dict[str, Any]:
        """The status that status.json does not tell, as it cannot be written; empty while it does."""
        with self._guard:
            return dict(self._status) if "status.json" in self._waiting else {}

    def unsaved(self) -> list[str]:
        """What is not written: `metrics since step 41`, `run.json`."""
        with self._guard:
            logs = [(name, log.waits_since) for name, log in self._files.items()]
            said = [f"{name} since step {step}" for name, step in logs if step is not None]
            return said + [name for name in ("run.json",) if name in self._waiting]

    def check(self) -> None:
        """Raises UserError when something is not written, with the reason; RunError when another run took the path."""
        if self.taken:
            raise RunError(self.taken)
        if why := self.stuck:
            raise UserError(why)

    def retry(self) -> str:
        """Tries to write all that waits, and writes the status; what `stuck` is then."""
        with self._guard:
            if not self._lock.held or self.taken:
                return self.stuck
            if self._in_place():
                self._gone = ""
            else:
                self._put_back()
            for name, (_, path, action) in list(self._waiting.items()):
                self._try(name, path, action)
            self._written = time.monotonic()
            if not self.taken:
                self._try("status.json", self.run.status_json, self._write_status)
            return self.stuck

    def _try(self, name: str, path: Path, action: Callable[[], None]) -> None:
        try:
            action()
        except (OSError, UserError) as error:
            self._wait(name, path, error, action)
        else:
            self._waiting.pop(name, None)

    def _wait(self, name: str, path: Path, error: Exception, action: Callable[[], None]) -> None:
        said = cannot("write", path, error) if isinstance(error, OSError) else error
        self._waiting[name] = str(said), path, action

    # -- a folder that is taken away ---------------------------------------------------------------------------------

    def _in_place(self) -> bool:
        return self._lock.in_place and self.run.exists and all(log.in_place for log in self._files.values())

    def _put_back(self) -> None:
        """Makes the run whole again at its path, from memory and from the open files: its folder or a part is gone.

        Raises nothing: where it cannot, that waits like all else; where another run stands there, `taken` says so.
        """
        path, step = self.run.path, int(self._status.get("step") or 0)
        try:
            gone = self._fill_again() if os.path.lexists(path) else self._make_again()
        except LockedError as error:
            self.taken = f"{error}; this training ends at step {step}"
        except (OSError, UserError) as error:
            why = reason(error) if isinstance(error, OSError) else str(error)
            self._gone = f"{path} is gone and cannot be made again: {why}"
        else:
            self._gone, self.restored = "", True
            message = f"{gone} had been taken away, and was written again"
            self.event("alarm", step, alarm="folder", message=message)

    def _make_again(self) -> str:
        """The whole folder, which appears at once; its parent is not made, it may be a disk that is away."""
        path = self.run.path
        temp = beside(path)
        try:
            temp.mkdir()
            self._fill(temp)
            temp.rename(path)
            self._lock.path = path / "lock"
            for log in self._files.values():
                log.path = path / log.path.name
            sync_folder(path.parent)
        finally:
            shutil.rmtree(temp, ignore_errors=True)
        return "its folder"

    def _fill_again(self) -> str:
        """What is missing in a folder that is there. Raises LockedError when it is another run's."""
        found = read_json(self.run.run_json)
        ours = self._info or {}
        if found is not None and any(found.get(key) != ours.get(key) for key in ("name", "created")):
            raise LockedError(f"{self.run.path} was taken away, and another run made there")
        return ", ".join(self._fill(self.run.path))

    def _fill(self, folder: Path) -> list[str]:
        """Puts the lock, run.json and the logs into `folder` where they are not the open ones; their names."""
        put = []
        if not self._lock.in_place or folder != self.run.path:
            old, self._lock = self._lock, RunLock(folder, socket=self._lock.socket).acquire()
            old.release()
            put.append("lock")
        if not (folder / "run.json").is_file():
            write_atomic(folder / "run.json", pretty_json(self._info))
            put.append("run.json")
        for log in self._files.values():
            if not log.in_place or folder != self.run.path:
                log.put_back(folder / log.path.name)
                put.append(log.path.name)
        return put
