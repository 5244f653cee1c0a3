"""The place in the corpus of a passage that a sample copied."""

from __future__ import annotations

import mmap
from dataclasses import dataclass
from typing import TYPE_CHECKING

from engine.errors import CorpusError
from tui.state.samples import Page
from tui.state.worker import Ticket

if TYPE_CHECKING:
    from engine.text.corpus import Corpus

AROUND = 1_200
"""Bytes of the corpus shown before the passage and after it."""
BLOCK = 16 << 20
"""Bytes looked through between two questions whether it is still wanted."""


@dataclass(frozen=True)
class Place:
    """The passage stands at byte `offset`, a `fraction` of the corpus from its start, between two texts."""

    corpus: str
    offset: int
    fraction: float
    before: str
    passage: str
    after: str


def find_place(corpus: Corpus, page: Page, ticket: Ticket) -> Place | None:
    """Where the copied passage of `page` stands first; None when it is wanted no more. Raises CorpusError."""
    start, end = page.passage or (0, 0)
    passage = page.text[start:end]
    sought = passage.encode("utf-8", "surrogatepass")
    text = corpus.prepare()
    if not sought or not text.n_bytes:
        raise CorpusError("there is no copied passage to look for")
    with text.path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        for begin in range(0, len(data), BLOCK):
            if ticket.cancelled:
                return None
            at = data.find(sought, begin, begin + BLOCK + len(sought))
            if at >= 0:
                before = data[max(0, at - AROUND) : at].decode("utf-8", "ignore")
                after = data[at + len(sought) : at + len(sought) + AROUND].decode("utf-8", "ignore")
                return Place(corpus.name, at, at / len(data), before, passage, after)
    raise CorpusError(f"{corpus.name} does not hold it any more; it is not what the run was trained on")
