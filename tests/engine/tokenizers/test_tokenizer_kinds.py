"""What the single kinds promise: policies, bounds, what is learned from what."""

from __future__ import annotations

import hashlib
import os
import re
import sys
import threading
import unicodedata
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.config import DataConfig
from engine.errors import TokenizerError, UnknownCharacterError
from engine.text.corpus import Text
from engine.tokenizers import KINDS, bpe, cutting, encoding, gpt2, learning
from engine.tokenizers.bpe import BpeTokenizer, byte_alphabet
from engine.tokenizers.char import CharTokenizer
from engine.tokenizers.cutting import GPT2_UNITS, cut_safely
from engine.tokenizers.gpt2 import Gpt2Tokenizer, load_gpt2, read_merges
from engine.tokenizers.table import (
    expected_tokens,
    expected_vocab,
    least_vocab,
    tokenizer_class,
    tokenizer_from_dict,
    train_tokenizer,
)
from engine.tokenizers.word import WordTokenizer

RHYME = (
    "The owl sat high, the owl sat low; it's the owl's own wood, you know.\n  Zoë, naïve — said “hoo” 12 times, 345!\n"
    * 6
)
spaced = st.text(
    st.one_of(
        st.sampled_from(" \n\t\r\x0b\x1c\x85\xa0\u3000'stlre.,!_—aZ09é中٣²\u0301🙂"),
        st.characters(exclude_categories=["Cs"]),
    ),
    max_size=30,
)


def as_text(path: Path, content: str, boundary: str | None = None) -> Text:
    data = content.encode()
    path.write_bytes(data)
    return Text(path, len(data), hashlib.sha256(data).hexdigest(), boundary)


# characters


def test_characters_are_in_the_order_of_code_points() -> None:
    assert CharTokenizer.train(["cab", "🙂é\n"]).chars == "\nabcé🙂"


def test_an_unknown_character_is_named_and_told_how_to_mend() -> None:
    tokenizer = CharTokenizer("abc")
    for text in ("abé", "ab\u0301", "abz"):
        with pytest.raises(TokenizerError) as caught:
            tokenizer.encode(text)
        message = str(caught.value)
        assert f"U+{ord(text[2]):04X}" in message and repr(text[2]) in message and "data.unknown=skip" in message


@given(st.text("abc", max_size=60), st.text("abc", max_size=60), st.characters(exclude_characters="abc", codec="utf-8"))
def test_an_unknown_character_shows_where_it_stands(before: str, after: str, character: str) -> None:
    with pytest.raises(UnknownCharacterError) as caught:
        CharTokenizer("abc").encode(before + character + after)
    said = str(caught.value)
    assert caught.value.place == len(before)
    assert f"U+{ord(character):04X}" in said and unicodedata.name(character, "without a name").lower() in said
    assert f"number {len(before) + 1} of {len(before) + 1 + len(after)}" in said
    assert (f"after {before[-20:]!r}" in said) == bool(before) and (f"before {after[:20]!r}" in said) == bool(after)


