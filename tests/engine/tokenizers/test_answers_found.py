"""`data.loss = answers`: which tokens count, found again in the tokens by the corpus' template."""

from __future__ import annotations

import hashlib
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.config import DataConfig
from engine.errors import CorpusError
from engine.text.catalog import add_corpus, find_corpus
from engine.text.corpus import Text
from engine.text.template import CHAT_TEMPLATE, Template
from engine.tokenizers import dataset
from engine.tokenizers.answers import LEFT_OUT, Answers, find_answers
from engine.tokenizers.byte import ByteTokenizer
from engine.tokenizers.dataset import TokenDataset

NOTES = Template.parse("### Input:\n{prompt}\n### Output:\n{response}\n\n")
WORDS = ("cat", "naïve", "a hen", "東京 🙂")
SAID = [(word, f"{word}\n{other} {word}!") for word in WORDS for other in WORDS * 8]


def as_text(path: Path, content: str, boundary: str | None, template: Template | None) -> Text:
    data = content.encode()
    path.write_bytes(data)
    return Text(path, len(data), hashlib.sha256(data).hexdigest(), boundary, template=template)


def as_asked(path: Path, template: Template = NOTES, said: list[tuple[str, str]] = SAID) -> Text:
    return as_text(path, "".join(template.record(*turn) for turn in said), template.suffix, template)


def bytes_that_count(template: Template, said: list[tuple[str, str]]) -> list[bool]:
    """Of each byte of the records whether it is of an answer."""
    parts = [((False, template.apply(asked)), (True, answer + template.suffix)) for asked, answer in said]
    return [yes for turn in parts for yes, part in turn for _ in part.encode()]


@pytest.mark.parametrize("kind", ["char", "byte", "bpe", "word"])
@pytest.mark.parametrize("template", [NOTES, CHAT_TEMPLATE, Template.parse("Q: {prompt}\nA: {response}\n")])
def test_the_answers_are_found_in_any_tokens_however_they_are_read(
    kind: str, template: Template, tmp_path: Path
) -> None:
    text = as_asked(tmp_path / "a.txt", template)
    dataset = TokenDataset.open(text, DataConfig(tokenizer=kind, vocab_size=300, loss="answers"), tmp_path / "cache")
    assert dataset.answers is not None and template.marks is not None
    counts = bytes_that_count(template, SAID)
    for ids, answers, of_bytes in (
        (dataset.train, dataset.answers[0], counts[: dataset.cut]),
        (dataset.val, dataset.answers[1], counts[dataset.cut :]),
    ):
        last = np.cumsum(dataset.tokenizer.byte_lengths[ids]) - 1
        wanted = np.array(of_bytes, bool)[last]
        if template.suffix == "\n":  # there the split may be inside an answer, whose rest does not count
            wanted[: answers.begins[0]] = False
        assert wanted.any() and not wanted.all()
        assert answers.mask(np.zeros(1, np.int64), len(ids) - 1).tolist() == [wanted[1:].tolist()]
        for block in (1, 7, 50):
            again = find_answers(ids, dataset.tokenizer, template.marks, block)
            assert np.array_equal(again.begins, answers.begins) and np.array_equal(again.ends, answers.ends)
    if kind in ("char", "byte"):
        assert len(dataset.answers[0]) + len(dataset.answers[1]) == len(SAID)


