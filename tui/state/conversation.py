"""What is being asked of each run: what was typed, how to sample, the prompt under way and its answer.

Panes only show it, so it outlives them: one may look at another screen or another run and find all as it was.
"""

from __future__ import annotations

import random
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, TypeGuard

from engine.errors import UserError
from engine.runs.layout import RunDir
from engine.sampling.settings import WHOLE, SamplingSettings
from tui.state.grid import Grid
from tui.state.history import Prompted, PromptHistory
from tui.state.prompting import LoadedModels, PromptJob, Request

if TYPE_CHECKING:
    from engine.text.template import Template

MAX_SETTING = 1e9
CHAT = "chat"
"""How an answer in a chat came about, as the history tells it."""
MAX_TURNS = 256
"""Turns of a chat that are given to the model, of which it takes what fits, and shown; those before them are in the
history alone."""
MAX_JOBS = 64
"""Answers of a conversation whose tokens stay; those before them are as the history has them."""
DEFAULTS: Mapping[str, float] = {
    "temperature": 0.8,
    "top_k": 40,
    "top_p": 1.0,
    "min_p": 0.0,
    "repetition_penalty": 1.0,
    "max_tokens": SamplingSettings().max_tokens,
}
"""What the sliders say before anybody moved them."""


@dataclass(frozen=True)
class Sheet:
    """What a person set: the text, whether the run's format goes around it, the sliders by name, the seed."""

    prompt: str = ""
    templated: bool = True
    values: Mapping[str, float] = field(default_factory=dict)
    seed: str = ""

    def value(self, name: str) -> float:
        """Where the slider `name` stands."""
        return self.values.get(name, DEFAULTS[name])

    def settings(self, stops: tuple[str, ...] = ()) -> SamplingSettings:
        """How to sample; raises UserError for a seed that is none."""
        typed = self.seed.strip()
        try:
            seed = int(typed) if typed else None
        except ValueError:
            raise UserError(f"seed must be a whole number, not {typed!r}") from None
        values = {name: int(self.value(name)) if name in WHOLE else self.value(name) for name in DEFAULTS}
        return SamplingSettings(**values, seed=seed, stop=stops)  # type: ignore[arg-type]


