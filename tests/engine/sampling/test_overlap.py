from __future__ import annotations

import random
from itertools import accumulate
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.errors import CorpusError
from engine.sampling import overlap
from engine.sampling.overlap import longest_copied, longest_in_spans


def brute_force(text: str, corpus: str) -> int:
    return max((j - i for i in range(len(text)) for j in range(i + 1, len(text) + 1) if text[i:j] in corpus), default=0)


def in_a_text(text: str, corpus: str) -> overlap.Overlap:
    return overlap._longest(text, text.encode("utf-8", "surrogatepass"), np.frombuffer(corpus.encode(), np.uint8))


TEXTS = st.text("abcé漢🙂 ", max_size=40)


@given(TEXTS, TEXTS, TEXTS, TEXTS)
@settings(max_examples=300)
def test_finds_the_longest_passage(a: str, shared: str, b: str, c: str) -> None:
    text, corpus = a + shared + b, c + shared + a[::-1] + b
    length, start = in_a_text(text, corpus)
    assert length == brute_force(text, corpus)
    assert text[start : start + length] in corpus


@pytest.mark.parametrize("block", [1, 2, 7, 16, 100])
def test_passages_over_borders_of_blocks_are_found_whole(
    block: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(overlap, "BLOCK", block)
    chance, file = random.Random(block), tmp_path / "corpus"
    for _ in range(20):
        corpus = "".join(chance.choices("abc", k=80))
        text = "".join(chance.choices("abc", k=30))
        file.write_text(corpus)
        assert longest_copied(text, file).length == brute_force(text, corpus)


def test_a_whole_copy_in_a_file(tmp_path: Path) -> None:
    chance = random.Random(1)
    corpus = " ".join("".join(chance.choices("etaoinshr", k=chance.randint(2, 9))) for _ in range(60_000))
    file = tmp_path / "corpus.txt"
    file.write_text(corpus)
    passage = corpus[200_000:200_300]
    assert longest_copied(f"Qx {passage} Zz", file) == (300, 3)
    assert longest_copied(passage, file) == (300, 0)


def test_nothing_copied_is_zero(tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.touch()
    assert longest_copied("abc", empty) == longest_copied("", empty) == (0, 0)
    assert in_a_text("xyz", "abc") == in_a_text("", "abc") == in_a_text("abc", "") == (0, 0)
    assert in_a_text("漢", "氢") == (0, 0)  # bytes in common are not characters in common
    assert in_a_text("\ud800", "abc") == (0, 0)


def test_a_missing_corpus_is_one_clear_line(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match=r"cannot read .*gone"):
        longest_copied("abc", tmp_path / "gone")


@given(TEXTS, st.lists(TEXTS, min_size=1, max_size=4))
def test_in_spans_of_a_file_each_is_looked_at_alone(
    tmp_path_factory: pytest.TempPathFactory, text: str, parts: list[str]
) -> None:
    file = tmp_path_factory.mktemp("spans") / "corpus"
    data = [part.encode() for part in parts]
    file.write_bytes(b"".join(data))
    ends = list(accumulate(map(len, data)))
    spans = list(zip([0, *ends[:-1]], ends, strict=True))
    length, start = longest_in_spans(text, file, spans, lambda: False) or (None, None)
    assert length == max(brute_force(text, part) for part in parts)
    assert any(text[start : start + length] in part for part in parts)  # type: ignore[operator]
    asked = iter([False] * (len(spans) - 1) + [True])
    assert longest_in_spans(text, file, spans, lambda: next(asked)) is None


def test_a_file_that_became_shorter_is_told(tmp_path: Path) -> None:
    (tmp_path / "corpus").write_bytes(b"abcdef")
    assert longest_in_spans("cde", tmp_path / "corpus", [(0, 4), (4, 6)], lambda: False) == (2, 0)
    with pytest.raises(CorpusError, match="has become shorter"):
        longest_in_spans("cde", tmp_path / "corpus", [(0, 4), (4, 7)], lambda: False)


@given(st.integers(1, 5000), st.integers(1, 300))
def test_what_is_read_is_bounded_and_misses_nothing_of_a_small_text(n_bytes: int, length: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(overlap, "BLOCK", 100)
        spans = list(overlap.spans(n_bytes, length, 1000))
    assert len(spans) <= 10 and spans[0][0] == 0 and spans[-1][1] == n_bytes
    assert all(0 <= start < end <= n_bytes and end - start < 100 + length for start, end in spans)
    if n_bytes <= 1000:
        starts = range(max(1, n_bytes - length + 1))
        assert all(any(a <= at and min(n_bytes, at + length) <= b for a, b in spans) for at in starts)
