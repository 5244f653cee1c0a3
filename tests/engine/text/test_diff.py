"""Two texts word by word, and where a passage stands: exact, and bounded however long they are."""

from __future__ import annotations

import io
import random
import time
from difflib import SequenceMatcher
from itertools import zip_longest
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.errors import CorpusError
from engine.text import diff, pages
from engine.text.corpus import Text
from engine.text.diff import compare_words
from engine.text.pages import find_passage

texts = st.text(st.sampled_from(list("aab. \n\u00e9")), max_size=60)


def check_spans(first: str, second: str) -> int:
    """How many words are called the same, after all that must hold of any two texts."""
    spans = compare_words(first, second)
    assert "".join(first[span.start : span.end] for span in spans) == first
    assert "".join(second[span.other_start : span.other_end] for span in spans) == second
    places = [(0, 0), *((span.end, span.other_end) for span in spans)]
    assert [(span.start, span.other_start) for span in spans] == places[:-1]
    same = 0
    for span, after in zip_longest(spans, spans[1:]):
        a, b = (
            diff._WORD.findall(first[span.start : span.end]),
            diff._WORD.findall(second[span.other_start : span.other_end]),
        )
        assert a or b
        if span.same:
            assert [word.rstrip() for word in a] == [word.rstrip() for word in b]
            same += len(a)
        assert after is None or span.same != after.same
    return same


def common(first: list[str], second: list[str]) -> int:
    """The length of the longest common subsequence, by the table of every textbook."""
    row = [0] * (len(second) + 1)
    for a in first:
        left, row = row, [0]
        for j, b in enumerate(second):
            row.append(left[j] + 1 if a == b else max(left[j + 1], row[j]))
    return row[-1]


@given(texts, texts)
def test_the_spans_are_the_texts_and_as_much_as_can_be_is_the_same(first: str, second: str) -> None:
    most = common(
        [word.rstrip() for word in diff._WORD.findall(first)], [word.rstrip() for word in diff._WORD.findall(second)]
    )
    assert check_spans(first, second) == most
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(diff, "WINDOW", 4)
        assert check_spans(first, second) <= most


@given(st.text(max_size=40), st.text(max_size=40))
def test_any_text_can_be_compared(first: str, second: str) -> None:
    check_spans(first, second)
    assert all(span.same for span in compare_words(first, first))


def test_what_is_said_of_two_samples() -> None:
    first, second = "Denies fever, and  cough.\n", "Denies a fever, cough!"
    said = [(first[s.start : s.end], second[s.other_start : s.other_end], s.same) for s in compare_words(first, second)]
    assert said == [
        ("Denies ", "Denies ", True),
        ("", "a ", False),
        ("fever, ", "fever, ", True),
        ("and  ", "", False),
        ("cough", "cough", True),
        (".\n", "!", False),
    ]
    assert compare_words("", "") == []


@pytest.mark.parametrize("kind", ["edited", "nothing in common", "one word"])
def test_thousands_of_words_take_no_time(kind: str) -> None:
    rng = random.Random(1)
    words = [f"{rng.choice('abcdefgh')}{n % 300}" for n in range(20_000)]
    first = " ".join("x" if kind == "one word" else word for word in words)
    second = " ".join(
        {"edited": word if rng.random() > 0.1 else "new", "nothing in common": f"_{word}", "one word": "x"}[kind]
        for word in words[: 19_000 if kind == "one word" else None]
    )
    began = time.process_time()
    same = check_spans(first, second)
    assert time.process_time() - began < 5.0  # some 0.2 s; the square of it would be minutes
    assert same >= {"edited": 17_000, "nothing in common": 0, "one word": 19_000}[kind]


def test_what_is_inserted_before_all_others_moves_no_window() -> None:
    words = [f"w{n}" for n in range(6000)]
    first, second = " ".join(words), " ".join([*(f"new{n}" for n in range(3000)), *words])
    assert check_spans(first, second) == 6000
    matcher = SequenceMatcher(None, words[:300], words[100:400], autojunk=False)
    assert check_spans(" ".join(words[:300]), " ".join(words[100:400])) == sum(
        b.size for b in matcher.get_matching_blocks()
    )


@given(st.text(st.sampled_from("ab\u00e9\U0001f600\n"), min_size=1, max_size=40), st.data())
def test_a_passage_is_found_where_it_first_stands(tmp_path: Path, content: str, data: st.DataObject) -> None:
    path = tmp_path / "text.txt"
    path.write_bytes(content.encode())
    text = Text(path, len(content.encode()), "")
    start = data.draw(st.integers(0, len(content) - 1))
    passage = content[start : start + data.draw(st.integers(1, 9))]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pages, "LOOKED_THROUGH", 3)
        patch.setattr(pages, "AROUND", 6)
        found = find_passage(text, passage)
        assert found is not None and found.start == content.encode().index(passage.encode())
        before, after = content.encode()[: found.start].decode(), content.encode()[found.end :].decode()
        assert before.endswith(found.before) and after.startswith(found.after) and found.passage == passage
        assert len(found.before) >= min(1, len(before)) and len(found.after) >= min(1, len(after))
        assert find_passage(text, "c") is None and find_passage(text, "") is None
        assert find_passage(text, passage, cancelled=lambda: True) is None


def test_a_passage_is_looked_for_in_blocks_that_overlap_by_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[int] = []

    class Noted(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            read.append(size or 0)
            return super().read(size)

    content = b"a" * 25 + b"here" + b"b" * 25
    monkeypatch.setattr(pages, "LOOKED_THROUGH", 10)
    monkeypatch.setattr(Path, "open", lambda self, mode: Noted(content))
    found = find_passage(Text(tmp_path / "text", len(content), ""), "here")
    assert found is not None and (found.start, found.end) == (25, 29) and read == [13, 13, 13, 25, pages.AROUND]
    read.clear()
    assert find_passage(Text(tmp_path / "text", len(content), ""), "gone") is None and read == [13] * 6


def test_a_passage_in_a_text_that_is_gone(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match="cannot read"):
        find_passage(Text(tmp_path / "none", 5, ""), "x")
