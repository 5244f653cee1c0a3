"""The three parts of the screen of corpora: the list, the text, what is in it."""

from __future__ import annotations

from typing import ClassVar

from textual.app import ComposeResult

from tui.screens.corpora.leaf import FactsLeaf, TextLeaf
from tui.widgets.menu import Menu
from tui.widgets.pane import Pane
from tui.widgets.rows import Rows


class ListPane(Pane):
    title = "corpora"
    about: ClassVar[str] = (
        "All texts with a name: those that come with tinytui, your own, and known ones that "
        "can be fetched. A path works as a corpus everywhere, too, without being added."
    )

    def compose(self) -> ComposeResult:
        yield Rows(id="head")
        yield Menu(empty="reading the corpora …", id="list")

    def focus_target(self) -> None:
        self.query_one(Menu).focus()


class TextPane(Pane):
    title = "text"
    about: ClassVar[str] = (
        "The text as a model reads it. Only the pages in sight are read, whatever its size; "
        "g goes to a place in percent."
    )

    def __init__(self, leaf: TextLeaf) -> None:
        super().__init__(id="text-pane")
        self._leaf = leaf

    def compose(self) -> ComposeResult:
        yield self._leaf

    def focus_target(self) -> None:
        self._leaf.focus()


class FactsPane(Pane):
    title = "statistics"
    about: ClassVar[str] = (
        "What is in the text, counted once and kept. Bits per byte under gzip and zstd are a "
        "floor: a model that needs more has learned less than a compressor knows. Of validation "
        "text that training has, too, a validation loss says little."
    )

    def __init__(self, leaf: FactsLeaf) -> None:
        super().__init__(id="facts-pane")
        self._leaf = leaf

    def compose(self) -> ComposeResult:
        yield self._leaf

    def focus_target(self) -> None:
        self._leaf.focus()
