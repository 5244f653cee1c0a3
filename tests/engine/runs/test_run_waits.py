"""What cannot be written waits in memory, in order; a run that is taken away is made whole again."""

from __future__ import annotations

import errno
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from engine.errors import LockedError, RunError, UserError
from engine.files import overwrite
from engine.runs import writer as writer_module
from engine.runs.layout import RunDir
from engine.runs.lock import is_locked
from engine.runs.log import AppendLog
from engine.runs.reader import RunReader
from engine.runs.status import read_status
from engine.runs.writer import RunWriter
from tests.faults.shim import Shim, failing

ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EROFS)

WRITES: dict[str, Callable[[RunWriter], object]] = {
    "metric": lambda writer: writer.metric(step=7, loss=7.0),
    "sample": lambda writer: writer.sample(step=7, text="seven"),
    "event": lambda writer: writer.event("x", 7),
    "rewind": lambda writer: writer.rewind(7),
    "status": lambda writer: writer.status(state="running", message="news"),
    "describe": lambda writer: writer.describe(preset="other"),
    "serve_at": lambda writer: writer.serve_at("/tmp/x.sock"),
}


@pytest.fixture(autouse=True)
def always_due(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer_module, "HEARTBEAT", 0.0)


def content(run: RunDir) -> tuple[object, ...]:
    """All that the files say, less the times."""
    logs = [
        [{key: value for key, value in json.loads(line).items() if key != "time"} for line in path.read_bytes().split()]
        for path in (run.metrics, run.samples, run.events)
    ]
    status = {key: value for key, value in json.loads(run.status_json.read_bytes()).items() if key != "heartbeat"}
    return *logs, status, json.loads(run.run_json.read_bytes())["preset"], json.loads(run.lock.read_bytes())["socket"]


def many(writer: RunWriter, write: Callable[[RunWriter], object]) -> None:
    writer.metric(step=6, loss=6.0)
    write(writer)
    writer.metric(step=8, loss=8.0)
    writer.event("y", 8)
    writer.status(state="running", step=8)


@pytest.mark.parametrize("error", ERRORS)
@pytest.mark.parametrize("name", WRITES)
def test_no_write_raises_and_none_is_lost_doubled_or_out_of_order(
    tmp_path: Path, make_run: Callable[[str], RunDir], name: str, error: int
) -> None:
    calm, stormy = make_run("calm"), make_run("stormy")
    with RunWriter(calm) as writer:
        many(writer, WRITES[name])
    with RunWriter(stormy) as writer:
        with Shim(stormy.path, failing(range(1 << 30), error)).in_force():
            many(writer, WRITES[name])
            assert "cannot write" in writer.stuck and os.strerror(error).lower() in writer.stuck.lower()
            assert "\n" not in writer.stuck
            assert "metrics since step 6" in writer.unsaved()
            with pytest.raises(UserError):
                writer.sync()
        assert writer.retry() == "" == writer.stuck
        assert writer.unsaved() == []
    assert content(stormy) == content(calm)
    assert not list(stormy.path.glob(".*"))


@pytest.mark.parametrize("name", WRITES)
def test_every_call_of_every_write_may_fail_once(make_run: Callable[[str], RunDir], name: str) -> None:
    calm = make_run("calm")
    with RunWriter(calm) as writer, Shim(calm.path).in_force() as shim:
        many(writer, WRITES[name])
    for number in range(len(shim.calls)):
        run = make_run(f"r{number}")
        with RunWriter(run) as writer, Shim(run.path, failing(range(number, number + 1), errno.ENOSPC)).in_force():
            many(writer, WRITES[name])
        assert content(run) == content(calm), shim.calls[number]


