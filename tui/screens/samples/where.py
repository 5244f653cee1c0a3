"""Where in the corpus the copied passage of a sample stands, with the text around it."""

from __future__ import annotations

from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import BindingType

from tui.actions import bindings
from tui.screens.dialogs.dialogue import Box, Dialogue
from tui.state.copied import Found, find_copied
from tui.state.samples import Page
from tui.state.session import Session
from tui.text import clean
from tui.widgets.passage import Passage


class WhereScreen(Dialogue[None]):
    """Shows the place as soon as it is found; the corpus is read beside the screen."""

    BINDINGS: ClassVar[list[BindingType]] = bindings("where")
    scope = "where"

    def __init__(self, session: Session, page: Page) -> None:
        super().__init__()
        self._session, self._page = session, page

    def compose(self) -> ComposeResult:
        with Box("in the corpus", "PgDn more   esc close"):
            yield Passage()

    def on_mount(self) -> None:
        passage = self.query_one(Passage)
        corpus = self._session.corpus()
        if corpus is None:
            passage.show([], "the corpus of this run is not on this machine, or not found yet")
            return
        page = self._page
        passage.show([], f"looking for it in {clean(corpus.name, keep_newlines=False)} ...")
        self._session.works.ask("copied place", lambda ticket: find_copied(corpus, page, ticket), self._show, self._say)

    def on_unmount(self) -> None:
        self._session.works.drop("copied place")

    def _say(self, problem: str) -> None:
        self.query_one(Passage).show([], problem)

    def _show(self, found: Found | None) -> None:
        if found is None:  # given up
            return
        place = found.place
        self.box.say_title(f"in {found.corpus}, byte {place.start:,}, at {100 * found.fraction:.1f}%")
        passage = self.query_one(Passage)
        passage.show([(place.before, "dim"), (place.passage, "bright bold underline"), (place.after, "dim")])

    def on_passage_wheeled(self, event: Passage.Wheeled) -> None:
        self._scroll(event.by)

    def action_page(self, by: int) -> None:
        self._scroll(by * max(1, self.query_one(Passage).size.height - 2))

    def _scroll(self, lines: int) -> None:
        passage = self.query_one(Passage)
        passage.scroll_to_line(passage.top + lines)
