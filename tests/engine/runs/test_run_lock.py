"""Whose run it is: one trainer, told truly, whatever became of the one before."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from engine.errors import LockedError, RunError
from engine.machine import hostname
from engine.runs import lock as lock_module
from engine.runs import status
from engine.runs.layout import RunDir
from engine.runs.lock import RunLock, holders, is_locked, read_owner
from engine.runs.reader import RunReader
from engine.runs.status import SILENCE, read_status
from engine.runs.writer import RunWriter

ROOT = Path(__file__).parents[3]


def python(code: str, *args: object) -> subprocess.Popen[str]:
    """Python code in a process of its own, its stdout and stdin ours."""
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", code, *map(str, args)]
    return subprocess.Popen(command, stdin=-1, stdout=-1, text=True, env=env)


def test_a_lock_file_replaced_between_open_and_flock_is_not_ours(run: RunDir, monkeypatch: pytest.MonkeyPatch) -> None:
    """The run is removed and made anew in between: a lock on the old file would let a second trainer in."""
    real = fcntl.flock
    replaced = 0

    def flock(fd: int, operation: int) -> None:
        nonlocal replaced
        if operation & fcntl.LOCK_EX and replaced < 2:
            replaced += 1
            run.lock.rename(run.path / f"old-{replaced}")
            run.lock.touch()
        real(fd, operation)

    monkeypatch.setattr(lock_module.fcntl, "flock", flock)
    with RunLock(run.path) as held:
        assert replaced == 2
        assert held.held and is_locked(run.lock)
        assert read_owner(run.lock)["pid"] == os.getpid()
        for old in run.path.glob("old-*"):
            assert not is_locked(old) and old.read_bytes() == b""
    monkeypatch.undo()
    assert not is_locked(run.lock)


def test_a_lock_file_that_goes_for_good_is_a_run_that_is_gone(run: RunDir, monkeypatch: pytest.MonkeyPatch) -> None:
    real = fcntl.flock

    def flock(fd: int, operation: int) -> None:
        real(fd, operation)
        if run.path.exists():
            run.path.rename(run.path.with_name("gone"))

    monkeypatch.setattr(lock_module.fcntl, "flock", flock)
    held = RunLock(run.path)
    with pytest.raises(RunError, match="is gone"):
        held.acquire()
    assert not held.held
    monkeypatch.undo()
    assert not is_locked(run.path.with_name("gone") / "lock")


FORKS = """
import os, signal, sys, threading
from pathlib import Path
from engine.runs.lock import RunLock
lock = RunLock(Path(sys.argv[1]))
how = sys.argv[2]
if how == "after":
    lock.acquire()
if how == "meanwhile":  # another thread forks while the lock is being taken
    import fcntl
    real, pids = fcntl.flock, []
    def flock(fd, operation):
        real(fd, operation)
        if not pids:
            pids.append(os.fork())
            if not pids[0]:
                signal.pause()
    fcntl.flock = flock
    lock.acquire()
    pid = pids[0]
else:
    pid = os.fork()
    if not pid:
        signal.pause()
