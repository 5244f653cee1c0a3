"""What is being asked of each run: what was typed, how to sample, the prompt under way and its answer.

Panes only show it, so it outlives them: one may look at another screen or another run and find all as it was.
"""

from __future__ import annotations

import random
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeGuard

from engine.runs.layout import RunDir
from tui.state.history import Prompted, PromptHistory
from tui.state.prompting import LoadedModels, PromptJob, Request

MAX_SETTING = 1e9
MAX_RUNS = 32
"""Conversations kept; the one left longest ago is forgotten first."""


@dataclass(frozen=True)
class Sheet:
    """What a person set: the text, whether the run's format goes around it, the sliders by name, the seed."""

    prompt: str = ""
    templated: bool = True
    values: Mapping[str, float] = field(default_factory=dict)
    seed: str = ""


Shown = PromptJob | Prompted | None
"""What the answer shows: a prompt of this session, one from the history, or nothing."""


@dataclass
class Place:
    """What stands at one place of the history: the sheet, and the answer shown with it."""

    sheet: Sheet
    shown: Shown = None


class Conversation:
    """One run's prompts. `sheet` and `shown` are what a pane shows, and what it writes back as the person changes it.

    `turn` walks through the history. What was typed at a place and not sent stays there until it is: the places are
    the entries, and below the newest the one where new prompts are written.
    """

    def __init__(self, run: RunDir | None, history: PromptHistory | None) -> None:
        self.run, self.history = run, history  # None while no run is open
        self.sheet = Sheet(seed=str(random.randrange(10_000)))
        self.shown: Shown = None
        self.job: PromptJob | None = None
        self.source: str | int | None = None
        self.locked = False
        self._at: int | None = None
        self._untouched = ""
        self._kept: dict[int | None, Place] = {}

    # -- asking --------------------------------------------------------------------------------------------------------

    @property
    def busy(self) -> bool:
        """Whether a prompt is under way."""
        return self.job is not None and not self.job.done

    def ask(self, request: Request, models: LoadedModels) -> PromptJob:
        """Send `request`; one that is under way stops first, and is kept as far as it came."""
        assert self.history is not None
        self.stop()
        if self._at is not None:
            self._kept.pop(self._at, None)
        self._at, self._untouched = None, request.prompt
        self.job = self.shown = PromptJob(request, models, self.history.append)
        self.job.start()
        return self.job

    def stop(self) -> None:
        """Stop the prompt under way; what it wrote stays."""
        if self.job is not None and not self.job.done:
            self.job.cancel()

    # -- history -------------------------------------------------------------------------------------------------------

    def turn(self, by: int) -> bool:
        """Go `by` places through the history, towards the newest when positive; False when there is none further.

        Below the newest stands what was being typed before; leaving it, or a changed entry, loses nothing.
        """
        entries = self.history.entries if self.history is not None else []
        at = len(entries) if self._at is None else self._at
        wanted: int | None = max(0, min(at + by, len(entries)))
        wanted = None if wanted == len(entries) else wanted
        if wanted == self._at and (wanted is not None or by < 0 or not self._draft_below()):
            return False
        self._leave()
        self._at = wanted
        kept = self._kept.pop(wanted, None)
        if kept is not None:
            self.sheet, self.shown = kept.sheet, kept.shown
        elif wanted is None:
            self.sheet, self.shown = replace(self.sheet, prompt=""), self.job
        else:
            self._recall(entries[wanted])
        self._untouched = entries[wanted].prompt if wanted is not None else ""
        return True

    def _draft_below(self) -> bool:
        """Whether a draft waits under a prompt that was sent and not changed since."""
        return None in self._kept and self.sheet.prompt == self._untouched

    def _leave(self) -> None:
        if self.sheet.prompt == self._untouched:
            return
        if self._at is None and (older := self._kept.get(None)) is not None:
            self._never_sent(older.sheet)
        self._kept[self._at] = Place(self.sheet, self.shown)

    def _never_sent(self, sheet: Sheet) -> None:
        """Put a draft among what can be recalled, for as long as the program runs."""
        if self.history is not None and sheet.prompt.strip():
            entry = Prompted(sheet.prompt, templated=sheet.templated, time=time.time(), stop_reason="not sent")
            self.history.entries.append(entry)

    def _recall(self, entry: Prompted) -> None:
        names = ("temperature", "top_k", "top_p", "max_tokens")
        found = {name: entry.settings.get(name) for name in names}
        numbers = {name: float(value) for name, value in found.items() if _usable(value)}
        seed = entry.settings.get("seed")
        self.sheet = Sheet(
            entry.prompt,
            entry.templated,
            {**self.sheet.values, **numbers},
            str(seed) if type(seed) is int else self.sheet.seed,
        )
        self.shown = entry

    def write(self, text: str) -> None:
        """Put `text` into the editor; what was being typed there is found in the history, as never sent."""
        if self.sheet.prompt not in (self._untouched, text):
            self._never_sent(self.sheet)
        self._at, self._untouched = None, ""
        self.sheet = replace(self.sheet, prompt=text)


def _usable(value: object) -> TypeGuard[int | float]:
    """Whether a setting that was read can be a slider's."""
    return isinstance(value, int | float) and abs(value) <= MAX_SETTING


class Conversations:
    """Those of all runs looked at, by path and birth: a run made anew under an old name begins anew."""

    def __init__(self) -> None:
        self.models = LoadedModels()
        self._all: dict[tuple[str, object], Conversation] = {}

    def of(self, run: RunDir, created: object = None) -> Conversation:
        """The conversation with `run`, which was born at `created`."""
        key = str(run.path), created
        found = self._all.pop(key, None) or Conversation(run, PromptHistory(Path(run.path) / "prompts.jsonl"))
        self._all[key] = found
        for old in [each for each, one in self._all.items() if not one.busy][:-MAX_RUNS]:
            del self._all[old]
        return found

    def end(self, seconds: float = 1.0) -> None:
        """Stop all prompts and see that they are in their runs' histories, however far they came."""
        jobs = [talk.job for talk in self._all.values() if talk.job is not None and not talk.job.done]
        for job in jobs:
            job.cancel()
        until = time.monotonic() + seconds
        for job in jobs:
            job.join(max(0.0, until - time.monotonic()))
            job.keep()
