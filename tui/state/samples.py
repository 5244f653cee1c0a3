"""What a run wrote along its checkpoints, as two pages of one prompt that are read beside each other.

    pages = SamplePages()
    pages.take(view.samples, series.val_step, series.val_loss)   # whenever the run was looked at anew
    pages.a, pages.b                                             # the two pages, None while there is none
    pages.move("b", -1), pages.choose(+1), pages.play()

A is the run's first page until it is moved, B its newest and goes along with it until it is moved. Pages are kept by
their steps: those that come later, or are taken back by a resume, move nothing that was chosen.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Literal

import numpy.typing as npt

from engine.runs.lines import CopiedPart, copied_part
from tui.text import Part

if TYPE_CHECKING:
    from engine.text.template import Template

Side = Literal["a", "b"]


@dataclass(frozen=True, eq=False)
class Page:
    """One sample: what was written to `prompt` by the weights of `step`, and the validation loss they had by then."""

    step: int
    prompt: str
    text: str
    val_loss: float | None
    copied: CopiedPart | None
    seed: int | None

    @property
    def passage(self) -> tuple[int, int] | None:
        """Start and end in `text` of its longest copied passage, where it says one."""
        part = self.copied
        if part is None or not part.length or part.start + part.length > len(self.text):
            return None
        return part.start, part.start + part.length


class SamplePages:
    """The pages of one run, and which of them are looked at; see the module's text."""

    def __init__(self) -> None:
        self.prompts: tuple[str, ...] = ()
        """The prompts there are samples of, in the order they came up."""
        self.pages: tuple[Page, ...] = ()
        """Those of the prompt chosen, by step."""
        self.records: tuple[Mapping[str, Any], ...] = ()
        """All samples of the prompt chosen, as they were recorded."""
        self.compared: Compared | None = None
        """The last two pages whose words were compared."""
        self.playing = False
        self._prompt: str | None = None
        self._wanted: dict[Side, int | None] = {"a": None, "b": None}
        self._samples: Sequence[Mapping[str, Any]] = ()
        self._vals: tuple[list[int], list[float]] = [], []
        self._seen: object = None

    # -- what there is -------------------------------------------------------------------------------------------------

    def take(self, samples: Sequence[Mapping[str, Any]], val_step: npt.ArrayLike, val_loss: npt.ArrayLike) -> None:
        """The samples of the run, oldest first, with its evaluations (M,), (M,); costs nothing when they are known."""
        import numpy as np

        seen = (len(samples), id(samples[0]) if samples else 0, id(samples[-1]) if samples else 0, np.size(val_step))
        if seen == self._seen:
            return
        self._seen, self._samples = seen, samples
        steps, losses = np.asarray(val_step), np.asarray(val_loss)
        known = np.isfinite(losses)
        self._vals = steps[known].tolist(), losses[known].tolist()
        self.prompts = tuple(dict.fromkeys(str(each.get("prompt", "")) for each in samples))
        self._turn()

    def _turn(self) -> None:
        """The pages of the prompt chosen; of two samples of one step the later counts."""
        self.records = tuple(each for each in self._samples if str(each.get("prompt", "")) == self.prompt)
        by_step = {int(each["step"]): each for each in self.records}
        self.pages = tuple(self._page(by_step[step]) for step in sorted(by_step))

    def _page(self, sample: Mapping[str, Any]) -> Page:
        step, (steps, losses) = int(sample["step"]), self._vals
        before = bisect_right(steps, step)
        return Page(
            step,
            str(sample.get("prompt", "")),
            str(sample.get("text", "")),
            losses[before - 1] if before else None,
            copied_part(sample),
            sample.get("seed"),
        )

    @property
    def prompt(self) -> str:
        """The prompt chosen; until one is, the first that the newest step was asked."""
        if self._prompt in self.prompts:
            return self._prompt
        newest = self._samples[-1]["step"] if self._samples else 0
        return next((str(each.get("prompt", "")) for each in self._samples if each["step"] == newest), "")

    @property
    def number(self) -> int:
        """Which of `prompts` is chosen, counted from 0."""
        return self.prompts.index(self.prompt) if self.prompts else 0

    @property
    def a(self) -> Page | None:
        return self.pages[self._index("a")] if self.pages else None

    @property
    def b(self) -> Page | None:
        return self.pages[self._index("b")] if self.pages else None

    def page(self, side: Side) -> Page | None:
        return self.a if side == "a" else self.b

    @property
    def following(self) -> bool:
        """Whether B goes along with the newest page."""
        return self._wanted["b"] is None

    def _index(self, side: Side) -> int:
        wanted = self._wanted[side]
        if wanted is None:
            return 0 if side == "a" else len(self.pages) - 1
        return self._nearest(wanted)

    def _nearest(self, step: int) -> int:
        at = bisect_left(self.pages, step, key=lambda page: page.step)
        around = [index for index in (at - 1, at) if 0 <= index < len(self.pages)]
        return min(around, key=lambda index: abs(self.pages[index].step - step))

    # -- what a person does --------------------------------------------------------------------------------------------

    def move(self, side: Side, by: int) -> None:
        """Turn A or B by so many pages; B on the newest goes along with it again."""
        if self.pages:
            self._set(side, self._index(side) + by)

    def go_to(self, side: Side, step: int) -> None:
        """Turn A or B to the page nearest to `step`."""
        if self.pages:
            self._set(side, self._nearest(step))

    def _set(self, side: Side, index: int) -> None:
        last = len(self.pages) - 1
        index = max(0, min(index, last))
        self._prompt = self.prompt  # of another prompt that comes up nothing is shown unasked
        newest = side == "b" and index == last and not self.playing
        self._wanted[side] = None if newest else self.pages[index].step

    def choose(self, by: int) -> None:
        """Choose the prompt so many places on, 0 to stay with this one; A and B stay at their steps."""
        if self.prompts:
            self._prompt = self.prompts[max(0, min(self.number + by, len(self.prompts) - 1))]
            self._turn()

    def play(self) -> None:
        """Begin to turn B through the checkpoints, from the first where it stands on the last; or stop that."""
        self.playing = not self.playing and len(self.pages) > 1
        if self.playing and self._index("b") == len(self.pages) - 1:
            self._set("b", 0)

    def play_on(self) -> None:
        """One page on; on the last it ends."""
        if self.playing and self.pages:
            at = self._index("b") + 1
            self.playing = at < len(self.pages) - 1
            self._set("b", at)


