"""The place in the corpus of a passage that a sample copied."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from engine.errors import CorpusError
from tui.state.samples import Page
from tui.state.worker import Ticket

if TYPE_CHECKING:
    from engine.text.corpus import Corpus
    from engine.text.pages import Place


@dataclass(frozen=True)
class Found:
    """The passage stands at `place` in `corpus`, a `fraction` of it from its start."""

    corpus: str
    place: Place
    fraction: float


def find_copied(corpus: Corpus, page: Page, ticket: Ticket) -> Found | None:
    """Where the copied passage of `page` stands first; None when it is wanted no more. Raises CorpusError."""
    from engine.text.pages import find_passage

    start, end = page.passage or (0, 0)
    text = corpus.prepare()
    place = find_passage(text, page.text[start:end], cancelled=lambda: ticket.cancelled)
    if place is None and not ticket.cancelled:
        raise CorpusError(f"{corpus.name} does not hold it any more; it is not what the run was trained on")
    return None if place is None else Found(corpus.name, place, place.start / text.n_bytes)
