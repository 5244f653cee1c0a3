"""The next token's distribution, before and after the sampling rules, one token a row.

    bars = NextTokenBars()
    bars.show([TokenBar(text=" the", before=0.31, after=0.44, cut=False, id=262), ...])   # in the order to be shown
    on NextTokenBars.Selected(bars, index, token): the reader chose this alternative (enter or click)

A row is `❯␣the      ━━━━━━━────  44.0%  31.0%`: bar and figure after the rules bright, before them dim; a token that
the rules cut keeps its dim line and says `cut`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from textual import events
from textual.binding import BindingType
from textual.message import Message

from tui.actions import bindings
from tui.text import Part, fit
from tui.widgets.paint import Painted

EMPTY = "next-token probabilities appear here while a prompt runs"


@dataclass(frozen=True)
class TokenBar:
    """One token: its text, its probability before and after the rules, whether they cut it, its id."""

    text: str
    before: float
    after: float
    cut: bool = False
    id: int = -1


def token_label(text: str) -> str:
    """A token as one visible word: spaces as `␣`, an empty one as `∅`."""
    return text.replace(" ", "␣") or "∅"


class NextTokenBars(Painted, can_focus=True):
    """Rows of `TokenBar`; up and down choose one, enter goes on from it."""

    DEFAULT_CSS = "NextTokenBars { height: 1fr; width: 1fr; min-height: 1; }"
    BINDINGS: ClassVar[list[BindingType]] = bindings("bars")
    scope = "bars"

    @dataclass
    class Selected(Message):
        """The reader picked `token`, row `index`."""

        bars: NextTokenBars
        index: int
        token: TokenBar

        @property
        def control(self) -> NextTokenBars:
            return self.bars

    def __init__(
        self, *, label_width: int = 12, empty: str = EMPTY, id: str | None = None, classes: str | None = None
    ) -> None:
        super().__init__(id=id, classes=classes)
        self.label_width, self.empty = label_width, empty
        self._tokens: tuple[TokenBar, ...] = ()
        self._row = 0

    def show(self, tokens: Sequence[TokenBar]) -> None:
        """Replace the distribution."""
        self._tokens = tuple(tokens)
        self._row = min(self._row, max(0, len(self._tokens) - 1))
        self.repaint()

    @property
    def selected(self) -> TokenBar | None:
        """The token under the row cursor."""
        return self._tokens[self._row] if self._tokens else None

    def action_move(self, by: int) -> None:
        last = min(len(self._tokens), self.size.height) - 1
        self._row = max(0, min(self._row + by, last))
        self.repaint()

    def action_select(self) -> None:
        if self._tokens:
            self.post_message(self.Selected(self, self._row, self._tokens[self._row]))

    def on_click(self, event: events.Click) -> None:
        offset = event.get_content_offset(self)
        if offset is not None and offset.y < len(self._tokens):
            self._row = offset.y
            self.repaint()
            self.action_select()

    def paint(self, width: int, height: int) -> list[list[Part]]:
        if not self._tokens:
            return [[(fit(self.empty, width), "dim")]]
        top = max(max(token.before, token.after) for token in self._tokens) or 1.0
        return [self._token_row(i, token, top, width) for i, token in enumerate(self._tokens[:height])]

    def _token_row(self, index: int, token: TokenBar, top: float, width: int) -> list[Part]:
        chosen = self.has_focus and index == self._row
        ground = " on select" if chosen else ""
        figures = 14 if width >= 34 else 7
        label_width = min(self.label_width, max(4, width - figures - 6))
        size = max(0, width - label_width - figures - 2)
        after = 0 if token.cut else round(size * token.after / top)
        if token.after > 0 and not token.cut:
            after = max(1, after)
        before = max(round(size * token.before / top), 1 if token.before > 0 else 0)
        line = "━" * after + "─" * (before - after)
        row: list[Part] = [("❯" if chosen else " ", "train bold" + ground)]
        row.append((fit(token_label(token.text), label_width), ("dim" if token.cut else "bright") + ground))
        row += [(" ", ground.strip()), (line[:after], "train" + ground), (line[after:], "dim" + ground)]
        row.append((" " * (size - len(line)), ground.strip()))
        said = "cut" if token.cut else f"{100 * token.after:.1f}%"
        row.append((f"{said:>7}", ("dim" if token.cut else "bright") + ground))
        if figures == 14:
            row.append((f"{100 * token.before:.1f}%".rjust(7), "dim" + ground))
        return row
