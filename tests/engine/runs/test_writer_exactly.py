"""What a run's writer syncs, and which of several reasons it names."""

from __future__ import annotations

import os

import pytest

from engine.errors import RunError, UserError
from engine.runs.layout import RunDir
from engine.runs.log import AppendLog
from engine.runs.writer import RunWriter


def test_each_log_is_synced_that_does_not_wait(run: RunDir, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[str] = []
    monkeypatch.setattr(AppendLog, "sync", lambda self: synced.append(self.path.name))
    with RunWriter(run) as writer:
        writer.sync()
        assert synced == ["metrics.jsonl", "samples.jsonl", "events.jsonl"]
        synced.clear()

        def fails() -> None:
            raise OSError(28, "No space left on device")

        writer._try("samples", run.samples, fails)
        with pytest.raises(UserError, match=r"samples\.jsonl"):
            writer.sync()
        assert synced == ["metrics.jsonl", "events.jsonl"]
        writer._waiting.clear()


def test_what_cannot_be_mended_is_named_before_what_waits(run: RunDir) -> None:
    def fails() -> None:
        raise OSError(28, "No space left on device")

    with RunWriter(run) as writer:
        assert writer.stuck == ""
        writer._try("run.json", run.run_json, fails)
        waits = writer.stuck
        assert "run.json" in waits
        writer._gone = "it is gone"
        assert writer.stuck == "it is gone"
        writer.taken = "another run stands there"
        assert writer.stuck == "another run stands there"
        with pytest.raises(RunError, match=r"^another run stands there$"):
            writer.check()
        writer._gone = ""
        assert writer.stuck == "another run stands there"
        writer.taken = ""
        assert writer.stuck == waits
        writer._waiting.clear()
        writer.check()


def test_others_may_read_what_the_mask_of_the_process_lets_them(run: RunDir) -> None:
    before = os.umask(0o022)
    try:
        run.events.unlink(missing_ok=True)
        with RunWriter(run) as writer:
            writer.event("alarm", 0, alarm="test", message="said")
        assert run.events.stat().st_mode & 0o777 == 0o644
    finally:
        os.umask(before)
