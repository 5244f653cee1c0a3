"""What remains in a terminal too small for panes: step and loss."""

from __future__ import annotations

from tui.state.summary import Latest, state_part
from tui.text import Part, Row, clean, fmt_duration, fmt_loss, lines_of
from tui.widgets.rows import Rows, cut


class Tiny(Rows):
    """As many lines as there are, the most telling first."""

    DEFAULT_CSS = "Tiny { height: 1fr; padding: 0 1; }"

    def __init__(self) -> None:
        super().__init__()
        self._lines: list[list[Part]] = []

    def show_words(self, words: Row, problem: str) -> None:
        """Before there is a run, or where none could be shown."""
        width = max(1, self.size.width)
        self.show(
            [cut(words, width), *([(line, "alarm")] for line in lines_of(clean(problem, keep_newlines=False), width))]
        )

    def show_run(self, name: str, now: Latest) -> None:
        mark, look = state_part(now.state, now.phase)
        steps = f"/{now.steps:,}" if now.steps else ""
        lines: list[list[Part]] = [
            [("step ", "dim"), (f"{now.step:,}{steps}", "bright")],
            [("loss ", "dim"), (fmt_loss(now.loss), "train")],
            [("val  ", "dim"), (fmt_loss(now.val_loss), "val")],
            [(mark.rstrip(), look), (f"  {fmt_duration(now.left_s)}" if now.left_s is not None else "", "dim")],
            [(clean(name, keep_newlines=False), "dim")],
        ]
        self.show([cut(line, max(1, self.size.width)) for line in lines])
