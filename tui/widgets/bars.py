"""The next token's distribution, before and after the sampling rules, one token a row.

    bars = NextTokenBars()
    bars.show([TokenBar(" the", before=0.31, after=0.44, id=262), ...])     # in the order to be shown
    bars.show(tokens, Others(1204, before=0.121, after=0.0))                # and what all others come to
    on NextTokenBars.Selected(bars, index, token): the reader chose this alternative (enter or click)

A row is `❯ ␣the   ━━━━━━━───  44.0%  31.0%  taken`: bar and figure after the rules bright, before them dim; where a
rule cut a token, its name stands in place of the figure.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from textual import events
from textual.binding import BindingType
from textual.message import Message

from tui.actions import bindings
from tui.state.nexttoken import TokenBar
from tui.text import Part, fit, nothing
from tui.widgets.listed import Listed

EMPTY = "what could stand at a token's place is shown here"
HEAD = 8
"""Rows from which the columns have a head."""
SAID = 8
"""Cells of the figure after the rules, or the name of the rule that cut."""
RAW = 7
TAKEN = 7
LEAST = 0.0005
"""A probability that is said as more than 0.0%, and has a mark."""
_SHORT = {"repetition penalty": "penalty", "temperature": "greedy"}


@dataclass(frozen=True)
class Others:
    """The tokens that have no row: how many, and what they come to before and after the rules."""

    count: int
    before: float
    after: float


def token_label(text: str) -> str:
    """A token as one visible word: spaces as `␣`, an empty one as `∅`."""
    return text.replace(" ", "␣") or "∅"


class NextTokenBars(Listed):
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

    @dataclass
    class Turned(Message):
        """The place `by` tokens further is wanted."""

        by: int

    def __init__(
        self, *, label_width: int = 12, empty: str = EMPTY, id: str | None = None, classes: str | None = None
    ) -> None:
        super().__init__(id=id, classes=classes)
        self.label_width, self.empty = label_width, empty
        self._tokens: tuple[TokenBar, ...] = ()
        self._others: Others | None = None
        self._row = 0
        self._top = 0
        self._head = 0

    def show(self, tokens: Sequence[TokenBar], others: Others | None = None) -> None:
        """Replace the distribution; the cursor stays on its row."""
        self._tokens, self._others = tuple(tokens), others
        self._row = min(self._row, max(0, len(self._tokens) - 1))
        self.repaint()

    def clear(self, empty: str = "") -> None:
        """Show no distribution, and `empty` instead."""
        self.empty, self._row = empty or self.empty, 0
        self.show(())

    def stand_on_taken(self) -> None:
        """The cursor to the token that was taken."""
        self._row = next((row for row, token in enumerate(self._tokens) if token.taken), 0)
        self.repaint()

    @property
    def selected(self) -> TokenBar | None:
        """The token under the row cursor."""
        return self._tokens[self._row] if self._tokens else None

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        return bool(self._tokens) if action in ("move", "select", "token") else True

    def action_move(self, by: int) -> None:
        self._row = max(0, min(self._row + by, len(self._tokens) - 1))
        self.repaint()

    def action_token(self, by: int) -> None:
        self.post_message(self.Turned(by))

    def action_select(self) -> None:
        if self._tokens:
            self.post_message(self.Selected(self, self._row, self._tokens[self._row]))

    def on_click(self, event: events.Click) -> None:
        offset = event.get_content_offset(self)
        row = offset.y - self._head + self._top if offset is not None else -1
        if offset is not None and offset.y >= self._head and 0 <= row < len(self._tokens):
            self._row = row
            self.repaint()
            self.action_select()

    def paint(self, width: int, height: int) -> list[list[Part]]:
        if not self._tokens:
            return nothing(self.empty, width)[:height]
        rows: list[list[Part]] = []
        self._head = int(height >= HEAD)
        if self._head:
            rows.append(self._head_row(width))
        last = int(self._others is not None and self._others.count > 0 and height >= 4)
        room = max(1, height - len(rows) - last)
        self._top = min(self._top, self._row, len(self._tokens) - room) if self.has_focus else 0
        self._top = max(self._top, self._row - room + 1 if self.has_focus else 0, 0)
        top = max(max(token.before, token.after) for token in self._tokens) or 1.0
        seen = self._tokens[self._top : self._top + room]
        places = list(range(self._top, self._top + len(seen)))
        taken = next((i for i, token in enumerate(self._tokens) if token.taken), 0)
        if not self.has_focus and taken >= room:  # what stands there is always to be seen
            places[-1] = taken
        rows += [self._token_row(i, self._tokens[i], top, width) for i in places]
        if last and self._others is not None:
            hidden = [token for i, token in enumerate(self._tokens) if i not in places]
            rows.append(self._others_row(self._others, hidden, width))
        return rows

    def _columns(self, width: int) -> tuple[int, int, int, int]:
        """Cells of the label, the bar, the raw figure and the word `taken`, of which the last two may be gone."""
        taken = TAKEN if width >= 52 else 0
        raw = RAW if width >= 34 else 0
        label = min(self.label_width, max(4, width - SAID - raw - taken - 6))
        return label, max(0, width - label - SAID - raw - taken - 3), raw, taken

    def _head_row(self, width: int) -> list[Part]:
        label, size, raw, taken = self._columns(width)
        said = fit("after rules", size + SAID, "right") + (fit("raw", raw, "right") if raw else "")
        return [(" " * (label + 3), ""), (said + " " * taken, "dim")]

    def _token_row(self, index: int, token: TokenBar, top: float, width: int) -> list[Part]:
        chosen = self.has_focus and index == self._row
        ground = " on select" if chosen else ""
        label, size, raw, taken = self._columns(width)
        after = 0 if token.cut else round(size * token.after / top)
        before = round(size * token.before / top)
        line = "━" * after + "─" * (before - after)
        if not after and not token.cut and token.after >= LEAST and size:
            after, line = 1, "╸" + line[1:]
        look = "dim" if token.cut else "bright"
        row: list[Part] = [("❯ " if chosen else "  ", "accent bold" + ground)]
        row.append((fit(token_label(token.text), label), look + (" bold" if token.taken else "") + ground))
        row += [(" ", ground.strip()), (line[:after], "train" + ground), (line[after:], "dim" + ground)]
        row.append((" " * (size - len(line)), ground.strip()))
        said = _SHORT.get(token.cut, token.cut) if token.cut else f"{100 * token.after:.1f}%"
        row.append((said.rjust(SAID), look + ground))
        if raw:
            row.append((f"{100 * token.before:.1f}%".rjust(raw), "dim" + ground))
        if taken:
            row.append(("  taken" if token.taken else " " * taken, "good" + ground))
        elif token.taken:  # no room for the word: a mark at the label
            row[0] = ("❯•" if chosen else " •", "good bold" + ground)
        return row

    def _others_row(self, others: Others, hidden: Sequence[TokenBar], width: int) -> list[Part]:
        _, _, raw, taken = self._columns(width)
        count = others.count + len(hidden)
        after = others.after + sum(token.after for token in hidden)
        before = others.before + sum(token.before for token in hidden)
        said = f"{100 * after:.1f}%" if after > 0 else "cut"
        words = fit(f"  {count:,} others", max(0, width - SAID - raw - taken))
        return [(words + said.rjust(SAID) + (f"{100 * before:.1f}%".rjust(raw) if raw else ""), "dim")]