print(pid, flush=True)
signal.pause()
"""


@pytest.mark.parametrize("how", ["after", "meanwhile"])
def test_a_forked_child_does_not_keep_a_killed_parents_lock(run: RunDir, how: str) -> None:
    parent = python(FORKS, run.path, how)
    assert parent.stdout is not None
    child = int(parent.stdout.readline())
    try:
        assert is_locked(run.lock) and holders(run.lock) in ({parent.pid}, set())
        parent.kill()
        parent.wait()
        os.kill(child, 0)  # the child lives on
        deadline = time.monotonic() + 60
        while is_locked(run.lock) and time.monotonic() < deadline:  # until it has had its turn, on a busy machine
            time.sleep(0.01)
        with RunWriter(run):
            assert run.live
    finally:
        os.kill(child, signal.SIGKILL)
        parent.stdout.close()


@contextmanager
def held_by_a_stranger(path: Path) -> Iterator[int]:
    """A process that is no trainer holds the lock file; its pid."""
    take = "import fcntl, sys; file = open(sys.argv[1], 'a'); fcntl.flock(file, fcntl.LOCK_EX)"
    process = python(f"{take}; print('held', flush=True); input()", path)
    assert process.stdout is not None and process.stdout.readline() == "held\n"
    try:
        yield process.pid
    finally:
        process.communicate("\n")


def dead_pid() -> int:
    process = subprocess.Popen(["true"])
    process.wait()
    return process.pid


def test_a_strangers_lock_is_told_as_that(run: RunDir, impatient: None) -> None:
    dead = dead_pid()
    run.lock.write_text(json.dumps({"pid": dead, "host": hostname(), "socket": "", "started": 1.0}))
    with held_by_a_stranger(run.lock) as pid:
        if not holders(run.lock):
            pytest.skip("this kernel does not tell who holds a lock")
        with pytest.raises(LockedError) as caught:
            RunLock(run.path).acquire()
        said = str(caught.value)
        assert said.startswith(f"run soap-1 is locked by process {pid} of ") and "no trainer of ours" in said
        assert str(dead) not in said.replace(str(pid), "")
    with RunLock(run.path):
        pass


def test_where_the_kernel_tells_no_holder_the_file_is_believed(
    run: RunDir, impatient: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lock_module, "holders", lambda path: set())
    with RunLock(run.path), pytest.raises(LockedError, match=f"trained by process {os.getpid()} on {hostname()}"):
        RunLock(run.path).acquire()


@pytest.mark.parametrize("content", [b"", b"\x00\xff", b"[]", b'{"pid": "x"}', b'{"pid": -1}', b"[" * 9999])
def test_a_lock_file_of_nonsense_names_nobody(run: RunDir, content: bytes, impatient: None) -> None:
    run.lock.write_bytes(content)
    assert read_owner(run.lock) == {}
    with held_by_a_stranger(run.lock), pytest.raises(LockedError, match="run soap-1 is"):
        RunLock(run.path).acquire()
    with RunLock(run.path):
        assert read_owner(run.lock)["pid"] == os.getpid()


@pytest.mark.parametrize("ahead", [SILENCE * 0.9, SILENCE * 1.1, 1e6, 1e10])
def test_a_heartbeat_of_the_future_is_no_life_for_ever(
    run: RunDir, ahead: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A clock that was moved, or another machine's: elsewhere it counts as far as clocks differ, here the lock does."""
    now = 2e9
    monkeypatch.setattr(status.time, "time", lambda: now)
    said = {"state": "running", "pid": dead_pid(), "heartbeat": now + ahead}
    run.status_json.write_text(json.dumps({**said, "host": "far-away"}))
    assert read_status(run)["state"] == ("running" if ahead < SILENCE else "crashed")
    run.status_json.write_text(json.dumps({**said, "host": hostname()}))
    assert read_status(run)["state"] == "crashed"
    with RunLock(run.path):
        assert read_status(run)["state"] == "running"


def test_a_locked_run_lives_whatever_its_status_says_of_the_host(run: RunDir) -> None:
    run.status_json.write_text(json.dumps({"state": "running", "pid": 1, "host": "old-name", "heartbeat": 1.0}))
    assert read_status(run)["state"] == "crashed"
    with RunLock(run.path):
        assert read_status(run)["state"] == "running"
        assert RunReader(run).status["state"] == "running"


def test_a_child_that_is_executed_keeps_nothing_either(run: RunDir) -> None:
    with RunLock(run.path) as held:
        child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=-1, close_fds=False, pass_fds=())
        held.drop()
        deadline = time.monotonic() + 60
        while is_locked(run.lock) and time.monotonic() < deadline:
            time.sleep(0.01)  # until it is executed
        assert not is_locked(run.lock)
        child.communicate(b"\n")