def test_in_a_long_text_an_unknown_character_is_found_by_its_byte(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Fine-tuning encodes a new text with an old vocabulary: the place is one in the file, not in a piece of it."""
    monkeypatch.setattr(encoding, "CHUNK", 64)
    content = "é a b c " * 40 + "ab☃c " + "a b " * 40
    text = as_text(tmp_path / "a.txt", content)
    with pytest.raises(UnknownCharacterError) as caught:
        list(encoding.encode_stream(CharTokenizer("abcé "), text, 0, text.n_bytes))
    place = len(content[: content.index("☃")].encode())
    assert caught.value.place == place and f"at byte {place} of the text" in str(caught.value)


@given(text=st.text(max_size=40))
def test_unknown_characters_are_left_out_or_one_token(text: str) -> None:
    for chars in ("abc ", "aé中"):
        kept = "".join(char for char in text if char in chars)
        skip, unk = CharTokenizer(chars, "skip"), CharTokenizer(chars, "unk")
        assert skip.decode(skip.encode(text)) == kept
        found = unk.encode(text).tolist()
        assert [chars.find(char) if char in chars else unk.special["<unk>"] for char in text] == found
    assert unk.vocab_size == len(chars) + 1 and unk.decode([unk.special["<unk>"]]) == "<unk>"


def test_the_policy_changes_only_where_the_vocabulary_stays() -> None:
    strict = CharTokenizer("abc")
    assert strict.with_unknown("skip").encode("axb").tolist() == [0, 1]
    assert strict.with_unknown("error") is strict
    with pytest.raises(TokenizerError, match="error or skip"):
        strict.with_unknown("unk")


def test_more_than_65536_tokens_are_uint32() -> None:
    chars = "".join(map(chr, [*range(0xD800), *range(0xE000, 0x12800)]))
    small, large = CharTokenizer(chars[: 1 << 16]), CharTokenizer(chars)
    assert small.dtype == np.uint16 and large.dtype == np.uint32
    for tokenizer in (small, large):
        assert tokenizer.decode(tokenizer.encode(tokenizer.chars)) == tokenizer.chars
    with pytest.raises(TokenizerError, match="U\\+"):
        small.encode(chars[-1])


# byte-level BPE


def test_bpe_has_at_most_the_wanted_tokens_and_is_the_same_every_time() -> None:
    for wanted in (256, 257, 300, 100_000):
        tokenizer = BpeTokenizer.train([RHYME], wanted)
        assert 256 <= tokenizer.vocab_size <= wanted
        assert tokenizer == BpeTokenizer.train([RHYME], wanted)
    assert BpeTokenizer.train([RHYME], 300).vocab_size == 300
    assert BpeTokenizer.train([RHYME], 300, ["<END>"]).vocab_size == 300


def test_bpe_learns_the_same_however_the_text_is_streamed() -> None:
    pieces = [RHYME[i : i + 7] for i in range(0, len(RHYME), 7)]
    assert BpeTokenizer.train(pieces, 320) == BpeTokenizer.train([RHYME], 320)


def test_bpe_encodes_as_its_library_does() -> None:
    tokenizer = BpeTokenizer.train([RHYME], 400)
    for _ in range(2):  # the second time from memory
        assert tokenizer.encode(RHYME).tolist() == tokenizer.backend.encode(RHYME).ids


@given(text=spaced)
def test_fast_units_never_change_how_gpt2_cuts_text(text: str) -> None:
    split = BpeTokenizer([]).backend.pre_tokenizer.pre_tokenize_str
    units = GPT2_UNITS.findall(text)
    assert "".join(units) == text
    assert [word for unit in units for word, _ in split(unit)] == [word for word, _ in split(text)]


def test_too_small_a_vocabulary_says_what_would_do() -> None:
    with pytest.raises(TokenizerError, match=r"at least 257 tokens; --set data\.vocab_size="):
        BpeTokenizer.train([RHYME], 256, ["<END>"])
    with pytest.raises(TokenizerError, match="at least 256"):
        WordTokenizer.train([RHYME], 100)


def test_bpe_specials_are_not_learned_as_text() -> None:
    tokenizer = BpeTokenizer.train(["owl<END>" * 50], 1000, ["<END>"])
    plain = [tokenizer.token_bytes(id) for id in range(256, tokenizer.vocab_size - 1)]
    assert plain and not any(b"<" in token or b"EN" in token for token in plain)


# words


def test_words_carry_their_space_and_frequent_ones_are_one_token() -> None:
    tokenizer = WordTokenizer.train([RHYME], 400)
    assert tokenizer.vocab_size <= 400
    labels = [tokenizer.token_label(id) for id in tokenizer.encode("The owl sat high, it's 12\n").tolist()]
    assert labels == ["The", "␣owl", "␣sat", "␣high", ",", "␣it's", "␣12", "\\n"]


def test_an_unknown_word_is_spelled_never_lost() -> None:
    tokenizer = WordTokenizer.train([RHYME], 400)
    assert [tokenizer.token_label(id) for id in tokenizer.encode(" The").tolist()] == ["␣", "The"]
    assert [tokenizer.token_label(id) for id in tokenizer.encode(" owlët").tolist()] == ["␣", "o", "w", "l", "ë", "t"]
    assert tokenizer.encode("漢").tolist() == list("漢".encode())


def test_a_word_seen_once_is_not_a_token() -> None:
    tokenizer = WordTokenizer.train(["owl owl rare owl"], 1000)
    assert " owl" in tokenizer.words and " rare" not in tokenizer.words


def test_characters_get_at_most_half_the_room() -> None:
    many = "".join(map(chr, range(0x4E00, 0x4F00)))
    tokenizer = WordTokenizer.train([(many + " owl low ") * 3], 276)
    assert len(tokenizer.chars) == 10 and tokenizer.words and tokenizer.vocab_size <= 276


@given(parts=st.lists(spaced, max_size=6))
def test_text_cut_for_streaming_encodes_as_the_whole(parts: list[str]) -> None:
    text = "".join(parts)
    chunks = list(cut_safely(parts))
    assert "".join(chunks) == text
    for tokenizer in (BPE, WORD):
        assert [id for chunk in chunks for id in tokenizer.encode(chunk).tolist()] == tokenizer.encode(text).tolist()


class Counted:
    """A pattern that counts the characters it was asked to look at."""

    def __init__(self, pattern: re.Pattern[str]) -> None:
        self.pattern, self.looked = pattern, 0

    def finditer(self, text: str, start: int = 0) -> Iterator[re.Match[str]]:
        self.looked += len(text) - start
        return self.pattern.finditer(text, start)


def test_text_without_any_space_is_looked_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A genome, or a 300 MB line: the time grows with its length, not with the square of it."""
    counted = Counted(cutting.CUT)
    monkeypatch.setattr(cutting, "CUT", counted)
    monkeypatch.setattr(cutting, "HELD", 100_000)
    text = "acgt" * 75_000
    chunks = list(cut_safely(text[i : i + 1000] for i in range(0, len(text), 1000)))
    assert "".join(chunks) == text
    assert 100_000 - 1000 <= max(map(len, chunks)) <= 100_000 + 1000
    assert counted.looked < 5 * len(text)


@given(words=st.lists(st.tuples(st.integers(1, 5000), st.sampled_from([" ", "\n", ""])), max_size=6))
def test_no_word_is_so_long_that_training_would_not_end(words: list[tuple[int, str]]) -> None:
    """The backend takes the square of a word's length: a megabyte in one word is an hour."""
    text = "".join("acgt"[length % 4] * length + space for length, space in words)
    pieces = list(bpe._short_words(text))
    assert "".join(pieces) == text
    assert all(len(word) <= 1024 for piece in pieces for word in piece.split())
    assert len(pieces) <= 1 + len(text) // 1024


def test_a_text_that_is_one_word_trains_and_encodes(tmp_path: Path) -> None:
    text = as_text(tmp_path / "genome.txt", "gattaca" * 50_000)
    tokenizer = train_tokenizer(DataConfig(tokenizer="bpe", vocab_size=300), text, text.n_bytes)
    assert any(b"gattaca" in tokenizer.token_bytes(id) for id in range(tokenizer.vocab_size))
    assert tokenizer.decode(tokenizer.encode("gattaca" * 1000)) == "gattaca" * 1000


BPE = BpeTokenizer.train([RHYME], 300)
WORD = WordTokenizer.train([RHYME], 320)


def test_several_threads_may_encode_at_once() -> None:
    tokenizer = BpeTokenizer(BPE.merges)
    texts = [RHYME[i:] for i in range(40)]
    found: dict[int, list[int]] = {}

    def encode(i: int) -> None:
        found[i] = tokenizer.encode(texts[i]).tolist()

    threads = [threading.Thread(target=encode, args=(i,)) for i in range(len(texts))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(found[i] == BPE.encode(text).tolist() for i, text in enumerate(texts))


# what is learned from what


def test_vocabularies_come_from_the_training_split_alone(tmp_path: Path) -> None:
    train, val = "plain words stay here. " * 40, "secret vault stays there é. " * 40
    text = as_text(tmp_path / "a.txt", train + val)
    other = as_text(tmp_path / "b.txt", train + val.replace("secret vault", "public house"))
    for kind in ("bpe", "word"):
        data = DataConfig(tokenizer=kind, vocab_size=500)
        tokenizer = train_tokenizer(data, text, len(train))
        assert tokenizer == train_tokenizer(data, other, len(train))
        assert not any(b"secret" in tokenizer.token_bytes(id) for id in range(tokenizer.vocab_size))
        assert tokenizer.decode(tokenizer.encode(val)) == val


def test_characters_come_from_the_whole_text(tmp_path: Path) -> None:
    text = as_text(tmp_path / "a.txt", "abc" * 50 + "é")
    tokenizer = train_tokenizer(DataConfig(tokenizer="char"), text, 100)
    assert isinstance(tokenizer, CharTokenizer) and tokenizer.chars == "abcé"


def test_record_ends_that_occur_become_special_tokens(tmp_path: Path) -> None:
    body = "You: hoo\nBot: hoo hoo<END>\n" * 20
    text = as_text(tmp_path / "a.txt", body, boundary="<END>\n")
    tagged = as_text(tmp_path / "b.txt", body.replace("<END>", "<stop>"), boundary="<stop>\n")
    plain = as_text(tmp_path / "c.txt", body.replace("<END>", ""), boundary="\n")
    for kind in ("bpe", "word"):
        data = DataConfig(tokenizer=kind, vocab_size=400)
        assert list(train_tokenizer(data, text, len(body)).special) == ["<END>"]
        assert list(train_tokenizer(data, tagged, len(body)).special) == ["<stop>"]
        assert train_tokenizer(data, plain, plain.n_bytes).special == {}
    assert train_tokenizer(DataConfig(tokenizer="char"), text, len(body)).special == {}


def test_progress_is_told_and_ends_at_one(tmp_path: Path) -> None:
    text = as_text(tmp_path / "a.txt", RHYME)
    for kind in ("char", "bpe", "word"):
        told: list[tuple[str, float]] = []
        data = DataConfig(tokenizer=kind, vocab_size=300)
        train_tokenizer(data, text, text.n_bytes, lambda *now, told=told: told.append(now))
        assert told and told[-1][1] == 1.0 and [f for _, f in told] == sorted(f for _, f in told)


def test_a_large_split_is_sampled_evenly(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    content = "".join(f"é{i:07d}🙂" for i in range(5000))
    text = as_text(tmp_path / "a.txt", content)
    assert "".join(learning.sampled(text, text.n_bytes)) == content
    monkeypatch.setattr(learning, "MOST", 6400)
    found = "".join(learning.sampled(text, text.n_bytes))
    assert abs(len(found.encode()) - 6400) < 64 * 4 and "\ufffd" not in found
    assert found.startswith("é0000000") and found.endswith("🙂") and "é0002500"[:5] in found


# GPT-2's vocabulary


@pytest.fixture
def merges(tmp_path: Path) -> Path:
    """A vocabulary file in GPT-2's format, small: the merges of a BPE of our own."""
    letters = byte_alphabet()
    lines = ["#version: 0.2"]
    for left, right in BPE.merges:
        name = ["".join(letters[byte] for byte in BPE.token_bytes(id)) for id in (left, right)]
        lines.append(" ".join(name))
    path = tmp_path / "vocab.bpe"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def test_gpt2_reads_a_merges_file_and_encodes_as_the_same_merges_do(merges: Path) -> None:
    pytest.importorskip("tiktoken")
    tokenizer = Gpt2Tokenizer(read_merges(merges))
    assert tokenizer.vocab_size == BPE.vocab_size + 1
    assert tokenizer.special == {"<|endoftext|>": tokenizer.vocab_size - 1}
    text = RHYME + " unseen 漢字 \u00a0 🙂\n\n"
    ours, theirs = tokenizer.encode(text).tolist(), BPE.encode(text).tolist()
    assert [tokenizer.token_bytes(id) for id in ours] == [BPE.token_bytes(id) for id in theirs]
    assert tokenizer.decode(ours) == text
    assert tokenizer.encode("owl<|endoftext|>").tolist()[-1] == tokenizer.vocab_size - 1
    assert tokenizer_from_dict(tokenizer.to_dict()) == tokenizer
    with pytest.raises(TokenizerError, match=r"U\+D800"):
        tokenizer.encode("owl \ud800")


def test_gpt2_numbers_bytes_as_gpt2_does(merges: Path) -> None:
    tokens = read_merges(merges)
    assert tokens[:2] == [b"!", b'"'] and tokens[188] == b"\x00" and tokens[198] == b"\n" and tokens[220] == b" "


def test_gpt2_is_taken_from_the_cache_when_it_is_there(merges: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (merges.parent / "gpt2").mkdir()
    merges.rename(merges.parent / "gpt2" / "vocab.bpe")
    monkeypatch.setenv("TINYTUI_CACHE", str(merges.parent))
    with pytest.raises(TokenizerError, match="300 tokens, GPT-2 has 50,256"):
        load_gpt2()
    monkeypatch.setattr(gpt2, "SIZE", 300)
    tokenizer = load_gpt2()
    assert isinstance(tokenizer, Gpt2Tokenizer) and tokenizer.vocab_size == BPE.vocab_size + 1


def test_gpt2_that_cannot_be_had_is_one_clear_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TINYTUI_CACHE", str(tmp_path))
    monkeypatch.setitem(sys.modules, "tiktoken", None)
    with pytest.raises(TokenizerError, match="pip install tiktoken") as caught:
        load_gpt2()
    assert "\n" not in str(caught.value)


def test_gpt2_without_a_network_is_one_clear_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tiktoken = pytest.importorskip("tiktoken")

    def unreachable(name: str) -> None:
        raise ConnectionError(f"cannot reach the host of {name}\n(no route)")

    monkeypatch.setenv("TINYTUI_CACHE", str(tmp_path))
    monkeypatch.setattr(tiktoken, "get_encoding", unreachable)
    with pytest.raises(TokenizerError, match=r"vocab\.bpe at .*data\.tokenizer=bpe") as caught:
        load_gpt2()
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", ["a", "a b c\n", "\n漢 字\n", "a b\na b\n"])
def test_a_file_that_is_no_merges_file_is_a_clear_error(content: str, tmp_path: Path) -> None:
    path = tmp_path / "vocab.bpe"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(TokenizerError, match=r"vocab\.bpe"):
        read_merges(path)
    with pytest.raises(TokenizerError, match="cannot read"):
        read_merges(tmp_path / "none")
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(TokenizerError, match="it is a pipe"):
        read_merges(tmp_path / "pipe")


def test_no_more_of_a_merges_file_is_read_than_one_may_have(merges: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    size = merges.stat().st_size
    monkeypatch.setattr(bpe, "MOST_BYTES", size)
    assert len(read_merges(merges)) == 300
    monkeypatch.setattr(bpe, "MOST_BYTES", size - 1)
    with pytest.raises(TokenizerError, match="is larger than"):
        read_merges(merges)


def test_every_kind_is_in_the_table_and_the_settings() -> None:
    from typing import get_args

    from engine.config import DataConfig

    chosen = get_args(DataConfig.model_fields["tokenizer"].annotation)
    assert {*chosen, "imported"} == set(KINDS)
    for kind in KINDS:
        found = tokenizer_class(kind)
        assert found.kind == kind and found.bytes_per_token >= 1 and found.made_by in (None, *DataConfig.model_fields)
    for kind in chosen:
        data = DataConfig(tokenizer=kind)
        assert least_vocab(data) <= expected_vocab(data)
        assert expected_tokens(1000, data)[0] <= 900
