"""Who holds a run, in every case: the trainer that it names, or a stranger that the kernel names."""

from __future__ import annotations

import json
import os
import subprocess
from typing import Any

import pytest

from engine.runs import lock
from engine.runs.layout import RunDir

HERE, FAR, GONE = "here", "far", 2**22 + 1
ALIVE = os.getppid()


@pytest.mark.parametrize(
    ("found", "owner", "said"),
    [
        ({7}, {"pid": 7, "host": HERE}, "process 7 on here"),
        ({7}, {"pid": 7, "host": FAR}, "process 7 on far"),
        (set(), {"pid": GONE, "host": HERE}, f"process {GONE} on here"),
        (set(), {"pid": 7, "host": FAR}, "process 7 on far"),
        (set(), {}, "being trained by another process"),
        ({GONE}, {"pid": ALIVE, "host": HERE}, f"process {ALIVE} on here"),  # another namespace has other numbers
        ({9, 8}, {"pid": GONE, "host": HERE}, "locked by process 8"),
        ({9, 8}, {"pid": ALIVE, "host": FAR}, "locked by process 8"),
        ({9}, {}, "locked by process 9"),
        ({9}, {"host": HERE}, "locked by process 9"),
        (set(), {"host": HERE}, "process ? on here"),
        (set(), {"pid": 7}, "process 7 on ?"),
    ],
)
def test_who_holds_a_run(
    run: RunDir, monkeypatch: pytest.MonkeyPatch, found: set[int], owner: dict[str, Any], said: str
) -> None:
    monkeypatch.setattr(lock, "holders", lambda path: found)
    monkeypatch.setattr(lock, "hostname", lambda: HERE)
    (run.path / "lock").write_text(json.dumps(owner) + "\n")
    told = str(lock.locked(run.path))
    assert said in told and ("no trainer of ours" in told) == ("locked by" in said)
    assert told.startswith("run soap-1 is ")


def test_a_process_lives_until_it_has_ended() -> None:
    child = subprocess.Popen(["true"])
    child.wait()
    assert lock._lives(os.getpid()) and not lock._lives(child.pid)
    assert not lock._lives(None) and not lock._lives(0) and not lock._lives(2**70)
    assert lock._lives(1)  # of another user, perhaps
