"""Looking into a run's weights: which text, which checkpoint, which view, where the cursor is, and what is known.

    inspector = session.inspector
    inspector.look(...)           # ask for what the view shows and is not known yet; nothing is computed here
    inspector.read, .attention    # what is known by now

One run at a time holds what was computed; all of them keep what the person chose.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from tui.state.drafts import LOOKED, Kept, read_looked
from tui.state.inspected import (
    LENGTH,
    LENGTHS,
    Held,
    LookedText,
    Part,
    Read,
    Source,
    TokenFacts,
    alone,
    read_attention,
    read_lens,
    read_text,
    read_token,
    read_worst,
)
from tui.state.news import Notice
from tui.state.worker import Ticket, Worker

if TYPE_CHECKING:
    from engine.inspect.losses import Passage, Worst
    from engine.runs.layout import RunDir

View = Literal["loss", "attention", "lens", "tokens", "ladder"]
VIEWS: tuple[View, ...] = ("loss", "attention", "lens", "tokens", "ladder")
LAST_LAYER = 1_000_000
"""Until it is known how many there are."""
JOBS = ("inspect text", "inspect part", "inspect token", "inspect worst")


class Inspector:
    """One run looked into; `of` an Inspectors."""

    def __init__(self, run: RunDir, works: Worker, held: Held, say: Callable[[Notice], None]) -> None:
        self.run = run
        self._works, self._held, self._say = works, held, say
        self.view: View = "loss"
        self.source = Source()
        self.before: list[Source] = []
        """The texts looked at before, to go back to."""
        self.chosen: int | None = None
        """The step of the checkpoint chosen; None: the newest good one while it trains, then the best."""
        self.cursor = 0
        """The place of a token in the text."""
        self._cursor_in: Source | None = None
        self._land: int | None = None
        self.layer, self.head = 0, 0
        self.lens_layer = LAST_LAYER
        self.typed = ""
        self.beside: Callable[[], bool] = lambda: False
        """Whether this process trains."""
        self.known = True
        """Whether it is known how the run was looked into before this start."""
        self._on_disk: dict[str, Any] = {}
        self.rest()

    def rest(self) -> None:
        """Forget what was computed, not what was chosen."""
        for job in JOBS:
            self._works.drop(job)
        self.read: Read | None = None
        self.problem = ""
        self.attention: Part | None = None
        self.lens: Part | None = None
        self.token: TokenFacts | None = None
        self.worst: Worst | None = None
        self.worst_texts: tuple[str, ...] = ()
        self.worst_problem = ""
        self._worst_of: int | None = None
        self.part_problem = ""
        self._asked: object = None
        self._asked_part: object = None
        self._asked_token: object = None

    # -- what is known -------------------------------------------------------------------------------------------------

    @property
    def text(self) -> LookedText | None:
        return self.read.text if self.read is not None else None

    @property
    def step(self) -> int | None:
        """Of the weights that are looked into; None while there are none."""
        return self.read.step if self.read is not None else None

    @property
    def id(self) -> int | None:
        """The token under the cursor."""
        text = self.text
        return int(text.ids[self.cursor]) if text is not None and self.cursor < len(text.ids) else None

    @property
    def reading(self) -> bool:
        """Whether the text, or its losses, are still to come."""
        return self._works.asked("inspect text")

    def part(self, kind: Literal["attention", "lens"]) -> Part | None:
        """Attention or the lens at the cursor; None while it is not known."""
        found = self.attention if kind == "attention" else self.lens
        return found if found is not None and self.text is not None and self._fits(found) else None

    def _fits(self, part: Part) -> bool:
        return self.text is not None and part.covers(self.text, self.step, self.cursor)

    # -- asking --------------------------------------------------------------------------------------------------------

    def which(self, live: bool) -> str | int:
        """The checkpoint wanted, as `open_subject` has it."""
        return self.chosen if self.chosen is not None else "last" if live else "best"

    def look(self, live: bool, steps: tuple[int, ...]) -> None:
        """Ask for what the view shows and is not known yet; `steps` are those with a checkpoint."""
        if not self.known:
            return
        if self.chosen is not None and steps and self.chosen not in steps:
            self.chosen = None  # removed in the meantime
        which = self.which(live)
        newest = steps[-1:] if which == "last" else steps if which == "best" else ()
        wanted = which, newest, self.source
        if wanted != self._asked:
            self._asked = wanted
            self.problem = ""
            held, run, source, beside = self._held, self.run, self.source, self.beside()

            def read(ticket: Ticket) -> Read:
                with alone(beside):
                    return read_text(held, run, which, source, ticket)

            self._works.ask("inspect text", read, self._take, self._cannot)
        text = self.text
        if text is None or text.source != self.source:
            return
        if self.view in ("attention", "lens") and self.step is not None:
            self._look_at_part(text, self.step)
        elif self.view == "tokens":
            self._look_at_token(text)

    def _look_at_part(self, text: LookedText, step: int) -> None:
        kind: Literal["attention", "lens"] = "attention" if self.view == "attention" else "lens"
        if self.part(kind) is not None:
            return
        held, run, place, beside = self._held, self.run, self.cursor, self.beside()
        about = kind, text, step
        asked = self._asked_part
        if isinstance(asked, tuple) and asked[:3] == about and (asked[3] == place or self.part_problem):
            return
        self._asked_part, self.part_problem = (*about, place), ""

        def read(ticket: Ticket) -> Part | None:
            with alone(beside):
                reader = read_attention if kind == "attention" else read_lens
                return reader(held, run, step, text, place, ticket)

        self._works.ask("inspect part", read, self._take_part, self._cannot_part)

    def _look_at_token(self, text: LookedText) -> None:
        id, step = self.id, self.step
        if id is None or self._asked_token == (text.tokenizer.fingerprint, step, id):
            return
        self._asked_token = text.tokenizer.fingerprint, step, id
        held, run, beside = self._held, self.run, self.beside()

        def read(_: Ticket) -> TokenFacts:
            with alone(beside):
                return read_token(held, run, step, text, id)

        self._works.ask("inspect token", read, self._take_token)

    def _take(self, read: Read) -> None:
        if self._cursor_in != read.text.source:
            self.cursor = read.text.judged if self._land is None else self._land
            self._cursor_in, self._land = read.text.source, None
        self.read, self.problem = read, ""
        self.cursor = self._inside(self.cursor)
        if read.whole:
            for problem in read.told:
                self._say(Notice(problem, bad=True))

    def _cannot(self, problem: str) -> None:
        self.read, self.problem = None, problem

    def _take_part(self, part: Part | None) -> None:
        if part is None:  # given up
            return
        if part.maps is not None:
            self.attention = part
            layers, heads = part.maps.weights.shape[:2]
            self.layer, self.head = min(self.layer, layers - 1), min(self.head, heads - 1)
        else:
            self.lens = part

    def _cannot_part(self, problem: str) -> None:
        self.part_problem = problem

    def _take_token(self, facts: TokenFacts) -> None:
        self.token = facts

    # -- the worst passages --------------------------------------------------------------------------------------------

    def find_worst(self) -> None:
        """Ask for the worst passages, unless they are known for these weights."""
        step = self.step
        if step is None:
            return
        if self._worst_of == step and self.worst is not None and self.worst.looked_at == self.worst.wanted:
            return
        self.worst, self.worst_texts, self.worst_problem, self._worst_of = None, (), "", step
        held, run, beside = self._held, self.run, self.beside()

        def read(ticket: Ticket) -> tuple[Worst, tuple[str, ...], int] | None:
            with alone(beside):
                return read_worst(held, run, step, ticket)

        self._works.ask("inspect worst", read, self._take_worst, self._cannot_worst)

    def leave_worst(self) -> None:
        """Look no further; what was found so far is kept only when it is all."""
        self._works.drop("inspect worst")

    def _take_worst(self, found: tuple[Worst, tuple[str, ...], int] | None) -> None:
        if found is None:  # given up
            return
        self.worst, self.worst_texts, self._worst_of = found

    def _cannot_worst(self, problem: str) -> None:
        self.worst_problem = problem

    # -- choosing ------------------------------------------------------------------------------------------------------

    def go(self, place: int) -> None:
        """The cursor on another token of the text."""
        self.cursor = self._inside(place)

    def _inside(self, place: int) -> int:
        text = self.text
        return max(text.first, min(place, len(text.ids) - 1)) if text is not None else max(0, place)

    def turn(self, by: int) -> None:
        """Another passage of the held-out text; round its end, and back from a text of another kind."""
        source = self.source
        if source.kind != "held-out":
            self._show(self.before[-1] if self.before else Source(length=source.length))
            return
        passages = max(1, self.text.passages if self.text is not None else 1)
        self._show(Source(number=(source.number + by) % passages, length=source.length))

    def resize(self, by: int) -> None:
        """Longer or shorter held-out passages, the cursor's token still in them."""
        if self.source.kind != "held-out" or self.text is None:
            return
        here = LENGTHS.index(self.source.length)
        length = LENGTHS[max(0, min(here + by, len(LENGTHS) - 1))]
        if length != self.source.length:
            place = self.source.number * self.source.length + self.cursor
            number = max(0, place - 1) // length
            self._show(Source(number=number, length=length))
            self._land = place - number * length

    def show_typed(self, text: str) -> None:
        """Look at a text of the person's own."""
        self.typed = text
        self._show(Source("typed", length=self.source.length, typed=text))

    def show_worst(self, passage: Passage) -> None:
        """Look at one of the worst passages."""
        self._show(Source("worst", length=self.source.length, passage=passage))

    def _show(self, source: Source) -> None:
        if self.source.kind == "held-out":
            self.before = [self.source]
        self.source, self._land = source, None

    # -- what outlives the program -------------------------------------------------------------------------------------

    def kept(self) -> dict[str, Any]:
        """What a person would miss after a restart, as far as it is not as at the beginning."""
        source = self.source if self.source.kind != "worst" else self.before[-1] if self.before else Source()
        moved = self.text is not None and self.text.source == source and self.cursor != self.text.judged
        now = {
            "view": self.view,
            "typed": self.typed,
            "of_typed": source.kind == "typed",
            "number": source.number,
            "length": source.length,
            "cursor": self.cursor if moved else self._land,
            "chosen": self.chosen,
            "layer": self.layer,
            "head": self.head,
        }
        first = {**dict.fromkeys(now), "view": VIEWS[0], "length": LENGTH}
        return {name: value for name, value in now.items() if value and value != first[name]}

    def take_kept(self, kept: Mapping[str, Any]) -> None:
        """Look as it was looked when the program ended."""
        self.known, self._on_disk = True, dict(kept)
        self.view = next((view for view in VIEWS if view == kept.get("view")), self.view)
        self.typed = kept.get("typed", "")
        length = kept["length"] if kept.get("length") in LENGTHS else LENGTH
        self.source = Source(number=kept.get("number", 0), length=length)
        if kept.get("of_typed") and self.typed:
            self.show_typed(self.typed)
        self._land, self.chosen = kept.get("cursor"), kept.get("chosen")
        self.layer, self.head = kept.get("layer", 0), kept.get("head", 0)

    def unsaved(self) -> dict[str, Any] | None:
        """What is to be kept where it is other than on the disk, which it is held to be from now on."""
        kept = self.kept()
        if not self.known or kept == self._on_disk:
            return None
        self._on_disk = kept
        return kept