Turns = tuple[tuple[str, str], ...]
"""What was said in a chat, each with its answer."""
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
    the entries, by their numbers, and below the newest the one where new prompts are written. What stood at an entry
    that the history has let go of is found in it as never sent.
    """

    def __init__(self, run: RunDir | None, history: PromptHistory | None) -> None:
        self.run, self.history = run, history  # None while no run is open
        self.sheet = Sheet(seed=str(random.randrange(10_000)))
        self.shown: Shown = None
        self.job: PromptJob | None = None
        self.source: str | int | None = None
        self.int8 = False
        """Whether a checkpoint answers with its matrices in 8 bits."""
        self.locked = False
        self.other: Conversation | None = None
        """What stands beside this one where two are compared; the prompt and the seed are this one's."""
        self.jobs: list[PromptJob] = []
        """Newest last."""
        self.template: Template | None = None
        """Of another run than the one that is shown."""
        self.chatting = False
        """Whether what is sent is said after what was said before."""
        self.chat: list[PromptJob | Prompted] = []
        """The turns of the chat, the newest of them."""
        self._said_before: dict[int, tuple[Prompted, Turns]] = {}
        self.grid: Grid | None = None
        """The last prompt that was asked at several settings."""
        self._at: int | None = None
        self._untouched = ""
        self._kept: dict[int | None, Place] = {}
        self._on_disk: dict[str, Any] | None = None

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
        self.jobs = [*self.jobs[1 - MAX_JOBS :], self.job]
        if request.chat is not None:
            self._said(request.chat.turns, self.job)
        self.job.start()
        return self.job

    def ask_grid(self, request: Request, models: LoadedModels, side: int = 3) -> Grid:
        """`request` at several settings; what was asked already is not asked again."""
        if self.grid is None or (self.grid.request, self.grid.side) != (request, side) or not self.grid.whole:
            if self.grid is not None:
                self.grid.cancel()
            self.grid = Grid(request, models, side)
            self.grid.start()
        return self.grid

    def under_way(self) -> list[PromptJob]:
        """The prompts that are not done, also the one beside this."""
        beside = self.other.under_way() if self.other is not None else []
        return beside + ([self.job] if self.job is not None and not self.job.done else [])

    def stop(self) -> None:
        """Stop the prompt under way; what it wrote stays."""
        if self.job is not None and not self.job.done:
            self.job.cancel()

    @property
    def untouched(self) -> bool:
        """Whether the editor holds what was sent or recalled, or nothing."""
        return self.sheet.prompt in ("", self._untouched)

    # -- versions ------------------------------------------------------------------------------------------------------

    def versions(self) -> list[PromptJob | Prompted]:
        """All answers to the prompt of the one that is shown, the oldest first."""
        shown = self.shown
        if shown is None or self.history is None:
            return []
        asked = self._asked(shown)
        jobs = {id(job.entry): job for job in self.jobs if job.entry is not None}
        found: list[PromptJob | Prompted] = []
        for entry in self.history.entries:
            if entry.prompt == asked[0] and entry.stop_reason != "not sent":
                one = jobs.get(id(entry), entry)
                found += [one] if self._asked(one) == asked else []
        if self.job is not None and self.job.entry is None and self._asked(self.job) == asked:
            found.append(self.job)
        gone = shown if isinstance(shown, Prompted) else shown.entry  # where the history has let go of it
        held = {id(one if isinstance(one, Prompted) else one.entry) for one in found}
        if gone is not None and gone.stop_reason != "not sent" and id(gone) not in held:
            found.insert(0, shown)
        return found

    @property
    def version(self) -> tuple[int, int]:
        """Which of how many answers is shown, counted from 1; (0, 0) for none."""
        versions = self.versions()
        at = next((i for i, each in enumerate(versions, 1) if each is self.shown), 0)
        return at, len(versions)

    def turn_version(self, by: int) -> bool:
        """Show the answer `by` places further among those to the same prompt; False when there is none."""
        versions = self.versions()
        at = next((i for i, each in enumerate(versions) if each is self.shown), len(versions)) + by
        if not 0 <= at < len(versions):
            return False
        self.shown = one = versions[at]
        if (turns := self.turns_before(one)) is not None:
            self._said(turns, one)
        return True

    def _said(self, turns: Turns, one: PromptJob | Prompted) -> None:
        """Put a turn after those before it, in place of what was said there."""
        said_there = (at for at in reversed(range(len(self.chat))) if self.turns_before(self.chat[at]) == turns)
        self.chat[next(said_there, len(self.chat)) :] = [one]
        del self.chat[:-MAX_TURNS]

    def turns_before(self, shown: Shown) -> Turns | None:
        """What was said in the chat before an answer, and answered; None for an answer that is in none."""
        if isinstance(shown, PromptJob):
            return shown.request.chat.turns if shown.request.chat is not None else None
        return self._said_before.get(id(shown), (None, None))[1]

    def _asked(self, shown: PromptJob | Prompted) -> tuple[object, ...]:
        """What an answer is an answer to: the prompt, whether the run's format was around it, and the turns before it;
        of a chat that is over those are not known."""
        asked = shown.request if isinstance(shown, PromptJob) else shown
        turns: object = self.turns_before(shown)
        if turns is None and isinstance(shown, Prompted) and shown.how.startswith(CHAT):
            turns = CHAT
        return asked.prompt, asked.templated, turns

    # -- history -------------------------------------------------------------------------------------------------------

    def turn(self, by: int) -> bool:
        """Go `by` places through the history, towards the newest when positive; False when there is none further.

        Below the newest stands what was being typed before; leaving it, or a changed entry, loses nothing.
        """
        first, entries = self._numbered()
        below = first + len(entries)
        at = below if self._at is None else max(self._at, first - 1)
        if by < 0 and at < first:  # what stands here has gone, and it was the oldest
            return False
        wanted: int | None = max(first, min(at + by, below))
        wanted = None if wanted == below else wanted
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
            self._recall(entries[wanted - first])
        self._untouched = entries[wanted - first].prompt if wanted is not None else ""
        return True

    def _numbered(self) -> tuple[int, list[Prompted]]:
        """The history's entries with the number of the first; what stands at one that has gone is put among them."""
        if self.history is None:
            return 0, []
        first, _ = self.history.numbered()
        for number in [each for each in self._kept if each is not None and each < first]:
            self._never_sent(self._kept.pop(number).sheet)
        return self.history.numbered()

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
            self.history.hold(entry)

    def _recall(self, entry: Prompted) -> None:
        found = {name: entry.settings.get(name) for name in DEFAULTS}
        numbers = {name: float(value) for name, value in found.items() if _usable(value)}
        seed = entry.settings.get("seed")
        self.sheet = Sheet(
            entry.prompt,
            entry.templated,
            {**self.sheet.values, **numbers},
            str(seed) if type(seed) is int else self.sheet.seed,
        )
        self.shown = next((job for job in self.jobs if job.entry is entry), entry)

    def write(self, text: str) -> None:
        """Put `text` into the editor; what was being typed there is found in the history, as never sent."""
        if self.sheet.prompt not in (self._untouched, text):
            self._never_sent(self.sheet)
        self._at, self._untouched = None, ""
        self.sheet = replace(self.sheet, prompt=text)

    # -- what outlives the program -------------------------------------------------------------------------------------

    def draft(self) -> dict[str, Any]:
        """What a person would miss after a restart; empty when nothing was written or set."""
        sheet, draft = self.sheet, dict[str, Any]()
        if not self.untouched:  # what was sent or recalled is in the history
            draft["prompt"] = sheet.prompt
        if not sheet.templated:
            draft["templated"] = False
        if values := {name: value for name, value in sheet.values.items() if value != DEFAULTS.get(name)}:
            draft["values"] = values
        if self.locked:
            draft["seed"] = sheet.seed
        if unsent := [place.sheet.prompt for place in self._kept.values() if place.sheet.prompt.strip()]:
            draft["unsent"] = unsent
        if self.chat:
            kept = [turn for turn in self.chat if isinstance(turn, Prompted) or turn.entry is not None]
            draft["chat"] = [list(turn_of(turn)) for turn in kept[-MAX_JOBS:]]
        if self.chatting:
            draft["chatting"] = True
        return draft

    def take(self, entries: list[Prompted], draft: Mapping[str, Any]) -> None:
        """The history as it was read, and the draft of before, unless something was written here by now."""
        if self.history is not None:
            self.history.take(entries)
        for text in draft.get("unsent", ()):
            self._never_sent(Sheet(text))
        untouched = not self.draft()
        self._on_disk = dict(draft)
        if not self.chat and not self.chatting:
            self._take_chat(entries, draft)
        if not untouched and draft.get("prompt") not in (None, self.sheet.prompt):
            self._never_sent(Sheet(draft["prompt"]))
        if untouched and draft:
            values = {name: float(value) for name, value in draft.get("values", {}).items() if name in DEFAULTS}
            self.locked = "seed" in draft
            self.sheet = Sheet(
                draft.get("prompt", ""), draft.get("templated", True), values, draft.get("seed", self.sheet.seed)
            )

    def _take_chat(self, entries: Sequence[Prompted], draft: Mapping[str, Any]) -> None:
        """The chat of before, its turns as the history has them where it still does."""
        known = {(each.prompt, each.text): each for each in entries if each.how.startswith(CHAT)}
        turns = tuple((prompt, text) for prompt, text in draft.get("chat", ()))
        found = [known.pop(turn) if turn in known else Prompted(*turn, templated=True, how=CHAT) for turn in turns]
        self.chat = [*found]
        self._said_before = {id(turn): (turn, turns[:at]) for at, turn in enumerate(found)}
        self.chatting = bool(draft.get("chatting"))
        if self.chatting and self.shown is None and self.chat:
            self.shown = self.chat[-1]

    def unsaved(self) -> dict[str, Any] | None:
        """The draft where it is another than on the disk, which it is held to be from now on."""
        draft = self.draft()
        if self._on_disk is None or draft == self._on_disk:
            return None
        self._on_disk = draft
        return draft


def turn_of(turn: PromptJob | Prompted) -> tuple[str, str]:
    """A turn of a chat: what was said, and the answer."""
    return (turn.request.prompt if isinstance(turn, PromptJob) else turn.prompt), turn.text


def _usable(value: object) -> TypeGuard[int | float]:
    """Whether a setting that was read can be a slider's."""
    return isinstance(value, int | float) and abs(value) <= MAX_SETTING