def test_a_line_cut_by_a_full_disk_is_gone_on_with_where_it_was_cut(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = AppendLog(tmp_path / "log")
    real, room = os.write, [10]

    def write(fd: int, data: bytes) -> int:
        if room[0] == 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        done = real(fd, data[: room[0]])
        room[0] -= done
        return done

    monkeypatch.setattr(os, "write", write)
    for step, line in enumerate((b"one and two\n", b"three\n", b"four\n")):
        with pytest.raises(OSError, match="No space"):
            log.append(line, step)
    assert (tmp_path / "log").read_bytes() == b"one and tw" and log.waits_since == 0
    room[0] = 5
    with pytest.raises(OSError, match="No space"):
        log.write()
    assert (tmp_path / "log").read_bytes() == b"one and two\nthr"
    room[0] = 100
    log.write()
    assert (tmp_path / "log").read_bytes() == b"one and two\nthree\nfour\n" and log.waits_since is None


def test_what_a_failed_sync_let_go_is_written_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "log"
    log = AppendLog(path)
    log.append(b"synced\n", 1)
    log.sync()
    log.append(b"let go\n", 2)
    real = os.fsync

    def fsync(fd: int) -> None:
        with path.open("r+b") as file:  # what Linux does to dirty pages that it could not write
            file.seek(len(b"synced\n"))
            file.write(b"\0" * len(b"let go\n"))
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, "fsync", fsync)
    with pytest.raises(OSError, match="Input/output"):
        log.sync()
    monkeypatch.setattr(os, "fsync", real)
    log.sync()
    assert path.read_bytes() == b"synced\nlet go\n"


def test_a_status_is_written_over_in_place_where_no_new_file_has_room(run: RunDir) -> None:
    def no_new_files(number: int, name: str, path: str) -> None:
        if name == "open" and path.endswith(".tmp"):
            raise OSError(errno.ENOSPC, "No space left on device")

    with RunWriter(run) as writer:
        writer.status(state="running", message="x" * 300)
        with Shim(run.path, no_new_files).in_force():
            assert writer.status(state="paused", message="no room")
            assert (read_status(run)["state"], read_status(run)["message"]) == ("paused", "no room")
            assert writer.status(message="longer " * 100)
            assert read_status(run)["message"] == "longer " * 100
        assert writer.stuck == ""


