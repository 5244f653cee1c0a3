"""Where a copied passage stands in the corpus."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.errors import CorpusError
from engine.runs.samples import CopiedPart
from engine.text.corpus import Corpus
from tui.state import copied
from tui.state.copied import find_place
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


@pytest.mark.parametrize("block", [1 << 24, 64])
def test_the_place_is_found_with_what_stands_around_it(
    corpus: Corpus, monkeypatch: pytest.MonkeyPatch, block: int
) -> None:
    monkeypatch.setattr(copied, "BLOCK", block)
    passage = "Line 3000 says naïve"
    place = find_place(corpus, page(f"## {passage} ##", 3, len(passage)), ticket())
    assert place is not None and place.passage == passage
    assert TEXT.encode()[place.offset :].decode().startswith(passage)
    assert place.before + place.passage + place.after in TEXT and len(place.before) > 1_000
    assert place.fraction == pytest.approx(place.offset / len(TEXT.encode()))


def test_a_corpus_that_does_not_hold_it_says_so(corpus: Corpus) -> None:
    with pytest.raises(CorpusError, match="lines does not hold it"):
        find_place(corpus, page("nowhere", 0, 7), ticket())


def test_it_ends_when_it_is_wanted_no_more(corpus: Corpus) -> None:
    given_up = ticket()
    given_up.cancelled = True
    assert find_place(corpus, page("Line 3", 0, 6), given_up) is None
