"""What is written and set and was not sent, and the chat: `RUN/draft.json`; and how its weights are looked into:
`RUN/inspector.json`. No crash takes more than a second of it."""

from __future__ import annotations

import json
import threading
from collections import defaultdict
from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field

from engine.runs.schema import DamagedError, Entry, Number, Text, Whole, load
from tui.state.worker import Worker, nothing

if TYPE_CHECKING:
    from pathlib import Path

    from engine.runs.layout import RunDir

MAX_BYTES = 16 << 20
STALLED = 1.0
"""Seconds that the end waits for a write under way."""
NAME, LOOKED = "draft.json", "inspector.json"


class Draft(Entry):
    """What `draft.json` holds; what is missing is as at the beginning."""

    prompt: Text = ""
    templated: bool = True
    values: dict[str, Number] = Field(default_factory=dict)
    seed: Text = ""
    unsent: list[Text] = Field(default_factory=list)
    chat: list[Annotated[list[Text], Field(min_length=2, max_length=2)]] = Field(default_factory=list)
    chatting: bool = False


class LookedInto(Entry):
    """What `inspector.json` holds: how the weights were looked into, as far as that is not as at the beginning."""

    view: Text = "loss"
    typed: Text = ""
    of_typed: bool = False
    number: Whole = 0
    length: Whole = 0
    cursor: Whole | None = None
    chosen: Whole | None = None
    layer: Whole = 0
    head: Whole = 0


def read_draft(run: RunDir) -> dict[str, Any]:
    """What was being written when the program ended; nothing of a file that is damaged or none."""
    return _read(run.path / NAME, Draft)


def read_looked(run: RunDir) -> dict[str, Any]:
    """How the weights were looked into when the program ended."""
    return _read(run.path / LOOKED, LookedInto)


def _read(path: Path, kind: type[Entry]) -> dict[str, Any]:
    try:
        found = load(path, kind, MAX_BYTES)
    except (OSError, DamagedError):
        return {}
    return {name: found[name] for name in kind.model_fields if name in found}


def write_draft(run: RunDir, draft: Mapping[str, Any], name: str = NAME) -> None:
    """Keep `draft`; where the run cannot be written to it lasts as long as the program. An empty one leaves no file."""
    from engine.errors import UserError
    from engine.files import write_atomic

    path = run.path / name
    try:
        if not run.run_json.is_file():  # deleted meanwhile
            return
        if draft:
            write_atomic(path, json.dumps(draft, indent=1).encode(), sync=False)
        else:
            path.unlink(missing_ok=True)
    except (OSError, UserError):
        return


class Kept:
    """Has files of runs written by a worker, the newest of each last; and at the end what that has not come to."""

    def __init__(self, worker: Worker | None, name: str) -> None:
        self._worker, self._name = worker, name
        self._newest: dict[RunDir, Mapping[str, Any]] = {}
        self._written: dict[RunDir, Mapping[str, Any]] = {}
        self._writing: defaultdict[RunDir, threading.Lock] = defaultdict(threading.Lock)

    def write(self, run: RunDir, draft: Mapping[str, Any]) -> None:
        """Have it written soon; at once where there is no worker."""
        self._newest[run] = draft
        if self._worker is None:
            self._write(run, draft)
        else:
            self._worker.ask(f"keep {self._name} {run.path}", partial(self._write, run, draft), nothing)

    def _write(self, run: RunDir, draft: Mapping[str, Any], _: object = None) -> None:
        with self._writing[run]:
            if self._newest[run] is draft:
                write_draft(run, draft, self._name)
                self._written[run] = draft

    def end(self) -> None:
        """Write what is still to be written; the worker has ended."""
        for run, draft in self._newest.items():
            if self._written.get(run) is not draft and self._writing[run].acquire(timeout=STALLED):
                self._writing[run].release()
                self._write(run, draft)
