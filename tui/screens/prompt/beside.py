"""What stands beside the output: the sliders, and what could have stood at the token that is looked at."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

from textual.app import ComposeResult
from textual.containers import Horizontal
from textual.content import Content
from textual.widget import Widget
from textual.widgets import Input

from tui.screens.prompt.sliders import make_sliders, seed_input
from tui.state.conversation import DEFAULTS
from tui.state.nexttoken import NextToken
from tui.text import clean
from tui.widgets.bars import NextTokenBars, Others
from tui.widgets.pane import Pane
from tui.widgets.rows import Rows
from tui.widgets.slider import Slider


class SamplingPane(Pane):
    """The sliders and the seed."""

    title = "sampling"
    about: ClassVar[str] = (
        "How the next token is drawn. The rules act in this order: "
        "repetition penalty, temperature, top-k, top-p, min-p. The bars "
        "follow at once. "
        "A slider also takes a typed value, or off where it has one. "
        "ctrl+n has settings by name: choose, keep, forget."
    )

    def __init__(self) -> None:
        super().__init__(id="sampling")
        self.sliders = make_sliders(tuple(DEFAULTS))
        self.seed = seed_input()
        self._lock = Rows(id="lock")
        self._last: Widget | None = None

    def compose(self) -> ComposeResult:
        yield from self.sliders.values()
        with Horizontal(id="seed-row"):
            yield Rows(id="seed-label")
            yield self.seed
            yield self._lock

    def on_mount(self) -> None:
        self.query_one("#seed-label", Rows).show([[(" seed", "dim")]])

    def stops(self) -> Iterator[Slider | Input]:
        """What takes the focus, from above."""
        yield from self.sliders.values()
        yield self.seed

    def focus_target(self) -> None:
        (self._last or next(iter(self.sliders.values()))).focus()

    def on_descendant_focus(self) -> None:
        self._last = self.screen.focused

    def step(self, by: int) -> None:
        """The focus to the row above or below."""
        stops = list(self.stops())
        here = next((i for i, each in enumerate(stops) if each.has_focus), 0)
        stops[(here + by) % len(stops)].focus()

    def say(self, preset: str, side: str, locked: bool) -> None:
        """The title, and whether the seed is kept."""
        said = [("sampling", ""), (f" {side.upper()}" if side else "", "bold $accent")]
        self.say_title(
            Content.assemble(*said, ("  ", ""), (preset or "own settings", "bold $bright"), (" ▾", "$accent"))
        )
        self._lock.show([[("■ locked" if locked else "□ lock", "bright" if locked else "dim"), ("  ^l", "accent")]])


class BarsPane(Pane):
    """The distribution at one place."""

    title = "next token"
    about: ClassVar[str] = (
        "What could stand at the token that is looked at: the probability "
        "after the rules as the sliders have them now, and as the model "
        "gives it (raw). A token that a rule cut names the rule. "
        "↑ ↓ choose, ⏎ takes that token instead and goes on from it; "
        "← → walk through the output."
    )

    def __init__(self) -> None:
        super().__init__(id="next")
        self.bars = NextTokenBars(label_width=14, empty="the bars come with an answer")
        self._label = ""

    def compose(self) -> ComposeResult:
        yield self.bars

    def focus_target(self) -> None:
        self.bars.focus()

    def show(self, found: NextToken, after: str, fresh: bool) -> None:
        """`after` is the text before the place; `fresh`: it is another place than before."""
        others = Others(found.others, found.others_before, found.others_after)
        self.bars.show(found.bars, others)
        if fresh:
            self.bars.stand_on_taken()
        tail = clean(after, keep_newlines=False)[-max(6, self.size.width - 26) :]
        self.say_title(Content.assemble(("next token", ""), ("  after ", "$dim"), (f'"{tail}"', "$bright")))
        left = f"{found.left:,} of {found.vocab_size:,} left"
        bits = f"entropy {found.entropy_before:.1f} → {found.entropy_after:.1f} bits"
        guess = f"  {found.estimate}: an estimate" if found.estimate else ""
        said = f"{left}  {bits}{guess}"
        self.say_below(Content(said if len(said) < self.size.width - 4 else bits))

    def show_none(self, why: str) -> None:
        """No distribution, and why."""
        self.bars.clear(why)
        self.say_title(Content(self.title))
        self.say_below(Content(""))
