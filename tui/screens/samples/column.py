"""One of the two columns: a page of the run, with what differs from the other bright."""

from __future__ import annotations

from typing import ClassVar

from textual import events
from textual.app import ComposeResult
from textual.content import Content
from textual.message import Message

from tui.state.samples import Compared, Page, Side, copied_words, looks
from tui.text import fmt_loss
from tui.widgets.pane import Pane
from tui.widgets.passage import Passage


class Column(Pane, can_focus=True):
    """Page A or B."""

    about: ClassVar[str] = (
        "What the model wrote to one fixed prompt with one fixed seed, at two of its "
        "checkpoints: the difference between A and B is what it learned between them. "
        "Words that the other page does not have are bright, the same ones dim. "
        "Underlined: the longest passage that stands word for word in the training text. "
        "B goes along with the newest page until it is turned back."
    )

    class Wanted(Message):
        """An arrow in the title was clicked: turn `side` by `by` pages."""

        def __init__(self, side: Side, by: int) -> None:
            super().__init__()
            self.side, self.by = side, by

    def __init__(self, side: Side) -> None:
        super().__init__(id=f"side-{side}")
        self.side = side
        self.title = side.upper()  # type: ignore[misc]

    def compose(self) -> ComposeResult:
        yield Passage()

    @property
    def passage(self) -> Passage:
        return self.query_one(Passage)

    def show(self, page: Page | None, compared: Compared | None, empty: str) -> None:
        """The page, with its words compared where that is known by now."""
        if page is None:
            self.say_title(Content(self.title))
            self.say_below(Content(""))
            self.passage.show([], empty)
            return
        words = None
        if compared is not None:
            words = compared.a_words if self.side == "a" else compared.b_words
        self.passage.show(looks(page, words), "it wrote nothing here")
        step = f"step {page.step:,}"
        title = [(self.title, "bold"), ("  ◀ ", "$accent"), (step, "bold $bright"), (" ▶", "$accent")]
        if self.size.width < 40:
            title = [(f"{self.title} ", "bold"), (step, "bold $bright")]
        if page.val_loss is not None and self.size.width >= len(step) + 18:
            title += [("  val ", "$dim"), (fmt_loss(page.val_loss), "$val")]
        self.say_title(Content.assemble(*title))
        self._say_copied(page)

    def _say_copied(self, page: Page) -> None:
        said, too_much = copied_words(page)
        width = max(0, self.size.width - 6)
        said = f"! {said}" if too_much else said
        if len(said) > width:  # no number without its unit
            said = "! copied" if too_much else ""
        where = "   o where" if said and page.passage is not None and len(said) + 10 <= width else ""
        self.say_below(Content.assemble((said, "$alarm" if too_much else "$dim"), (where, "$accent")))

    def on_click(self, event: events.Click) -> None:
        if (said := self.title_at(event)) in ("◀", "▶"):
            self.post_message(self.Wanted(self.side, 1 if said == "▶" else -1))
