"""What is chosen and typed in the last moment is kept, whatever the worker that writes it is busy with."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from engine.runs.layout import RunDir
from tui.state import drafts
from tui.state.conversation import Sheet
from tui.state.conversations import Conversations
from tui.state.drafts import read_draft, read_looked, write_draft
from tui.state.inspector import Inspectors
from tui.state.worker import Worker


def test_what_a_worker_has_not_come_to_is_written_at_the_end(tmp_path: Path) -> None:
    run = RunDir(tmp_path / "run")
    run.path.mkdir()
    run.run_json.write_text("{}")
    worker, busy, over = Worker("reads", print), threading.Event(), threading.Event()
    talks, inspectors = Conversations(worker), Inspectors(worker, print, None, worker)
    talk, looking = talks.of(run), inspectors.of(run)
    worker.ask("busy", lambda _: busy.set() or over.wait(60), lambda _: None)
    assert busy.wait(60)
    worker.deliver()  # what was there before is read
    try:
        talk.sheet = Sheet("typed in the last moment")
        talks.save_drafts()
        looking.view = "lens"
        inspectors.save()
        worker.end()
        talks.end()
        inspectors.end()
    finally:
        over.set()
    assert read_draft(run)["prompt"] == "typed in the last moment" and read_looked(run)["view"] == "lens"


def test_what_was_written_before_never_takes_the_place_of_the_newest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, begun, go_on = RunDir(tmp_path / "run"), threading.Event(), threading.Event()
    run.path.mkdir()
    run.run_json.write_text("{}")

    def slow(run: RunDir, draft: Mapping[str, Any], name: str) -> None:
        if draft["prompt"] == "old":
            begun.set()
            assert go_on.wait(60)
        write_draft(run, draft, name)

    monkeypatch.setattr(drafts, "write_draft", slow)
    worker = Worker("reads", print)
    kept = drafts.Kept(worker, drafts.NAME)
    kept.write(run, {"prompt": "old"})
    assert begun.wait(60)
    kept.write(run, {"prompt": "new"})
    worker.end()
    threading.Timer(0.05, go_on.set).start()
    monkeypatch.setattr(drafts, "STALLED", 60.0)
    kept.end()
    assert read_draft(run) == {"prompt": "new"}