def bare_prompt(prompt: str, template: Template | None) -> str:
    """The prompt as a person would type it, without the corpus' record format around it."""
    if template is not None and prompt.startswith(template.prefix) and prompt.endswith(template.infix):
        prompt = prompt[len(template.prefix) : len(prompt) - len(template.infix)] or prompt
    return prompt.strip("\n")


def copied_words(page: Page) -> tuple[str, bool]:
    """`copied 93 of 512 characters`, and whether that is far more than held-out text shares; empty where unknown."""
    part = page.copied
    if part is None:
        return "", False
    more = "" if part.whole else " or more"
    return f"copied {part.length:,}{more} of {len(page.text):,} characters", part.too_much


Words = tuple[tuple[str, bool], ...]
"""A text in pieces, each with whether the other text has it too."""


@dataclass(frozen=True, eq=False)
class Compared:
    """Two pages, word by word."""

    a: Page
    b: Page
    a_words: Words
    b_words: Words


def compared(a: Page, b: Page) -> Compared:
    """What differs between two pages; bounded for any of them, yet too long for the screen's thread."""
    from engine.text.diff import compare_words

    spans = compare_words(a.text, b.text)
    mine = tuple((a.text[span.start : span.end], span.same) for span in spans)
    theirs = tuple((b.text[span.other_start : span.other_end], span.same) for span in spans)
    return Compared(a, b, _filled(mine), _filled(theirs))


def _filled(words: Words) -> Words:
    return tuple(each for each in words if each[0])


def looks(page: Page, words: Words | None) -> list[Part]:
    """The page in (text, look) pieces: words that the other has dim, others bright and bold, a copied passage
    underlined; without `words` all of it plain."""
    pieces: list[Part] = []
    start, end = page.passage or (0, 0)
    at = 0
    for text, same in words if words is not None else ((page.text, None),):
        look = "foreground" if same is None else "dim" if same else "bright bold"
        cuts = sorted({0, len(text), *(min(max(edge - at, 0), len(text)) for edge in (start, end))})
        for left, right in pairwise(cuts):
            inside = start <= at + left < end
            pieces.append((text[left:right], f"{look} underline" if inside else look))
        at += len(text)
    return pieces
