"""What is read and reckoned of corpora beside the screen: which there are, a text prepared and counted."""

from __future__ import annotations

import stat
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tui.state.worker import Ticket

if TYPE_CHECKING:
    from engine.text.corpus import Corpus, Text
    from engine.text.statistics import Statistics

TOLD_EVERY = 0.2
"""Seconds between two words of how far something is."""


class StoppedError(Exception):
    """What nobody wants any more ends here."""


@dataclass(frozen=True)
class Entry:
    """A corpus in the list. `size` is of its file, None where there is none; `stamp` changes with it."""

    corpus: Corpus
    size: int | None
    stamp: tuple[int, ...]

    @property
    def name(self) -> str:
        return self.corpus.name

    @property
    def key(self) -> tuple[object, ...]:
        return self.corpus.name, str(self.corpus.path), self.stamp

    @property
    def where(self) -> str:
        return where(self.corpus)


def where(corpus: Corpus) -> str:
    """In a word: can it be trained on now, and whose is it."""
    if corpus.problem:
        return "damaged"
    if not corpus.available:
        return "to fetch"
    return "shipped" if corpus.shipped else "yours"


@dataclass(frozen=True)
class Found:
    """What the work on a text has so far, and what it does now."""

    text: Text | None = None
    statistics: Statistics | None = None
    stage: str = ""
    fraction: float = 0.0


class CorporaReader:
    """Looks which corpora there are. For a worker's thread."""

    def __init__(self, corpora_dir: Path | None) -> None:
        self.corpora_dir = corpora_dir
        self._before: list[Entry] | None = None

    def look(self, ticket: Ticket) -> list[Entry] | None:
        """All of them; None when they are as they were. Raises CorpusError."""
        from engine.text.catalog import list_corpora

        found = [entry_of(corpus) for corpus in list_corpora(self.corpora_dir)]
        if found == self._before:
            return None
        self._before = found
        return found


def entry_of(corpus: Corpus) -> Entry:
    """A corpus with the size of its file. Reads the file's facts."""
    try:
        facts = corpus.path.stat() if corpus.builder is None else None
    except OSError:
        facts = None
    if facts is None or not stat.S_ISREG(facts.st_mode):  # of a damaged card the folder is known alone
        return Entry(corpus, None, ())
    return Entry(corpus, facts.st_size, (facts.st_ino, facts.st_size, facts.st_mtime_ns))


def look_into(corpus: Corpus, count: bool, ticket: Ticket) -> Found | None:
    """The text of a corpus, prepared, and what is in it: as it was counted before, or with `count` now. None when it is
    wanted no more. Raises CorpusError."""
    from engine.text.statistics import cached_statistics, known_statistics

    text: Text | None = None

    def publish(stage: str, fraction: float) -> None:
        ticket.publish(Found(text, None, stage, fraction))

    told = stops(ticket, publish)
    try:
        text = corpus.prepare(progress=told)
        known = known_statistics(text)
        if known is None and count:
            ticket.publish(Found(text, None, "counting"))
            known = cached_statistics(text, progress=told, cancelled=lambda: ticket.cancelled)
    except StoppedError:
        return None
    return Found(text, known)


def stops(ticket: Ticket, told: Callable[[str, float], None] | None = None) -> Callable[[str, float], None]:
    """A progress that ends what nobody wants any more, and tells of it a few times a second."""
    last = 0.0

    def progress(stage: str, fraction: float) -> None:
        nonlocal last
        if ticket.cancelled:
            raise StoppedError
        if told is not None and time.monotonic() - last > TOLD_EVERY:
            last = time.monotonic()
            told(stage, fraction)

    return progress


def begins(corpus: Corpus) -> Callable[[Ticket], str]:
    """How a corpus begins, before all of it is prepared."""

    def read(ticket: Ticket) -> str:
        from engine.text.pages import beginning

        return beginning(corpus, 1 << 13)

    return read
