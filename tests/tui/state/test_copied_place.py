"""Where a copied passage stands in the corpus."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.errors import CorpusError
from engine.runs.lines import CopiedPart
from engine.text.corpus import Corpus
from tui.state.copied import find_copied
from tui.state.samples import Page
from tui.state.worker import Ticket

TEXT = "".join(f"Line {number} says naïve things.\n" for number in range(4_000))


def page(text: str, start: int, length: int) -> Page:
    return Page(1, "", text, None, CopiedPart(length, start, whole=True, too_much=False), 1)


def ticket() -> Ticket:
    return Ticket("key", lambda _: None, lambda _: None, lambda _: None)


@pytest.fixture
def corpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Corpus:
    monkeypatch.setenv("TINYTUI_CACHE", str(tmp_path / "cache"))
    path = tmp_path / "lines.txt"
    path.write_text(TEXT)
    return Corpus("lines", path=path)


def test_the_place_is_found_with_what_stands_around_it(corpus: Corpus) -> None:
    passage = "Line 3000 says naïve"
    found = find_copied(corpus, page(f"## {passage} ##", 3, len(passage)), ticket())
    assert found is not None and found.place.passage == passage and found.corpus == "lines"
    assert TEXT.encode()[found.place.start :].decode().startswith(passage)
    assert found.place.before + passage + found.place.after in TEXT
    assert found.fraction == pytest.approx(found.place.start / len(TEXT.encode()))


def test_a_corpus_that_does_not_hold_it_says_so(corpus: Corpus) -> None:
    with pytest.raises(CorpusError, match="lines does not hold it"):
        find_copied(corpus, page("nowhere", 0, 7), ticket())


def test_it_ends_when_it_is_wanted_no_more(corpus: Corpus) -> None:
    given_up = ticket()
    given_up.cancelled = True
    assert find_copied(corpus, page("Line 3", 0, 6), given_up) is None
