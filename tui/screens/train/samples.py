"""The samples pane: what the model wrote at each checkpoint, turned like pages."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from textual import events
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.content import Content
from textual.message import Message

from engine.runs.lines import CopiedPart, copied_part
from tui.actions import bindings
from tui.text import fit
from tui.widgets.pane import Pane
from tui.widgets.stream import OutputText

EMPTY = "samples appear here at each checkpoint"


class SamplesPane(Pane):
    """Follows the newest sample until the reader turns back; `end` follows again."""

    scope = "samples"
    title = "samples"
    about: ClassVar[str] = (
        "What the model writes to one fixed prompt with one fixed seed, at every "
        "checkpoint: the difference between two pages is what it has learned. "
        "The newest page is shown as it comes, until you turn back with ◀. "
        "copied: its longest passage that stands word for word in the training text; "
        "red when that is far more than in text the model has not seen."
    )
    BINDINGS: ClassVar[list[BindingType]] = bindings("samples")

    def __init__(self) -> None:
        super().__init__(id="samples")
        self._samples: Sequence[Mapping[str, Any]] = ()
        self._index = -1
        self._which = ""
        self._shown: tuple[Any, ...] | None = None
        self.empty = EMPTY

    def compose(self) -> ComposeResult:
        yield OutputText(empty=self.empty)

    def focus_target(self) -> None:
        self.query_one(OutputText).focus()

    class Turned(Message):
        """The reader turned to another page."""

    @property
    def following(self) -> bool:
        """Whether the newest page is shown."""
        return self._index >= len(self._samples) - 1

    def go_to(self, step: int) -> None:
        """Turn to the page nearest to `step`."""
        if self._samples:
            self._index = min(range(len(self._samples)), key=lambda i: abs(int(self._samples[i]["step"]) - step))
            self._turn()

    def follow(self) -> None:
        """Show the newest page, and those that come."""
        self._index = len(self._samples) - 1
        self._turn()

    @property
    def step(self) -> int | None:
        """The step of the page shown."""
        return int(self._samples[self._index]["step"]) if self._samples else None

    def clear(self) -> None:
        """Show no run's samples; of the next run the newest page is followed."""
        self._index = -1
        self._samples = ()
        self.query_one(OutputText).empty = EMPTY
        self._turn()

    def show(self, samples: Sequence[Mapping[str, Any]], empty: str = EMPTY, which: str = "") -> None:
        """The samples of one prompt, oldest first; `which` prompt it is; `empty` is said while there are none."""
        following, self._which = self.following, which
        self._samples = list(samples)  # the reader's own list grows
        self._index = len(samples) - 1 if following else min(self._index, len(samples) - 1)
        self.query_one(OutputText).empty = empty
        self._turn()

    def action_older(self) -> None:
        self._go(self._index - 1)

    def action_newer(self) -> None:
        self._go(self._index + 1)

    def action_oldest(self) -> None:
        self._go(0)

    def action_newest(self) -> None:
        self._go(len(self._samples) - 1)

    def on_click(self, event: events.Click) -> None:
        said = self.title_at(event)
        steps = [f"{int(each['step']):,}" for each in self._samples]
        if said in ("◀", "▶"):
            self._go(self._index + (1 if said == "▶" else -1))
        elif said in steps:
            self._go(steps.index(said))

    def on_resize(self) -> None:
        self._title()

    def _go(self, index: int) -> None:
        if self._samples:
            self._index = max(0, min(index, len(self._samples) - 1))
            self._turn()
            self.post_message(self.Turned())

    def _turn(self) -> None:
        if not self._samples:
            key: tuple[Any, ...] = ()
        else:
            sample = self._samples[self._index]
            key = (self._index, sample.get("step"), sample.get("text"), sample.get("prompt"))
        self._title()
        if key == self._shown:
            return
        self._shown = key
        output = self.query_one(OutputText)
        if not self._samples:
            output.clear()
            return
        sample = self._samples[self._index]
        output.set_text(str(sample.get("text", "")), str(sample.get("prompt", "")).lstrip("\n"))

    def _title(self) -> None:
        steps = [int(sample.get("step", 0)) for sample in self._samples]
        which = f"  {self._which}" if self._which else ""
        room = self.size.width - 14 - len(which)
        self.say_title(timeline(steps, self._index, max(0, room)) + Content.styled(which if room > 14 else "", "$dim"))
        if self._samples:
            settings = self._samples[self._index].get("settings") or {}
            said = f"page {self._index + 1} of {len(steps)}"
            if "temperature" in settings:
                said += f"  t {settings['temperature']:.2f}  seed {self._samples[self._index].get('seed')}"
            self.say_below(below(said, copied_part(self._samples[self._index]), max(0, self.size.width - 6)))
        else:
            self.say_below(Content(""))


def below(said: str, copied: CopiedPart | None, width: int) -> Content:
    """`page 3 of 3  t 0.80  copied: 23 characters at most` in `width` cells; what is too much comes first, in red.

    Where there is no room what stands last leaves first, and a number never stands without its unit.
    """
    warning, ways = "", [said]
    if copied is not None and copied.too_much:
        warning = f"! copied: {characters(copied.length)}"
        ways = [f"{warning}  {said}", f"{warning}  {said.partition('  ')[0]}", warning, "! copied"]
    elif copied is not None:
        ways = [f"{said}  copied: {copied}", f"{said}  copied: {characters(copied.length)}", said]
    words = next((way for way in ways if len(way) <= width), ways[-1])
    return Content(fit(words, min(len(words), width))).stylize("$alarm", 0, len(warning))


def characters(count: int) -> str:
    """`1 character`, `1,234 characters`."""
    return f"{count:,} character{'' if count == 1 else 's'}"


def timeline(steps: Sequence[int], index: int, width: int) -> Content:
    """`samples  ◀ 500 · [1,000] · 1,500 ▶`: the page shown and as many neighbours as fit in `width` cells."""
    parts: list[tuple[str, str]] = [("samples", "")]
    if steps:
        first = last = index
        while True:
            wider = [(first - 1, last), (first, last + 1)]
            fits = [
                (a, b)
                for a, b in wider
                if a >= 0 and b < len(steps) and len(_stations(steps, a, b, index)) <= width - 4
            ]
            if not fits:
                break
            # Neighbours come in turn, so that the page stays in the middle.
            first, last = min(fits, key=lambda span: abs((index - span[0]) - (span[1] - index)))
        before, after = index > 0, index < len(steps) - 1
        parts += [("  ", ""), ("◀ " if before else "  ", "$accent")]
        for each in range(first, last + 1):
            if each > first:
                parts.append((" · ", "$dim"))
            parts.append((f"[{steps[each]:,}]", "bold $bright") if each == index else (f"{steps[each]:,}", "$dim"))
        parts.append((" ▶" if after else "", "$accent"))
    return Content.assemble(*parts)


def _stations(steps: Sequence[int], first: int, last: int, index: int) -> str:
    return " · ".join(f"[{steps[i]:,}]" if i == index else f"{steps[i]:,}" for i in range(first, last + 1))