def test_what_has_no_room_in_place_leaves_the_old(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "status.json"
    path.write_bytes(b'{"state":"running"}\n')
    real = os.pwrite
    monkeypatch.setattr(os, "pwrite", lambda fd, data, at: real(fd, data[:20], at))
    with pytest.raises(OSError, match="No space"):
        overwrite(path, b'{"state":"paused","message":"much longer than it was"}\n')
    assert path.read_bytes() == b'{"state":"running"}\n'


def test_who_leaves_with_something_unwritten_says_so(run: RunDir) -> None:
    shim = Shim(run.path, failing(range(40, 1 << 30), errno.ENOSPC))
    with shim.in_force(), pytest.raises(UserError, match="no space left on device"), RunWriter(run) as writer:
        for step in range(1, 60):
            writer.metric(step=step, loss=1.0)
    assert not run.live


def train_some(writer: RunWriter) -> None:
    writer.status(state="running", step=3)
    for step in (1, 2, 3):
        writer.metric(step=step, loss=float(step))
    writer.sample(step=3, text="three")


def check_whole(run: RunDir, gone: str) -> None:
    reader = RunReader(run)
    reader.poll()
    assert reader.series.loss.tolist() == [1.0, 2.0, 3.0, 4.0] and reader.problems == []
    assert [sample["text"] for sample in reader.samples] == ["three"]
    assert reader.info["corpus"]["name"] == "soap"
    alarms = [event for event in reader.events if event["kind"] == "alarm"]
    assert len(alarms) == 1 and alarms[0]["alarm"] == "folder" and alarms[0]["step"] == 3
    assert gone in alarms[0]["message"] and "written again" in alarms[0]["message"]
    assert not list(run.path.glob(".*")) and not list(run.path.parent.glob(".*"))


TAKEN_AWAY: dict[str, tuple[Callable[[RunDir], object], str]] = {
    "removed": (lambda run: shutil.rmtree(run.path), "its folder"),
    "moved away": (lambda run: run.path.rename(run.path.with_name("elsewhere")), "its folder"),
    "emptied": (lambda run: [path.unlink() for path in run.path.iterdir()], "run.json"),
    "metrics": (lambda run: run.metrics.unlink(), "metrics.jsonl"),
    "samples replaced": (lambda run: run.samples.rename(run.path / "old") and run.samples.touch(), "samples.jsonl"),
    "run.json": (lambda run: run.run_json.unlink(), "run.json"),
    "lock": (lambda run: run.lock.unlink(), "lock"),
}


@pytest.mark.parametrize("how", TAKEN_AWAY)
def test_a_run_that_is_taken_away_is_made_whole_again(run: RunDir, how: str) -> None:
    take, gone = TAKEN_AWAY[how]
    with RunWriter(run) as writer:
        train_some(writer)
        take(run)
        writer.status()
        assert writer.stuck == "" and writer.restored
        assert is_locked(run.lock) and read_status(run)["state"] == "running"
        with pytest.raises(LockedError), RunWriter(run):
            pass
        writer.metric(step=4, loss=4.0)
        writer.sync()
    check_whole(run, gone)
    assert not run.live and read_status(run)["state"] == "stopped"


def test_what_is_taken_away_before_the_first_step_is_told_of_step_0(run: RunDir) -> None:
    with RunWriter(run) as writer:
        run.lock.unlink()
        writer.status()
    assert [json.loads(line)["step"] for line in run.events.read_text().splitlines()] == [0]


def test_a_run_whose_disk_is_away_waits_for_it_and_makes_nothing_elsewhere(run: RunDir, tmp_path: Path) -> None:
    away = tmp_path / "away"
    with RunWriter(run) as writer:
        train_some(writer)
        run.path.parent.rename(away)
        assert not writer.status()
        assert writer.stuck == f"{run.path} is gone and cannot be made again: no such file or directory"
        assert not run.path.parent.exists()
        writer.metric(step=4, loss=4.0)
        with pytest.raises(UserError, match="cannot be made again"):
            writer.sync()
        away.rename(run.path.parent)
        assert writer.retry() == ""
    reader = RunReader(run)
    reader.poll()
    assert reader.series.loss.tolist() == [1.0, 2.0, 3.0, 4.0]


def test_where_another_run_stands_nothing_more_is_written(
    run: RunDir, make_run: Callable[[str], RunDir], tmp_path: Path
) -> None:
    with pytest.raises(RunError, match="another run made there"), RunWriter(run) as writer:
        train_some(writer)
        shutil.rmtree(run.path)
        make_run("other").path.rename(run.path)
        before = {path: path.read_bytes() for path in run.path.iterdir()}
        writer.status(message="x")
        assert writer.taken == writer.stuck
        assert writer.taken == f"{run.path} was taken away, and another run made there; this training ends at step 3"
        writer.metric(step=4, loss=4.0)
        with pytest.raises(RunError, match="another run made there"):
            writer.sync()
    assert {path: path.read_bytes() for path in run.path.iterdir()} == before


def test_a_run_that_is_taken_before_its_first_step_ends_at_none(run: RunDir, make_run: Callable[[str], RunDir]) -> None:
    with pytest.raises(RunError, match=r"ends at step 0$"), RunWriter(run) as writer:
        shutil.rmtree(run.path)
        make_run("other").path.rename(run.path)
        writer.status(message="x")


def test_where_another_trainer_has_the_run_this_one_ends(run: RunDir, impatient: None) -> None:
    with pytest.raises(RunError, match="ends at step 3"), RunWriter(run) as writer:
        train_some(writer)
        run.lock.unlink()
        with RunWriter(run) as other:
            other.status(state="running")
            writer.status()
            assert "is being trained by process" in writer.taken


def test_a_run_that_is_made_is_there_with_all_it_begins_with_or_not_at_all(
    tmp_path: Path, make_run: Callable[..., RunDir]
) -> None:
    def fill(run: RunDir) -> None:
        assert run.path.name.startswith(".") and run.exists
        run.checkpoint(3).mkdir(parents=True)
        raise UserError("no room")

    with pytest.raises(UserError, match="no room"):
        make_run("half", fill=fill)
    assert list((tmp_path / "runs").iterdir()) == []


def test_what_killed_makers_and_removers_of_runs_left_goes_after_a_day(
    make_run: Callable[..., RunDir], tmp_path: Path
) -> None:
    runs = make_run("one").path.parent
    ours = [".a-1.4711.tmp", ".a-1.4711.removed", ".a-1.1f2e3d4c.tmp", ".a-1.1f2e3d4c.removed"]
    theirs = [".git", ".cache.1f2e3d4c.tmp", ".vscode"]
    for name in (*ours, *theirs):
        (runs / name / "checkpoints").mkdir(parents=True)
        (runs / name / "run.json").write_text("{}")
    (runs / theirs[1] / "data.bin").write_text("not of a run")
    make_run("two")
    assert {path.name for path in runs.glob(".*")} == {*ours, *theirs}, "they may be at work"
    for name in (*ours, *theirs):
        os.utime(runs / name, (0, 0))
    make_run("three")
    assert {path.name for path in runs.glob(".*")} == set(theirs)
