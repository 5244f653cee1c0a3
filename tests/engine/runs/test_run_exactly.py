"""Small things about a run's files that a reader relies on."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from engine.machine import hostname
from engine.preset_files import load_preset
from engine.runs import tail
from engine.runs.compare import at_step, settings_of
from engine.runs.layout import RunDir
from engine.runs.log import AppendLog
from engine.runs.reader import RunReader
from engine.runs.series import Series
from engine.runs.status import overview, read_info
from engine.runs.tail import TOO_LONG, Tail
from engine.runs.writer import RunWriter


def failing(error: BaseException) -> Callable[..., Any]:
    def fails(*_: object, **__: object) -> Any:
        raise error

    return fails


MARK = b'\n{"torn":true}\n'


def test_lines_are_counted_as_an_editor_counts_them(run: RunDir) -> None:
    """A line that is named can be found, whatever stands before it: marks, empty lines, damage."""
    event = b'{"step":1,"time":1.0,"kind":"x"}\n'
    run.events.write_bytes(event + b'{"step":' + MARK + b"\n" + b"damage\n" + event + b'{"st' + MARK + b"[]\n")
    reader = RunReader(run)
    reader.poll()
    assert reader.problems == ["events.jsonl line 5: not JSON; left out", "events.jsonl line 9: not a record; left out"]


def test_what_was_last_said_of_a_run_is_in_its_status(run: RunDir) -> None:
    """Also what came too soon after the one before to be written at once, of a run that has ended."""
    with RunWriter(run) as writer:
        writer.status(state="finished", step=1)
        writer.status(step=2)
    assert json.loads(run.status_json.read_text())["step"] == 2
    with RunWriter(run) as writer:
        writer.status(state="finished", step=3)
        writer.status(step=4)
        writer.status()  # a heartbeat tells nothing new, and takes nothing back
    assert json.loads(run.status_json.read_text())["step"] == 4


@pytest.mark.parametrize(("steps", "at", "of"), [(3, 3, 3), (9, 9, 9), (10, 10, 10), (11, 11, 10), (2000, 1000, 20)])
def test_a_loss_is_compared_as_the_mean_of_the_last_steps(steps: int, at: int, of: int) -> None:
    """Of the last fiftieth of them, and of ten at least, as far as there are so many."""
    series = Series()
    for step in range(1, steps + 1):
        series.add({"step": step, "loss": float(step * step)})
    (found,) = at_step([series], at)
    assert found.loss == pytest.approx(sum(step * step for step in range(at - of + 1, at + 1)) / of)


@pytest.mark.parametrize("newer", [False, True])
def test_another_file_at_its_place_is_another_however_alike(tmp_path: Path, newer: bool) -> None:
    first, second = tmp_path / "1", tmp_path / "2"
    for path in (first, second):
        path.write_bytes(b"one\ntwo\n")
    shown, other = (first, second) if newer else (second, first)
    follower = Tail(tmp_path / "log")
    shown.rename(follower.path)
    assert not follower.rewritten(), "nothing was read yet"
    assert b"".join(follower.blocks()) == b"one\ntwo\n"
    assert not follower.rewritten() and not follower.changed()
    other.rename(follower.path)
    assert follower.changed() and follower.rewritten() and not follower.rewritten()
    assert b"".join(follower.blocks()) == b"one\ntwo\n"


@pytest.mark.parametrize("block", [1, 2, 3, 8])
@pytest.mark.parametrize("most", [4, 5, 16])
def test_lines_come_whole_whatever_is_read_at_a_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, block: int, most: int
) -> None:
    """A line of more bytes than a block may have is passed over, and said once where it ends."""
    monkeypatch.setattr(tail, "BLOCK", block)
    monkeypatch.setattr(tail, "MAX_LINE", most)
    lines = [b"a", b"", b"bb", b"c" * 40, b"dd", b"e" * 41, b"", b"f"]
    path, whole = tmp_path / "log", b"".join(line + b"\n" for line in lines)
    follower, found = Tail(path), list[bytes]()
    for end in range(len(whole) + 1):
        with path.open("ab") as file:
            file.write(whole[len(whole[:end]) - 1 : end] if end else b"")
        assert not follower.rewritten()
        for piece in follower.blocks():
            assert piece.endswith(b"\n")
            found += tail.split_lines(piece)
    assert found == [TOO_LONG if len(line) > 32 else line for line in lines]


def test_the_settings_of_a_run_are_all_there_are(run: RunDir) -> None:
    """By their full names, to be compared with another's."""
    found = settings_of(run)
    tree = load_preset("nano").model_dump(mode="json")
    wanted = {f"{section}.{name}": value for section, values in tree.items() for name, value in values.items()}
    environment = read_info(run)["environment"]
    machine = {name: environment.get(name) for name in ("device", "threads", "torch")}
    assert found == {"corpus": "soap", **wanted, **machine} and machine["threads"] and len(wanted) > 30


def test_the_problem_of_a_run_is_in_its_numbers(run: RunDir) -> None:
    with RunWriter(run) as writer:
        writer.status(state="finished", step=1)
    assert overview(run)["problem"] is None
    run.status_json.write_text(json.dumps({"state": "running", "pid": 7, "host": hostname()}))
    assert overview(run)["problem"] == ("its process 7 ended without a word; resume with tinytui train --resume soap-1")


@pytest.mark.parametrize("at_once", [1, 2, 3, 100])
def test_what_a_sync_lost_is_written_again_where_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at_once: int
) -> None:
    """A disk may take it piece by piece."""
    path = tmp_path / "log"
    path.write_bytes(b"kept before\n")
    records = AppendLog(path)
    lines = b"o" * 300 + b"ne\n", b"two\n"
    records.append(lines[0], 1)
    records.append(lines[1], 2)
    real, sync = os.pwrite, os.fsync
    with monkeypatch.context() as patch:
        patch.setattr("os.fsync", failing(OSError(errno.EIO, "Input/output error")))
        with pytest.raises(OSError, match="Input/output"):
            records.sync()
    os.truncate(path, 12)
    with path.open("ab") as file:
        file.write(b"\0" * len(b"".join(lines)))  # what the system let go of
    monkeypatch.setattr("os.pwrite", lambda fd, data, at: real(fd, data[:at_once], at))
    records.sync()
    assert path.read_bytes() == b"kept before\n" + b"".join(lines) and not records._unsynced and sync is os.fsync
    records.close()
