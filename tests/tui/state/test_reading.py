from __future__ import annotations

from pathlib import Path

import pytest

from engine.runs import columns
from engine.runs.layout import RunDir
from tests.tui.screens.runs_for_tests import write_run
from tui.state.reading import Ahead, Follower
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
    ahead._thread.join(30)
    assert ahead._found.qsize() > 3, "some blocks, and that they end"
    monkeypatch.setattr(columns, "blocks_aside", None)  # nothing is read twice
    assert losses(Follower(run, ahead)) == usual != []


def test_of_a_file_that_was_replaced_nothing_read_ahead_stays(run: RunDir, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(columns, "LONG", 1 << 10)
    monkeypatch.setattr(columns, "AT_ONCE", 1 << 15)
    ahead = Ahead(run.metrics)
    ahead._thread.join(30)
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
    ahead._thread.join(30)
    assert ahead._found.qsize() == 1
    assert losses(Follower(run, ahead)) == usual
