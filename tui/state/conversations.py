"""The conversations with all runs looked at, and their files."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tui.state.conversation import Conversation
from tui.state.drafts import NAME, Kept, read_draft
from tui.state.history import Prompted, PromptHistory
from tui.state.prompting import LoadedModels
from tui.state.worker import Ticket, Worker

if TYPE_CHECKING:
    from engine.runs.layout import RunDir

MAX_RUNS = 32
"""Conversations kept; the one left longest ago is forgotten first."""


class Conversations:
    """Those of all runs looked at, by path and birth: a run made anew under an old name begins anew.

    `reads` reads and writes the files of the runs; without it that happens at once.
    """

    def __init__(self, reads: Worker | None = None, corpora_dir: Path | None = None) -> None:
        self.models = LoadedModels(corpora_dir)
        self.read_only = False
        """Whether no draft is written."""
        self.first_values: Callable[[], Mapping[str, float]] | None = None
        """How the sliders of a run stand that has no draft, where not as by default."""
        self._reads = reads
        self._drafts = Kept(reads, NAME)
        self._all: dict[tuple[str, object], Conversation] = {}

    def of(self, run: RunDir, created: object = None) -> Conversation:
        """The conversation with `run`, which was born at `created`; what is on the disk of it comes a moment later."""
        key = str(run.path), created
        found = self._all.pop(key, None)
        if found is None:
            found = Conversation(run, PromptHistory(Path(run.path) / "prompts.jsonl"))
            self._read(found, run, found.history)
        self._all[key] = found
        for old in [each for each, one in self._all.items() if not one.busy][:-MAX_RUNS]:
            del self._all[old]
        return found

    def _read(self, talk: Conversation, run: RunDir, history: PromptHistory | None) -> None:
        assert history is not None

        def read(_: Ticket | None) -> tuple[list[Prompted], dict[str, Any]]:
            draft = read_draft(run)
            first = self.first_values() if self.first_values is not None and "values" not in draft else {}
            return history.read(), {**draft, **({"values": first} if first else {})}

        if self._reads is None:
            talk.take(*read(None))
        else:
            self._reads.ask(f"prompts {run.path}", read, lambda found: talk.take(*found))

    def save_drafts(self) -> None:
        """Have what changed since the last call written."""
        if self.read_only:
            return
        for talk in list(self._all.values()):
            draft, run = talk.unsaved(), talk.run
            if draft is not None and run is not None:
                self._drafts.write(run, draft)

    def end(self, seconds: float = 1.0) -> None:
        """Stop all prompts and see that they are in their runs' histories, however far they came; and the drafts."""
        for talk in self._all.values():
            if talk.grid is not None:
                talk.grid.cancel()
        jobs = [job for talk in self._all.values() for job in talk.under_way()]
        for job in jobs:
            job.cancel()
        until = time.monotonic() + seconds
        for job in jobs:
            job.join(max(0.0, until - time.monotonic()))
            job.keep()
        self.save_drafts()
        self._drafts.end()
