"""What seldom goes wrong with a run's files, each named in one line."""

from __future__ import annotations

import errno
import json
import os
import socket
from array import array
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from engine import files, machine
from engine.errors import LockedError, RunError, UserError
from engine.preset_files import load_preset
from engine.runs import layout, lock, log, tail
from engine.runs.columns import columns_of
from engine.runs.layout import RunDir, create_run, list_runs, remove_run
from engine.runs.lock import RunLock, holders, is_locked
from engine.runs.log import MOST_UNSYNCED, AppendLog
from engine.runs.reader import RunReader
from engine.runs.series import Series, Table
from engine.runs.status import read_status
from engine.runs.tail import Tail
from engine.runs.writer import RunWriter

SAMPLE = b'{"step":1,"prompt":"a","text":"b"}\n'
EVENT = b'{"step":1,"time":1.0,"kind":"x"}\n'
EIO = OSError(errno.EIO, "Input/output error")


def failing(error: BaseException) -> Callable[..., Any]:
    def fails(*_: object, **__: object) -> Any:
        raise error

    return fails


# -- folders -----------------------------------------------------------------------------------------------------------


def test_a_place_that_cannot_be_listed_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=r"cannot list the runs in .*file"):
        list_runs(tmp_path / "file")
    assert list_runs(tmp_path / "nothing") == []


def test_a_run_whose_place_cannot_be_synced_is_not_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def unsynced(folder: Path) -> None:
        if folder.name == "runs":  # where it gets its name: all in it was synced before
            raise EIO

    monkeypatch.setattr(files, "sync_folder", unsynced)
    with pytest.raises(UserError, match="cannot make the run"):
        create_run(tmp_path / "runs", "one", load_preset("nano"), corpus={})
    assert os.listdir(tmp_path / "runs") == []  # noqa: PTH208


def test_a_name_that_is_taken_meanwhile_is_said(tmp_path: Path) -> None:
    def somebody_else(run: RunDir) -> None:
        other = tmp_path / "runs" / "one"
        other.mkdir()
        (other / "run.json").write_text("{}")

    with pytest.raises(RunError, match="run one exists; choose another name"):
        create_run(tmp_path / "runs", "one", load_preset("nano"), corpus={}, fill=somebody_else)
    assert os.listdir(tmp_path / "runs") == ["one"]  # noqa: PTH208


def test_a_run_that_cannot_be_deleted_is_named(run: RunDir, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layout.shutil, "rmtree", failing(EIO))
    with pytest.raises(UserError, match=r"cannot remove .*soap-1"):
        remove_run(run)
    assert not run.exists


# -- the lock ----------------------------------------------------------------------------------------------------------