@given(st.lists(st.integers(0, 5), min_size=2, max_size=20), st.integers(0, 60), st.integers(1, 30))
def test_targets_are_counted_as_they_are_masked(gaps: list[int], start: int, width: int) -> None:
    edges = np.cumsum(gaps[: len(gaps) // 2 * 2])
    answers = Answers(edges[::2], edges[1::2])
    counts = [any(begin <= place < end for begin, end in zip(answers.begins, answers.ends, strict=True))
              for place in range(200)]  # fmt: skip
    places = np.arange(200)
    assert answers.before(places).tolist() == [sum(counts[:place]) for place in places]
    starts = np.array([start, 0, start + 3])
    assert answers.mask(starts, width).tolist() == [counts[at + 1 : at + 1 + width] for at in starts]
    assert answers.targets(starts, width).tolist() == answers.mask(starts, width).sum(1).tolist()


def test_a_text_may_break_off_in_an_answer_and_begin_in_one() -> None:
    tokenizer = ByteTokenizer()

    def found(text: str) -> list[tuple[int, int]]:
        assert CHAT_TEMPLATE.marks is not None
        answers = find_answers(tokenizer.encode(text), tokenizer, CHAT_TEMPLATE.marks, 4)
        return list(zip(answers.begins.tolist(), answers.ends.tolist(), strict=True))

    assert found("") == found("no prompt is here\n") == []
    assert found("one<END>\nYou: a\nBot: bc<END>\n\nYou: d\nBot: e") == [(21, 29), (42, 43)]
    assert found("You: a\nBot: ") == []
    assert found("You: a\nBot: <END>\n") == [(12, 18)]


def test_bytes_are_counted_of_targets_and_the_first_token_is_none() -> None:
    answers, ids = Answers(np.array([0, 4]), np.array([3, 6])), ByteTokenizer().encode("abcdefg")
    assert answers.n_bytes(ids, ByteTokenizer()) == len("bcef")
    assert answers.n_bytes(ids[:1], ByteTokenizer()) == 0


def test_answers_end_where_the_prompt_would() -> None:
    assert NOTES.marks == ("\n### Output:\n", "\n\n", "")
    assert CHAT_TEMPLATE.marks == ("\nBot: ", "<END>\n", "")
    assert Template.parse("Q: {prompt}\nA: {response}\n").marks == ("\nA: ", "\n", "Q:")
    assert Template.parse("{prompt} -> {response}\n").marks == (" -> ", "\n", "")
    assert Template.parse("{prompt}{response}\n\n").marks is None, "nothing stands before an answer"
    assert Template.parse("{prompt}: {response}").marks is None, "nothing stands after one"


@pytest.mark.parametrize("kind", ["char", "bpe"])
def test_batches_and_evaluations_leave_the_rest_out(kind: str, tmp_path: Path) -> None:
    text, data = as_asked(tmp_path / "a.txt"), DataConfig(tokenizer=kind, vocab_size=300, loss="answers")
    some = TokenDataset.open(text, data, tmp_path / "cache")
    every = TokenDataset.open(text, data.model_copy(update={"loss": "all"}), tmp_path / "cache")
    assert every.answers is None and some.answers is not None
    (x, y), (all_x, all_y) = (each.batch(3, 5, 8, 16) for each in (some, every))
    left_out = y == LEFT_OUT
    assert np.array_equal(x, all_x) and np.array_equal(y[~left_out], all_y[~left_out])
    assert np.array_equal(~left_out, some.answers[0].mask(some.offsets(3, 5, 8, 16), 16)) and left_out.any()
    for most in (None, 64):
        ours = np.concatenate([batch[1].flatten() for batch in some.val_batches(16, 3, most)])
        theirs = np.concatenate([batch[1].flatten() for batch in every.val_batches(16, 3, most)])
        counted = ours[ours != LEFT_OUT]
        assert len(ours) == len(theirs) == every.val_targets(16, most) and 0 < len(counted) < len(ours)
        assert np.array_equal(counted, theirs[ours != LEFT_OUT]) and some.val_targets(16, most) == len(counted)
        if most is None:
            n_bytes = int(some.tokenizer.byte_lengths[counted].sum())
            assert some.val_bytes == n_bytes < every.val_bytes
            assert math.isclose(some.bits_per_byte(1.5), 1.5 / math.log(2) * len(counted) / n_bytes)


def test_a_text_that_says_nothing_of_answers_is_refused_in_one_line(tmp_path: Path) -> None:
    data = DataConfig(loss="answers")

    def refused(text: Text) -> str:
        with pytest.raises(CorpusError) as error:
            TokenDataset.open(text, data, tmp_path / "cache")
        assert "\n" not in str(error.value)
        return str(error.value)

    plain = as_asked(tmp_path / "a.txt")
    assert "no prompts with answers; use --set data.loss=all" in refused(replace(plain, template=None))
    assert "is in the training split" in refused(replace(plain, template=CHAT_TEMPLATE))
    unasked = NOTES.record("a", "b") * 9 + "### Input:\n" + "long " * 100
    assert "is in the validation split" in refused(as_text(tmp_path / "b.txt", unasked, None, NOTES))


def test_answers_out_of_reach_are_told_before_a_run_begins(tmp_path: Path) -> None:
    text = as_asked(tmp_path / "a.txt", said=[("long " * 30, "answer")] * 40)
    data = DataConfig(loss="answers", record_starts=True)
    dataset = TokenDataset.open(text, data, tmp_path / "cache")
    dataset.check(180)
    with pytest.raises(CorpusError, match=r"no answer begins in the first 160 tokens"):
        dataset.check(160)
    anywhere = TokenDataset.open(text, DataConfig(loss="answers"), tmp_path / "cache")
    anywhere.check(100)
    with pytest.raises(CorpusError, match=r"data\.val_tokens"):
        anywhere.check(100, 100)


def test_a_corpus_brings_its_template_along(tmp_path: Path) -> None:
    table = tmp_path / "pairs.csv"
    table.write_text("prompt,response\n" + "".join(f"ask {n},say {n}\n" for n in range(50)))
    corpora = tmp_path / "corpora"
    add_corpus(table, "pairs", corpora)
    assert find_corpus("pairs", corpora).prepare().template == CHAT_TEMPLATE
    notes = find_corpus("soap-notes")
    assert notes.prepare().template == notes.template is not None
    (tmp_path / "plain.txt").write_text("words")
    assert find_corpus(str(tmp_path / "plain.txt")).prepare().template is None


def test_what_was_found_is_kept_beside_the_tokens(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However what is kept was damaged, it is sought again and the same; what is kept of other marks is another's."""
    text, cache = as_asked(tmp_path / "a.txt"), tmp_path / "cache"
    sought: list[str] = []

    def noted(name: str) -> Any:
        find = getattr(dataset, name)

        def seek(*args: Any) -> Any:
            sought.append(name)
            return find(*args)

        return seek

    for name in ("record_starts", "find_answers"):
        monkeypatch.setattr(dataset, name, noted(name))

    def opened(template: Template | None = NOTES) -> tuple[set[str], list[list[int]]]:
        """What was sought, and all that is known then."""
        sought.clear()
        data = DataConfig(tokenizer="byte", loss="answers", record_starts=True)
        now = TokenDataset.open(replace(text, template=template), data, cache)
        assert now.answers is not None and now.records is not None
        edges = [edge for answers in now.answers for edge in (answers.begins, answers.ends)]
        return set(sought), [now.records.tolist(), *(edge.tolist() for edge in edges), [now.val_bytes]]

    first = opened()
    assert first[0] == {"record_starts", "find_answers"} and opened() == (set(), first[1])
    another = Template.parse("### Input:\n{prompt}\n### Output:\n{response}\n###")
    other = opened(another)
    assert other[0] == {"find_answers"} and other[1][1:] != first[1][1:] and opened() == (set(), first[1])
    assert opened(another) == (set(), other[1])

    (kept,) = (path for path in cache.glob("tokens/*/answers-*") if path.read_bytes().count(b"\\n\\n"))
    whole = kept.read_bytes()
    line = whole.index(b"\n") + 1
    moved = whole[:line].replace(b'"lengths": [', b'"lengths": [1, ')
    for damaged in (
        b"", whole[: line - 1], whole[:line], whole[:-1], whole[:-8], whole + bytes(8), moved + whole[line:],
        *(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :] for at in (0, 9, line - 9, line, line + 8, -1)),
        b"[" * 100_000, b"[]\n", b'{"of": 1}\n',
    ):  # fmt: skip
        kept.write_bytes(damaged)
        assert opened() == ({"find_answers"}, first[1])
        assert kept.read_bytes() == whole and opened() == (set(), first[1])
    kept.unlink()
    kept.mkdir()  # nothing can be kept there
    assert opened() == opened() == ({"find_answers"}, first[1])
