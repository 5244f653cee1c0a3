"""The parts of the screen: the text, what is said of it, the maps, the lens."""

from __future__ import annotations

from typing import ClassVar

from textual.app import ComposeResult

from tui.screens.inspect.attention import HeadMap, Wall
from tui.screens.inspect.lens import LensTable
from tui.screens.inspect.said import Said
from tui.screens.inspect.tokenmap import TokenMap
from tui.widgets.pane import Pane


class TextPane(Pane):
    title = "text"
    about: ClassVar[str] = (
        "The text that is looked at, token by token; the arrows go from one to the next. "
        "g shows another passage of the text that was held out of training, + and - make it "
        "longer or shorter, w lists the worst ones, i takes a text that you type. "
        "The last line says of the cursor's line what the tints say: a bar under each token."
    )

    def compose(self) -> ComposeResult:
        yield TokenMap(id="map")

    @property
    def map(self) -> TokenMap:
        return self.query_one(TokenMap)

    def focus_target(self) -> None:
        self.map.focus()


class FactsPane(Pane):
    title = "token"
    about: ClassVar[str] = (
        "The token under the cursor. Its rank is 1 where the model found it the likeliest. "
        "Loss is in nats; the mean of the text is told with its bits a byte, which compare "
        "models with different tokenizers."
    )

    def compose(self) -> ComposeResult:
        yield Said(id="facts-said")

    def focus_target(self) -> None:
        self.query_one(Said).focus()


class CountsPane(FactsPane):
    title = "most frequent"
    about: ClassVar[str] = "The tokens of this text by how often they come."

    def compose(self) -> ComposeResult:
        yield Said(id="counts-said")


class WallPane(Pane):
    title = "heads"
    about: ClassVar[str] = (
        "A small map for each head, layers from top to bottom: a row what a token takes, a "
        "column what it takes it from, neighbours put together. The arrows choose one."
    )

    def compose(self) -> ComposeResult:
        yield Wall(id="wall")

    def focus_target(self) -> None:
        self.query_one(Wall).focus()


class HeadPane(Pane):
    title = "head"
    about: ClassVar[str] = (
        "The chosen head: a row is a token that looks, a column one that is looked at, and "
        "a row's parts sum to 1. Nothing looks ahead: the upper right stays empty."
    )

    def compose(self) -> ComposeResult:
        yield HeadMap(id="head")

    def focus_target(self) -> None:
        self.query_one(HeadMap).focus()


class LensPane(Pane):
    title = "lens"
    about: ClassVar[str] = (
        "The logit lens: after each layer the model's own final norm and head are applied. "
        "Above a token, what each layer would say comes next; the bar is how sure it is. "
        "= marks what does come next. Where it stands first, the model knew by then."
    )

    def compose(self) -> ComposeResult:
        yield LensTable(id="lens")

    def focus_target(self) -> None:
        self.query_one(LensTable).focus()