def test_a_lock_that_cannot_be_taken_or_written_is_named(run: RunDir, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(lock.fcntl, "flock", failing(EIO))
        with pytest.raises(UserError, match=r"cannot lock .*lock: input/output error"):
            RunLock(run.path).acquire()
        assert is_locked(run.lock) is None
    with monkeypatch.context() as patch:
        patch.setattr(lock.os, "pwrite", failing(EIO))
        with pytest.raises(UserError, match=r"cannot write .*lock: input/output error"):
            RunLock(run.path).acquire()
    assert is_locked(run.lock) is False
    with monkeypatch.context() as patch:
        patch.setattr(lock.os, "open", failing(PermissionError(errno.EACCES, "Permission denied")))
        assert is_locked(run.lock) is None
    with RunLock(run.path):
        assert is_locked(run.lock) is True


def test_a_lock_may_have_the_number_of_a_closed_standard_input(run: RunDir) -> None:
    saved = os.dup(0)
    try:
        os.close(0)
        held = RunLock(run.path).acquire()
        number = held._fd
        assert held.held and held.in_place and is_locked(run.lock) is True
        held.release()
        assert not held.held and is_locked(run.lock) is False
        with pytest.raises(OSError):
            os.fstat(number)
    finally:
        os.dup2(saved, 0)
        os.close(saved)
    assert number == 0


def test_a_child_drops_every_lock_it_was_born_with(run: RunDir, tmp_path: Path) -> None:
    first, second = RunLock(run.path), RunLock(tmp_path)
    first.acquire(), second.acquire()
    lock._drop_in_child()
    assert not first.held and not second.held and not lock._held
    assert is_locked(run.lock) is False


def test_whether_a_process_lives_is_told_for_anybodys(monkeypatch: pytest.MonkeyPatch) -> None:
    assert lock._lives(os.getpid()) and not lock._lives(None) and not lock._lives(0)
    for error, lives in ((ProcessLookupError(), False), (OverflowError(), False), (PermissionError(), True)):
        monkeypatch.setattr(lock.os, "kill", failing(error))
        assert lock._lives(7) is lives


def test_who_holds_a_lock_is_asked_of_the_kernel(run: RunDir, monkeypatch: pytest.MonkeyPatch) -> None:
    facts = run.run_json.stat()
    place = f"{os.major(facts.st_dev):02x}:{os.minor(facts.st_dev):02x}:{facts.st_ino}"
    told = (
        f"1: FLOCK  ADVISORY  WRITE 71 {place} 0 EOF\n1: -> FLOCK  ADVISORY  WRITE 72 {place} 0 EOF\n"
        f"2: FLOCK  ADVISORY  WRITE 1 {place} 0 EOF\n3: FLOCK  ADVISORY  WRITE 0 {place} 0 EOF\n"
        f"4: FLOCK  ADVISORY  WRITE -1 {place} 0 EOF\n5: POSIX  ADVISORY  WRITE 73 {place} 0 EOF\n"
        "6: FLOCK  ADVISORY  WRITE 74 00:00:1 0 EOF\n"
    )
    monkeypatch.setattr(Path, "read_text", lambda self, **_: told)
    assert holders(run.run_json) == {1, 71}
    monkeypatch.setattr(Path, "read_text", failing(EIO))
    assert holders(run.run_json) == set() and holders(run.path / "nothing") == set()


def test_a_holder_is_named_with_its_user_where_that_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    import pwd

    assert lock._of_user(os.getpid()) == f" of {pwd.getpwuid(os.getuid()).pw_name}"
    monkeypatch.setattr(pwd, "getpwuid", failing(KeyError("uid")))
    assert lock._of_user(os.getpid()) == ""
    assert lock._of_user(2**30) == ""


# -- records -----------------------------------------------------------------------------------------------------------


def test_a_log_that_cannot_be_opened_or_read_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "folder").mkdir()
    with pytest.raises(UserError, match=r"cannot open .*folder: is a directory"):
        AppendLog(tmp_path / "folder")
    (tmp_path / "log").write_bytes(b"{}")
    monkeypatch.setattr(log.os, "pread", failing(EIO))
    closed: list[int] = []
    monkeypatch.setattr(log.os, "close", closed.append)
    with pytest.raises(UserError, match=r"cannot read .*log: input/output error"):
        AppendLog(tmp_path / "log")
    assert len(closed) == 1
    monkeypatch.undo()
    os.close(closed[0])


