"""What a run's state truly is: what its status file says, unless its trainer is dead."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

from engine.runs.layout import RunDir
from engine.runs.lock import hostname, is_locked, read_owner

ALIVE = ("running", "paused")
"""States that claim a living trainer."""

SILENCE = 120.0
"""Seconds without a heartbeat after which a trainer on another machine counts as dead."""


def read_json(path: Path) -> dict[str, Any] | None:
    """The JSON object in `path`; None when there is none, or it cannot be read."""
    try:
        value = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def read_status(run: RunDir) -> dict[str, Any]:
    """status.json with `state` made true: a run whose trainer is dead is `failed` and has a `problem` that says so.

    A run that was created and never trained is `new`.
    """
    return true_status(run, read_json(run.status_json))


def true_status(run: RunDir, said: dict[str, Any] | None) -> dict[str, Any]:
    """As `read_status`, from the status file's content already read (None: there is none)."""
    if said is None:
        return {"state": "running" if run.live else "new", "step": 0}
    status = dict(said)
    if status.get("state") in ALIVE and not _breathing(run, status):
        again = read_json(run.status_json)  # it may have ended properly between our two looks
        if again is not None and again.get("state") not in ALIVE:
            return again
        pid = status.get("pid", "?")
        status["state"] = "failed"
        status["problem"] = f"its process {pid} ended without a word; resume with tinytui train --resume {run.name}"
    return status


def _breathing(run: RunDir, status: dict[str, Any]) -> bool:
    host = status.get("host") or read_owner(run.lock).get("host")
    if host == hostname():
        locked = is_locked(run.lock)
        if locked is not None:
            return locked
    heartbeat = status.get("heartbeat")
    return isinstance(heartbeat, int | float) and time.time() - heartbeat < SILENCE
