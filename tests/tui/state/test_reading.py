from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from engine.runs import columns, reader, recall
from engine.runs.layout import RunDir
from tests.tui.screens.runs_for_tests import write_run
from tui.state.reading import Ahead, Follower, Look
from tui.state.worker import Ticket


@pytest.fixture
def run(tmp_path: Path) -> RunDir:
    return write_run(tmp_path, "one", step=3_000)


def losses(follower: Follower) -> list[float]:
    look = follower.look(Ticket("", len, len, len))
    assert look is not None
    return list(look.view.series.loss)


def test_what_is_read_ahead_is_what_is_read(run: RunDir, monkeypatch: pytest.MonkeyPatch) -> None:
    usual = losses(Follower(run))
    monkeypatch.setattr(columns, "LONG", 1 << 10)
    monkeypatch.setattr(columns, "AT_ONCE", 1 << 15)
    ahead = Ahead(run.metrics)
    ahead._thread.join(60)
    assert ahead._found.qsize() > 3, "some blocks, and that they end"
    monkeypatch.setattr(columns, "blocks_aside", None)  # nothing is read twice
    assert losses(Follower(run, ahead)) == usual != []


def test_of_a_file_that_was_replaced_nothing_read_ahead_stays(run: RunDir, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(columns, "LONG", 1 << 10)
    monkeypatch.setattr(columns, "AT_ONCE", 1 << 15)
    ahead = Ahead(run.metrics)
    ahead._thread.join(60)
    new = run.path / "new"
    new.write_bytes(run.metrics.read_bytes().replace(b'"loss":', b'"loss":1'))
    new.replace(run.metrics)
    assert losses(Follower(run, ahead)) == losses(Follower(run))


@pytest.mark.parametrize("there", [True, False])
def test_a_short_file_and_none_are_not_read_ahead(run: RunDir, there: bool) -> None:
    usual = losses(Follower(run)) if there else []
    if not there:
        run.metrics.unlink()
    ahead = Ahead(run.metrics)
    ahead._thread.join(60)
    assert ahead._found.qsize() == 1
    assert losses(Follower(run, ahead)) == usual


def look(run: RunDir) -> Look:
    """The run as it is opened, and what is kept then."""
    follower = Follower(run)
    found = follower.look(Ticket("", len, len, len))
    follower.look(Ticket("", len, len, len))
    assert found is not None
    return found


def same(one: Look, other: Look) -> bool:
    tables = [(getattr(one.view.series, name), getattr(other.view.series, name)) for name in ("train", "val")]
    return one.view.problems == other.view.problems and all(
        np.array_equal(a.steps, b.steps)
        and all(np.array_equal(a.column(key), b.column(key), equal_nan=True) for key in a.keys)
        for a, b in tables
    )


@pytest.fixture
def long(run: RunDir, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RunDir:
    """A run that is long enough to be kept; by other processes nothing is read."""
    monkeypatch.setenv("TINYTUI_CACHE", str(tmp_path / "cache"))
    for module in (columns, reader):
        monkeypatch.setattr(module, "LONG", 1 << 10)
    monkeypatch.setattr(columns, "blocks_aside", lambda path, offset: iter(()))
    return run


def lines_read(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many lines each block had that is read from now on."""
    counts: list[int] = []
    whole = reader.records_of
    monkeypatch.setattr(reader, "records_of", lambda block: counts.append(block.count(b"\n")) or whole(block))
    return counts


def test_a_long_run_that_is_opened_again_is_not_read_again(long: RunDir, monkeypatch: pytest.MonkeyPatch) -> None:
    first = look(long)
    counts = lines_read(monkeypatch)
    assert same(look(long), first) and counts == []
    line = long.metrics.read_bytes().splitlines()[0].replace(b'"step":1,', b'"step":9000,')
    with long.metrics.open("ab") as file:
        file.write(line + b"\n")
    grown = look(long)
    assert grown.view.series.step[-1] == 9000 and counts == [1]
    (tmp := long.metrics.with_name("new")).write_bytes(long.metrics.read_bytes() + b"{ no record\n")
    tmp.replace(long.metrics)  # what is appended is told with its line's number
    assert [said.split(":")[0] for said in look(long).view.problems] == [
        f"metrics.jsonl line {len(first.view.series) + 2 + len(first.view.series.val_step)}"
    ]


@pytest.mark.parametrize("change", ["edited", "shorter", "cut", "rotten", "gone", "empty", "older"])
def test_what_is_kept_of_another_file_or_is_damaged_is_not_used(
    long: RunDir, change: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    look(long)
    (kept,) = recall._place(long.metrics).parent.iterdir()
    content, known = long.metrics.read_bytes(), kept.read_bytes()
    match change:
        case "edited":
            with long.metrics.open("r+b") as file:  # in the midst, the same file of the same size
                file.write(content.replace(b'"loss":4', b'"loss":5', 1))
        case "shorter":
            long.metrics.write_bytes(content[: content.index(b"\n") + 1])
        case "cut":
            kept.write_bytes(known[:-1])
        case "rotten":
            kept.write_bytes(known[:-9] + bytes([known[-9] ^ 1]) + known[-8:])
        case "gone":
            kept.unlink()
        case "empty":
            kept.write_bytes(b"")
        case "older":
            monkeypatch.setattr(recall, "FORMAT", 2)
    again = look(long)
    monkeypatch.setenv("TINYTUI_CACHE", str(long.path / "no-cache-yet"))
    assert same(again, look(long))


def test_of_damaged_metrics_nothing_is_kept_and_of_many_runs_the_newest(
    long: RunDir, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = recall._place(long.metrics).parent
    whole = long.metrics.read_bytes()
    long.metrics.write_bytes(whole + b"{ no record\n")
    assert look(long).view.problems and not place.exists()
    long.metrics.write_bytes(whole)
    monkeypatch.setattr(recall, "MOST", 2)
    for number in range(3):
        look(write_run(tmp_path, f"other-{number}", step=200))
    assert len(list(place.iterdir())) == 2
    monkeypatch.setenv("TINYTUI_CACHE", "/dev/null/nowhere")
    assert len(look(long).view.series) > 100


def test_what_a_resumed_run_took_back_is_not_kept(long: RunDir) -> None:
    with long.metrics.open("ab") as file:
        file.write(b'{"resumed":1500}\n')
    first = look(long)
    assert first.view.series.step[-1] <= 1500 and same(look(long), first)
