"""Small things about tokens: what is said of half a character, which vocabularies are none, what is read of a map."""

from __future__ import annotations

import json
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from engine.config import DataConfig
from engine.errors import TokenizerError
from engine.tokenizers import gpt2, word
from engine.tokenizers.base import Tokenizer
from engine.tokenizers.bpe import BpeTokenizer
from engine.tokenizers.byte import ByteTokenizer
from engine.tokenizers.char import TYPICAL, CharTokenizer
from engine.tokenizers.dataset import TokenDataset
from engine.tokenizers.gpt2 import SIZE, Gpt2Tokenizer
from engine.tokenizers.table import tokenizer_from_dict
from engine.tokenizers.word import WordTokenizer

BYTES = [bytes([byte]) for byte in range(256)]


@pytest.mark.parametrize("half", ["\ud800", "\udabc", "\udfff"])
@pytest.mark.parametrize("before", ["", "a", "é", "\ud7ff", "\ue000", "😀", "<mark>😀"])
def test_the_half_of_a_pair_is_named_whatever_stands_around_it(half: str, before: str) -> None:
    tokenizer = ByteTokenizer()
    with pytest.raises(TokenizerError, match=rf"^U\+{ord(half):04X} .* is half of a surrogate pair"):
        tokenizer.encode(before + half + "\ue000😀")


def test_a_vocabulary_of_gpt2_begins_with_the_bytes_and_has_no_token_twice() -> None:
    assert Gpt2Tokenizer([*BYTES, b"ab"]).vocab_size == 258
    for wrong in ([*BYTES, b"ab", b"ab"], [*BYTES, b"a"], [b"ab", *BYTES], [b"", *BYTES], [*BYTES[:255], b"ab", b"cd"]):
        with pytest.raises(ValueError, match="begins with the 256 bytes and has no token twice"):
            Gpt2Tokenizer(wrong)
    assert Gpt2Tokenizer.expected_vocab(DataConfig()) == Gpt2Tokenizer.least_vocab == SIZE + 1 == 50_257


def test_a_vocabulary_of_characters_is_expected_with_its_mark() -> None:
    expected = {
        unknown: CharTokenizer.expected_vocab(DataConfig.model_validate({"unknown": unknown}))
        for unknown in ("error", "skip", "unk")
    }
    assert expected == {"error": TYPICAL, "skip": TYPICAL, "unk": TYPICAL + 1}


class Noted:
    """Stands for a mapped file, and notes what it is told of."""

    def __init__(self) -> None:
        self.told: list[tuple[int, int]] = []

    def touched(self, rows: int, tokens: int) -> None:
        self.told.append((rows, tokens))


def test_what_is_read_of_a_map_is_told_to_it() -> None:
    """Rows and the tokens of each, the target after the last included: pages are given back by these."""
    ids = np.arange(100, dtype=np.uint16) % 50
    maps: Any = (Noted(), Noted())
    data = replace(TokenDataset(ids, ids[:31], ByteTokenizer(), 30), _maps=maps)
    data.batch(1, 0, 3, 8)
    assert maps[0].told == [(3, 9)] and maps[1].told == []
    assert len(list(data.val_batches(8, 2))) == 3
    assert maps[0].told == [(3, 9)] and maps[1].told == [(1, 18), (1, 9), (1, 7)]


def test_a_merge_is_of_two_tokens_that_are_made() -> None:
    made = BpeTokenizer([(0, 255), (256, 0), (255, 257)])
    assert [made.token_bytes(id) for id in (256, 257, 258)] == [b"\x00\xff", b"\x00\xff\x00", b"\xff\x00\xff\x00"]
    assert BpeTokenizer([(0, 255), (0, 255)]).vocab_size == 257, "learned twice, made once"
    for wrong in ((-1, 0), (0, -1), (256, 0), (0, 256)):
        with pytest.raises(ValueError, match=f"the merge {wrong[0]}, {wrong[1]} is of tokens that are not made yet"):
            BpeTokenizer([wrong])


@pytest.mark.parametrize("more", [-1, 0, 1, 100])
def test_words_seen_once_are_forgotten_when_there_are_too_many(monkeypatch: pytest.MonkeyPatch, more: int) -> None:
    part = " eins zwei drei vier fünf"
    monkeypatch.setattr(word, "_MOST", 5 + more)
    monkeypatch.setattr(word, "cut_safely", iter)
    made = WordTokenizer.train([part, part + " zwei"], 1000)
    assert (" drei" in made.words, " zwei" in made.words) == (more >= 0, True)


def test_a_vocabulary_has_room_for_the_bytes_and_its_marks() -> None:
    marks = [f"<{number}>" for number in range(1000)]
    for kind, good in ((BpeTokenizer, 512), (WordTokenizer, 1024)):
        with pytest.raises(TokenizerError, match=rf"at least 256 tokens; --set data.vocab_size={good}$"):
            kind.train(["a b"], 255)
        with pytest.raises(TokenizerError, match=r"at least 1256 tokens; --set data.vocab_size=1256$"):
            kind.train(["a b"], 1255, marks)
        assert kind.train(["a b"], 1256, marks).vocab_size == 1256
        assert kind.train(["a b"], 256).vocab_size == 256


@pytest.mark.parametrize(
    ("tokenizer", "canonical"),
    [
        (ByteTokenizer(), b'{"kind":"byte"}'),
        (CharTokenizer("ab\n", "skip"), b'{"chars":"ab\\n","kind":"char","unknown":"skip"}'),
        (
            BpeTokenizer([(97, 98), (256, 99)], ["<end>"]),
            b'{"kind":"bpe","merges":[[97,98],[256,99]],"special":["<end>"]}',
        ),
        (
            WordTokenizer("é", [" eins", "zwei"], ["<end>"]),
            b'{"chars":"\\u00e9","kind":"word","special":["<end>"],"words":[" eins","zwei"]}',
        ),
    ],
    ids=lambda value: value.kind if isinstance(value, Tokenizer) else "",
)
def test_a_fingerprint_is_the_same_in_every_version(tokenizer: Tokenizer, canonical: bytes) -> None:
    """Runs and cached tokens are known by it."""
    assert tokenizer.canonical() == canonical and tokenizer.fingerprint == sha256(canonical).hexdigest()
    again = tokenizer_from_dict(json.loads(canonical))
    assert again == tokenizer and again.canonical() == canonical


@pytest.mark.parametrize(
    ("error", "why"),
    [
        (OSError("no  route\n to host"), "no route to host"),
        (ValueError(), "ValueError"),
        (RuntimeError("x" * 101), "x" * 100),
    ],
)
def test_a_vocabulary_that_cannot_be_had_is_told_with_why_and_where_it_could_lie(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, error: Exception, why: str
) -> None:
    def fails(name: str) -> None:
        raise error

    monkeypatch.setenv("TINYTUI_CACHE", str(tmp_path))
    monkeypatch.setattr(gpt2, "_tiktoken", lambda: SimpleNamespace(get_encoding=fails))
    with pytest.raises(TokenizerError) as caught:
        gpt2.load_gpt2()
    place = tmp_path / "gpt2" / "vocab.bpe"
    assert str(caught.value) == (
        f"GPT-2's vocabulary cannot be had ({why}); put its vocab.bpe at {place}, "
        "or train a vocabulary of your own: --set data.tokenizer=bpe"
    )
    place.parent.mkdir()
    place.write_text("#version: 0.2\na b\n")
    with pytest.raises(TokenizerError, match=r"vocab.bpe makes 257 tokens, GPT-2 has 50,256; fetch it again, or train"):
        gpt2.load_gpt2()
