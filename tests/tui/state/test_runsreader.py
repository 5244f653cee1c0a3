"""All runs are read in turns, told of in parts, and only those again that changed."""

from __future__ import annotations

import itertools
import json
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

import tui.state.runsreader as module
from engine.runs.layout import RunDir
from engine.runs.naming import write_note
from tests.forked import Forked
from tui.state.runsreader import LOOK_EVERY, Listed, RunsReader
from tui.state.worker import Ticket, Worker


@pytest.fixture
def ticket() -> Ticket:
    return Ticket("runs", lambda _: None, lambda _: None, lambda _: None)


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the runs whose files are read, in their order."""
    names: list[str] = []
    real = module.overview
    monkeypatch.setattr(module, "overview", lambda run: (names.append(run.name), real(run))[1])
    return names


def make(folder: Path, *names: str) -> list[RunDir]:
    made = [RunDir(folder / name) for name in names]
    for run in made:
        run.path.mkdir()
        run.run_json.write_text(json.dumps({"name": run.name, "config": {}}))
        run.status_json.write_text(json.dumps({"state": "finished", "step": 3, "steps": 3}))
    return made


def listed(reader: RunsReader, ticket: Ticket) -> dict[str, str]:
    """Each run's note by its name, once all are looked at."""
    while (found := reader.look(ticket)) is None or reader.busy:
        assert ticket.every == 0.0
    assert ticket.every == LOOK_EVERY and found.left == 0
    return {facts["name"]: facts["note"] for facts in found.facts}


def test_only_what_changed_is_read_again(tmp_path: Path, ticket: Ticket, read: list[str]) -> None:
    made = make(tmp_path, "a", "b")
    (tmp_path / ".hidden").mkdir()
    (tmp_path / "no-run").mkdir()
    (tmp_path / "text").write_text("mine")
    reader = RunsReader(tmp_path)
    assert set(listed(reader, ticket)) == {"a", "b"} and sorted(read) == ["a", "b"]
    read.clear()
    assert len(listed(reader, ticket)) == 2 and read == []
    write_note(made[0], "mine")
    assert listed(reader, ticket) == {"a": "mine", "b": ""} and read == ["a"]
    read.clear()
    made[1].status_json.write_text(
        json.dumps({"state": "running", "step": 2, "steps": 3, "host": "elsewhere", "heartbeat": time.time()})
    )
    for _ in range(2):  # of a run that lives its files do not tell all
        assert len(listed(reader, ticket)) == 2
    assert read == ["b", "b"]
    read.clear()
    shutil.rmtree(made[1].path)
    make(tmp_path, "c")
    assert set(listed(RunsReader(tmp_path, reader), ticket)) == {"a", "c"} and read == ["c"]
    made[0].run_json.unlink()
    assert set(listed(reader, ticket)) == {"c"}


def test_a_slow_disk_is_read_in_turns_and_told_of_in_parts(
    tmp_path: Path, ticket: Ticket, read: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    made = make(tmp_path, *(f"run-{number:02}" for number in range(40)))
    clock = itertools.count(0.0, module.TURN / 4)  # each look at it takes a quarter of a turn
    monkeypatch.setattr(module, "monotonic", lambda: next(clock))
    reader, turns, parts = RunsReader(tmp_path), 0, []
    while not turns or reader.busy:
        turns += 1
        if (found := reader.look(ticket)) is not None:
            parts.append(found)
            assert len(found.facts) + found.left == 40
            assert [facts["name"] for facts in found.facts] == read  # what has been read is told of
    assert len(parts[0].facts) < 10 and parts[0].left and not parts[-1].left
    assert 2 < len(parts) < turns and read == [run.name for run in reversed(made)]
    read.clear()
    shutil.rmtree(made[0].path)
    again = RunsReader(tmp_path, reader)
    first = again.look(ticket)  # what is known stays, and what is gone is gone at once
    assert first is not None and len(first.facts) == 39 and not first.left and again.busy and read == []


def test_other_work_has_its_turn_while_runs_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make(tmp_path, "a", "b", "c")
    monkeypatch.setattr(module, "TURN", 0.0)
    worker = Worker("reads", pytest.fail)
    reader, order, done = RunsReader(tmp_path), list[str](), threading.Event()

    def look(ticket: Ticket) -> Listed | None:
        if not order:
            worker.ask("open", lambda _: order.append("opened"), lambda _: None)
        order.append("looked")
        found = reader.look(ticket)
        if not reader.busy:
            done.set()
        return found

    worker.ask("runs", look, lambda _: None, every=LOOK_EVERY)
    assert done.wait(60)
    worker.end()
    assert order == ["looked", "opened", "looked", "looked"]


NEEDLESS = ("numpy", "torch", "engine.config", "tui.widgets.plot", "tui.screens.train.screen")
LISTED = f"""
import sys
for name in [each for each in sys.modules if each.partition(".")[0] == "engine"]:
    del sys.modules[name]
sys.modules.update(dict.fromkeys({NEEDLESS}))  # what imports one of them fails
import tui.app, tui.cli.runs, tui.screens.runs.preview, tui.screens.runs.screen, engine.runs.status
"""


def test_a_list_of_runs_waits_for_nothing_that_it_does_not_show() -> None:
    """What these load was most of what was loaded between the first picture and the list."""
    with Forked([sys.executable, "-c", LISTED], stderr=subprocess.PIPE, text=True) as program:
        assert program.communicate(timeout=60) == (None, "")
    assert program.returncode == 0
