"""The corpora there are, as a person looks at them: where in each text one reads, what was counted, what is fetched.

Nothing here waits: files are read by `session.reads`, texts prepared and counted by `session.works`, and what comes
from elsewhere is brought by `session.fetches`, which a slow server may keep for minutes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from engine.errors import CorpusError
from tui.state.corpuswork import CorporaReader, Entry, Found, StoppedError, begins, look_into, stops
from tui.state.news import Notice
from tui.state.tokencounts import TokenCounts, count_tokens, kind_name
from tui.state.worker import Ticket

if TYPE_CHECKING:
    from engine.text.corpus import Corpus
    from engine.text.pages import Page
    from engine.text.statistics import Statistics
    from tui.state.session import Session

LOOK_EVERY = 3.0
"""Seconds between two looks at which corpora there are."""
COUNTED_UNASKED = 16 << 20
"""Bytes of the largest text that is counted without being asked to; 8 MB took 8 s on a core of an EPYC."""
MOST_PAGES = 24
"""Pages of a text that are held."""
MOST_READINGS = 32
"""Texts whose place is remembered; the one left longest ago is forgotten first."""


@dataclass
class Reading:
    """A text as it was looked at last: page `number`, and the line at the top of the screen in it."""

    found: Found = field(default_factory=Found)
    problem: str = ""
    number: int = 0
    top: int = 0
    pages: dict[int, Page] = field(default_factory=dict)
    beginning: str = ""
    """How it begins, where it has to be prepared before it can be paged through."""
    scrolled: int = 0
    """The line at the top of what was counted."""
    _asked: tuple[int, ...] = ()

    @property
    def count(self) -> int:
        """How many pages there are; 0 before that is known."""
        from engine.text.pages import Pages

        return len(Pages(self.found.text)) if self.found.text is not None else 0


@dataclass(frozen=True)
class Job:
    """Something brought in: `doing` ("fetching gutenberg:84"), how far it is."""

    doing: str
    stage: str = ""
    fraction: float = 0.0


@dataclass(frozen=True)
class Addition:
    """A file or folder to be kept as a corpus; of a table the columns to train on."""

    path: str
    name: str | None = None
    prompt_column: str | None = None
    response_column: str | None = None


class Shelf:
    """The corpora as the screen shows them. The cursor stands on a corpus, wherever its line goes."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self.entries: list[Entry] | None = None
        """All corpora as they were read last; None before."""
        self.problem = ""
        self.cursor = ""
        self.job: Job | None = None
        self._readings: dict[tuple[object, ...], Reading] = {}
        self._open: tuple[object, ...] | None = None
        self._known: dict[tuple[object, ...], Statistics] = {}
        self._tokens: dict[tuple[object, ...], TokenCounts | str] = {}

    # -- which there are -----------------------------------------------------------------------------------------------

    def look(self) -> None:
        """Read the list now, and again every few seconds."""
        reader = CorporaReader(self._session.corpora_dir)
        self._session.reads.ask("corpora", reader.look, self._take, self._cannot, every=LOOK_EVERY)

    def _take(self, entries: list[Entry]) -> None:
        before = [each.name for each in self.entries or ()]
        at = before.index(self.cursor) if self.cursor in before else 0
        self.entries, self.problem = entries, ""
        names = [each.name for each in entries]
        if self.cursor not in names:
            self.cursor = names[min(at, len(names) - 1)] if names else ""
        self._ask_known()

    def _cannot(self, problem: str) -> None:
        self.entries, self.problem = self.entries or [], problem

    @property
    def index(self) -> int:
        return next((i for i, each in enumerate(self.entries or ()) if each.name == self.cursor), 0)

    @property
    def chosen(self) -> Entry | None:
        """The corpus under the cursor."""
        return self.entries[self.index] if self.entries else None

    def go(self, index: int) -> None:
        """Put the cursor on a line."""
        if self.entries:
            self.cursor = self.entries[max(0, min(index, len(self.entries) - 1))].name

    def statistics_of(self, entry: Entry) -> Statistics | None:
        """What was counted of a corpus, as far as it is known by now."""
        return self._known.get(entry.key)

    def _ask_known(self) -> None:
        """Look up what was counted before of texts that need no work to be known."""
        wanted = [
            each
            for each in self.entries or ()
            if each.key not in self._known and each.corpus.available and 0 < (each.size or 0) <= COUNTED_UNASKED
        ]

        def look(ticket: Ticket) -> dict[tuple[object, ...], Statistics]:
            from engine.text.statistics import known_statistics

            found = {}
            for each in wanted:
                if ticket.cancelled:
                    break
                try:
                    if (known := known_statistics(each.corpus.prepare(progress=stops(ticket)))) is not None:
                        found[each.key] = known
                except (CorpusError, StoppedError):
                    continue
            return found

        if wanted:
            self._session.works.ask("corpora known", look, self._known.update)

    # -- the text under the cursor -------------------------------------------------------------------------------------

    @property
    def reading(self) -> Reading | None:
        """The text under the cursor, as far as it was opened."""
        return self._readings.get(self.chosen.key) if self.chosen is not None else None

    def open(self) -> None:
        """Prepare the text under the cursor, and count what is in it where that takes seconds."""
        entry = self.chosen
        if entry is None or self._open == entry.key:
            return
        self.leave()
        self._open = entry.key
        if not entry.corpus.available:
            return
        reading = self._readings.pop(entry.key, None) or Reading()
        self._readings[entry.key] = reading
        for old in list(self._readings)[:-MOST_READINGS]:
            del self._readings[old]
        if reading.found.statistics is None:
            own = self._session.training
            beside = own is not None and own.alive
            self._work(entry, reading, (entry.size or 0) <= COUNTED_UNASKED and not beside)
        if reading.found.text is None and entry.corpus.builder is None:
            self._session.reads.ask("corpus begins", begins(entry.corpus), lambda text: begun(reading, text), ignore)

    def count(self) -> None:
        """Count the text under the cursor, however long that takes."""
        entry, reading = self.chosen, self.reading
        if entry is not None and reading is not None:
            self._work(entry, reading, True)

    def tokens_of(self, entry: Entry) -> TokenCounts | str | None:
        """The most frequent tokens that were asked for last, or how that goes in words; None where none were."""
        return self._tokens.get(entry.key)

    def count_tokens(self, kind: str, vocab: int) -> None:
        """Count the tokens that such a tokenizer makes of the text under the cursor."""
        entry, reading = self.chosen, self.reading
        if entry is None or reading is None or reading.found.text is None:
            return
        text, key = reading.found.text, entry.key
        self._tokens[key], reading.scrolled = f"counting the tokens of {kind_name(kind, vocab)} …", 0

        def take(found: TokenCounts | None) -> None:
            if found is not None:
                self._tokens[key] = found

        def fail(problem: str) -> None:
            self._tokens[key] = f"✖ {problem}"

        self._session.works.ask("corpus tokens", lambda ticket: count_tokens(text, kind, vocab, ticket), take, fail)

    def leave(self) -> None:
        """Nobody looks at it: what is under way for it ends."""
        self._open = None
        self._session.works.drop("corpus")
        self._session.reads.drop("corpus begins")
        self._session.reads.drop("corpus pages")
        for reading in self._readings.values():
            reading._asked = ()
            reading.found = Found(reading.found.text, reading.found.statistics)

    def _work(self, entry: Entry, reading: Reading, count: bool) -> None:
        reading.problem = ""
        reading.found = Found(reading.found.text, None, "preparing")

        def take(found: Found | None) -> None:
            if found is None:  # given up
                return
            if found.text is not None and reading.found.text is None:
                reading.pages.clear()
            reading.found = found
            if found.statistics is not None:
                self._known[entry.key] = found.statistics

        def fail(problem: str) -> None:
            reading.problem, reading.found = problem, Found(reading.found.text)

        self._session.works.ask("corpus", lambda ticket: look_into(entry.corpus, count, ticket), take, fail)

    def page(self, number: int) -> Page | None:
        """A page of the text under the cursor; None while it is being read, or where there is none."""
        reading = self.reading
        if reading is None or reading.found.text is None:
            return None
        text, last = reading.found.text, reading.count - 1
        wanted = tuple(n for n in range(number - 1, number + 3) if 0 <= n <= last and n not in reading.pages)
        if number not in reading.pages and 0 <= number <= last and wanted != reading._asked:
            reading._asked = wanted

            def read(ticket: Ticket) -> list[Page]:
                from engine.text.pages import Pages

                pages = Pages(text)
                return [pages.page(each) for each in wanted]

            def take(found: list[Page]) -> None:
                reading._asked = ()
                reading.pages.update({page.number: page for page in found})
                near = sorted(reading.pages, key=lambda each: abs(each - number))
                for far in near[MOST_PAGES:]:
                    del reading.pages[far]

            def fail(problem: str) -> None:
                reading.problem = problem

            self._session.reads.ask("corpus pages", read, take, fail)
        return reading.pages.get(number)

    # -- bringing corpora in, and taking them away ---------------------------------------------------------------------

    def fetch(self, what: str) -> None:
        """Download a known corpus, a book of Project Gutenberg, or the text at an address."""

        def work(ticket: Ticket, told: Callable[[str, float], None]) -> Corpus:
            from engine.text.catalog import fetch_corpus

            return fetch_corpus(what, self._session.corpora_dir, progress=told)

        self._bring(f"fetching {what}", work, "fetched")

    def add(self, what: Addition) -> None:
        """Keep a file or folder as a corpus."""

        def work(ticket: Ticket, told: Callable[[str, float], None]) -> Corpus:
            from engine.text.catalog import add_corpus

            return add_corpus(
                Path(what.path),
                what.name,
                self._session.corpora_dir,
                prompt_column=what.prompt_column,
                response_column=what.response_column,
                progress=told,
            )

        self._bring(f"adding {what.path}", work, "added")

    def _bring(self, doing: str, work: Callable[[Ticket, Callable[[str, float], None]], Corpus], done: str) -> None:
        self.job = Job(doing)

        def take(found: Corpus | Job) -> None:
            if isinstance(found, Job):
                self.job = found
                return
            self.job, self.cursor = None, found.name
            left_out = f"; {found.about}" if found.about.startswith("left out") else ""
            self._session.notices.append(Notice(f"{found.name} {done}{left_out}"))
            self.look()

        def fail(problem: str) -> None:
            self.job = None
            self._session.complain(problem)

        def do(ticket: Ticket) -> Corpus:
            return work(ticket, stops(ticket, lambda stage, far: ticket.publish(Job(doing, stage, far))))

        self._session.fetches.ask("bring", do, take, fail)

    def cancel(self) -> None:
        """Bring nothing any more; no half of a corpus is left behind."""
        if self.job is not None:
            self._session.fetches.drop("bring")
            self._session.notices.append(Notice(f"{self.job.doing}: given up; a next try goes on there where it can"))
            self.job = None

    def ask_needs(self, entry: Entry, then: Callable[[Sequence[str]], None]) -> None:
        """Tell `then` the names of the runs that cannot go on without a corpus, or complain that it must stay."""

        def look(ticket: Ticket) -> list[str]:
            from engine.runs.status import runs_that_need
            from engine.text.catalog import check_removable

            check_removable(entry.name, self._session.corpora_dir)
            return [each.name for each in runs_that_need({entry.name}, runs_dir=self._session.runs_dir)]

        self._session.reads.ask("needs", look, then)

    def remove(self, entry: Entry) -> None:
        """Remove one of the person's own."""

        def work(ticket: Ticket) -> str:
            from engine.text.catalog import remove_corpus

            remove_corpus(entry.name, self._session.corpora_dir)
            return entry.name

        def take(name: str) -> None:
            self._session.notices.append(Notice(f"{name} removed"))
            self.look()

        self._session.reads.ask("remove corpus", work, take)


def begun(reading: Reading, text: str) -> None:
    reading.beginning = text


def ignore(problem: str) -> None:
    """The work on the text says what is wrong with it."""