def test_no_more_than_a_mebibyte_waits_for_its_sync(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[int] = []
    sync = os.fsync
    monkeypatch.setattr(log.os, "fsync", lambda fd: (synced.append(fd), sync(fd)))
    records = AppendLog(tmp_path / "log")
    records.append(b"x" * (MOST_UNSYNCED - 1) + b"\n", 1)
    assert synced == [] and len(records._unsynced) == MOST_UNSYNCED
    records.append(b"\n", 2)
    assert len(synced) == 1 and not records._unsynced
    records.close()


def test_a_sync_writes_what_waits_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    records = AppendLog(tmp_path / "log")
    with monkeypatch.context() as patch:
        patch.setattr(log.os, "write", failing(OSError(errno.ENOSPC, "No space left on device")))
        with pytest.raises(OSError, match="No space"):
            records.append(b"{}\n", 4)
        assert records.waits_since == 4
        with pytest.raises(OSError, match="No space"):
            records.sync()
    records.sync()
    assert (tmp_path / "log").read_bytes() == b"{}\n" and records.waits_since is None
    for number in (errno.EINVAL, errno.ENOTSUP):  # what cannot be synced at all
        monkeypatch.setattr(log.os, "fsync", failing(OSError(number, "")))
        records.append(b"{}\n", 5)
        records.sync()
        assert not records._unsynced and not records._suspect
    records.close()


def test_only_a_last_line_that_is_cut_short_is_ended(tmp_path: Path) -> None:
    for held, kept in ((b"", b""), (b"{}\n", b"{}\n"), (b"\n", b"\n"), (b"x", b"x")):
        path = tmp_path / "log"
        path.write_bytes(held)
        records = AppendLog(path)
        records.append(b"[]\n", 1)
        records.close()
        written = path.read_bytes()
        assert written.startswith(kept) and written.endswith(b"[]\n")
        assert (written == kept + b"[]\n") is (held != b"x")


def added(series: Series, records: list[dict[str, Any]]) -> bool:
    both = columns_of(records)
    return both is not None and series.extend(*both)


def test_records_are_added_together_only_when_nothing_is_to_be_said_of_any() -> None:
    series = Series()
    assert added(series, [{"step": 1, "loss": 2.5}, {"step": 1, "val_loss": 3.0}, {"step": 2.0, "odd": None}])
    assert not added(series, [{"step": 3}, {"resumed": 2}]) and not added(series, [{"step": 3}, {"loss": 2.0}])
    for step in (2, -1, 3.5, 2**53, "3", [3], None, float("nan")):
        assert not added(series, [{"step": step}]), step
    for odd in ("1.5", [1.5], {}):  # of true and false there is none in the block
        assert not added(series, [{"step": 3, "loss": 1.0}, {"step": 4, "loss": odd}]), odd
        assert not added(series, [{"step": 3, "unknown": odd}]), odd
    assert not added(series, [{"step": 3}, {"step": 3}]) and not added(
        series, [{"step": 3}, {"step": 1, "val_loss": 1}]
    )
    assert series.step.tolist() == [1, 2] and series.val_step.tolist() == [1] and series.val_loss.tolist() == [3.0]
    assert series.loss.tolist()[:1] == [2.5] and np.isnan(series.loss[1])
    assert added(series, [{"step": 2**53 - 1, "loss": 10**300}]) and series.loss[2] == 1e300


def test_a_table_grows_by_times_what_it_is() -> None:
    table = Table(("step", "loss", "lr"))
    for rows, size in ((1024, 1024), (1025, 4096), (17000, 17000)):
        table._grow(rows)
        assert len(table._steps) == size
    table.extend(np.arange(2), {"loss": array("d", [1.0, 2.0]), "odd": array("d", [3.0, 4.0])})
    assert table.steps.tolist() == [0, 1] and table.column("loss").tolist() == [1, 2]
    assert np.isnan(table.column("lr")).all()


def test_of_records_that_are_not_alike_what_is_absent_is_no_number() -> None:
    alike, others = Series(), Series()
    assert added(alike, [{"step": 1, "loss": 1.0}, {"loss": 2.0, "step": 2}])
    assert added(others, [{"step": 1, "loss": 1.0}, {"step": 2, "lr": 2.0}, {"step": 3, "loss": None}, {"step": 4}])
    assert alike.loss.tolist() == [1.0, 2.0] and others.step.tolist() == [1, 2, 3, 4]
    assert np.isnan(others.loss).tolist() == [False, True, True, True]
    assert np.isnan(others.lr).tolist() == [True, False, True, True]


@pytest.mark.parametrize(
    ("record", "said"),
    [
        ({"resumed": "x" * 99}, "resumed from 'xxxxxxxxxxxx...xxxxxxxxxxxxx', which is no step; left out"),
        ({"resumed": True}, "resumed from True, which is no step; left out"),
        ({"resumed": 2**53}, f"resumed from {2**53}, which is no step; left out"),
        ({"resumed": 2**53 - 1}, None),
        ({"loss": 1.0}, "no step; left out"),
        ({"step": -1}, "no step; left out"),
        ({"step": 1.5}, "no step; left out"),
        ({"step": 1.0, "loss": None}, None),
        ({"step": 0, "loss": 10**400}, "loss is out of range; left out"),
        ({"step": 0, "loss": True}, "loss is not a number; left out"),
        ({"step": 0, "x" * 50: "1"}, f"{'x' * 40} is not a number; left out"),
    ],
)
def test_a_record_that_is_none_is_named(record: dict[str, Any], said: str | None) -> None:
    assert Series().add(record) == said


def test_columns_of_a_series_are_told_from_their_class() -> None:
    assert Series.loss is Series.__dict__["loss"]  # type: ignore[comparison-overlap]


# -- following ---------------------------------------------------------------------------------------------------------


def test_a_file_that_cannot_be_read_again_is_read_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "log"
    path.write_bytes(b"1\n2\n")
    following = Tail(path)
    assert list(following.blocks()) == [b"1\n2\n"] and not following.rewritten() and list(following.blocks()) == []
    with monkeypatch.context() as patch:
        patch.setattr(tail.os, "pread", failing(EIO))
        assert following.rewritten()
    assert list(following.blocks()) == [b"1\n2\n"]


def test_a_file_that_is_cut_while_it_is_read_ends_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "log"
    path.write_bytes(b"1\n2\n")
    following = Tail(path)
    monkeypatch.setattr(tail.os, "pread", lambda *_: b"")
    assert list(following.blocks()) == []


@pytest.mark.parametrize(
    ("name", "line", "told"),
    [("metrics", b'{"step":1,"loss":2.5}\n', "series"), ("samples", SAMPLE, "samples"), ("events", EVENT, "events")],
)
def test_what_changed_is_told_also_when_it_cannot_be_read(
    run: RunDir, monkeypatch: pytest.MonkeyPatch, name: str, line: bytes, told: str
) -> None:
    reader = RunReader(run)
    reader.poll()
    path: Path = getattr(run, name)
    for content, changed in ((line, True), (b"", False), (b'{"half', False), (b'":1}\n', True), (b"nonsense\n", True)):
        with path.open("ab") as file:
            file.write(content)
        assert reader.poll() is changed and reader.changed == ({told} if changed else set())
    with path.open("ab") as file:
        file.write(line)
    with monkeypatch.context() as patch:
        patch.setattr(tail.os, "pread", failing(EIO))
        assert reader.poll() and reader.changed == {told}
        assert any("cannot be read: Input/output error" in problem for problem in reader.problems)
    with path.open("ab") as file:
        file.write(line)
    assert reader.poll() and reader.changed == {told}
    assert not any("cannot be read" in problem for problem in reader.problems)
    path.write_bytes(b"")
    assert reader.poll() and reader.changed == {told} and not reader.poll()


def test_a_run_that_ended_and_was_removed_is_said_to_be_gone(run: RunDir) -> None:
    import shutil

    with RunWriter(run) as writer:
        writer.status(state="finished", step=3)
    reader = RunReader(run)
    reader.poll()
    assert reader.status["state"] == "finished"
    shutil.rmtree(run.path)
    assert reader.poll() and any("gone" in problem or "removed" in problem for problem in reader.problems)
    assert not reader._poll_status()


@pytest.mark.parametrize("content", ["[]", "3", '"x"', "null"])
def test_a_status_that_is_no_object_says_so(run: RunDir, content: str) -> None:
    run.status_json.write_text(content)
    status = read_status(run)
    assert str(run.status_json) in status["problem"] and status["state"] == "failed"


def test_a_description_that_cannot_be_read_is_not_written_over(run: RunDir) -> None:
    run.run_json.write_text("nonsense")
    with RunWriter(run) as writer, pytest.raises(RunError, match=r"run\.json cannot be read; restore it"):
        writer.describe(config={})
    assert run.run_json.read_text() == "nonsense"


def test_a_writer_that_cannot_open_its_logs_leaves_no_lock(run: RunDir) -> None:
    run.samples.mkdir()
    with pytest.raises(UserError, match=r"cannot open .*samples\.jsonl"), RunWriter(run):
        raise AssertionError
    assert is_locked(run.lock) is False
    run.samples.rmdir()
    with RunWriter(run), pytest.raises(LockedError), RunLock(run.path):
        raise AssertionError


# -- the environment ---------------------------------------------------------------------------------------------------


def test_the_environment_is_told_in_json() -> None:
    assert machine.version("no such package") is None and json.dumps(machine.environment())
    assert machine.hostname() == socket.gethostname()