class Inspectors:
    """Those of all runs looked into; with `reads` they look again as they did before the program ended."""

    def __init__(
        self,
        works: Worker,
        say: Callable[[Notice], None],
        corpora_dir: Path | None,
        reads: Worker | None = None,
    ) -> None:
        self._works, self._say, self._reads = works, say, reads
        self._kept = Kept(reads, LOOKED)
        self._held = Held(corpora_dir)
        self._known: dict[Path, Inspector] = {}
        self._last: Inspector | None = None

    def of(self, run: RunDir) -> Inspector:
        """The inspector of `run`; what was computed for another one is forgotten."""
        found = self._known.get(run.path)
        if found is None:
            found = self._known[run.path] = Inspector(run, self._works, self._held, self._say)
            if self._reads is not None:
                found.known = False
                self._reads.ask(f"looked {run.path}", lambda _: read_looked(run), found.take_kept)
        if self._last is not None and self._last is not found:
            self._last.rest()
        self._last = found
        return found

    def save(self) -> None:
        """Have what changed since the last call written."""
        for each in self._known.values():
            if (kept := each.unsaved()) is not None:
                self._kept.write(each.run, kept)

    def end(self) -> None:
        """Write what was changed in the last moment, and what nobody came to write."""
        self.save()
        self._kept.end()
