"""What every tokenizer promises: lossless, streamable, saved without loss, fast paths equal to the plain way."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.errors import TokenizerError
from engine.tokenizers.base import StreamDecoder, Tokenizer
from engine.tokenizers.bpe import BpeTokenizer
from engine.tokenizers.byte import ByteTokenizer
from engine.tokenizers.char import CharTokenizer
from engine.tokenizers.table import load_tokenizer, save_tokenizer, tokenizer_from_dict
from engine.tokenizers.word import WordTokenizer

SONG = (
    "The kettle sings, the kettle hums; don't wake the cat.\n\nWho wakes the cat? Nobody, said Zoë, nobody wakes her.\n"
    "    indented  twice\twith tabs and 1234 numbers, 1234 again… naïve naïve 東京 東京 🙂\n<END>\n"
) * 4

BYTE = ByteTokenizer()
BPE = BpeTokenizer.train([SONG], 400, ["<END>"])
WORD = WordTokenizer.train([SONG], 400, ["<END>"])
CHAR = CharTokenizer.train([SONG])
LOSSLESS = [BYTE, BPE, WORD]
ALL = [*LOSSLESS, CHAR]

anything = st.text(st.characters(exclude_categories=["Cs"]), max_size=60)
lively = st.lists(
    st.one_of(
        anything, st.sampled_from([" the", "the", "  ", "\n\n", " cat", "<END>", "don't", "é", "\u00a0", "\x1c", "🙂"])
    ),
    max_size=12,
).map("".join)
known = st.text(st.sampled_from(sorted(set(SONG))), max_size=60)


def ids(tokenizer: Tokenizer) -> st.SearchStrategy[list[int]]:
    return st.lists(st.integers(0, tokenizer.vocab_size - 1), max_size=20)


@pytest.mark.parametrize("tokenizer", LOSSLESS, ids=lambda t: t.kind)
@given(text=lively)
def test_any_text_comes_back(tokenizer: Tokenizer, text: str) -> None:
    found = tokenizer.encode(text)
    assert tokenizer.decode(found) == text
    assert found.dtype == np.uint16 and found.ndim == 1
    assert b"".join(tokenizer.token_bytes(int(id)) for id in found) == text.encode()


@given(text=known)
def test_known_characters_come_back_one_id_each(text: str) -> None:
    found = CHAR.encode(text)
    assert found.tolist() == [CHAR.chars.index(char) for char in text]
    assert CHAR.decode(found) == text


@pytest.mark.parametrize("tokenizer", ALL, ids=lambda t: t.kind)
@given(data=st.data())
def test_streaming_gives_the_same_text(tokenizer: Tokenizer, data: st.DataObject) -> None:
    tokens = data.draw(ids(tokenizer))
    stream = StreamDecoder(tokenizer)
    assert "".join([*map(stream.push, tokens), stream.flush()]) == tokenizer.decode(tokens)


@given(text=anything)
def test_streaming_never_shows_part_of_a_character(text: str) -> None:
    stream, shown = StreamDecoder(BYTE), ""
    for id in BYTE.encode(text).tolist():
        shown += stream.push(id)
        assert text.startswith(shown)
    assert shown == text and stream.flush() == ""


def test_a_torn_tail_is_flushed_as_a_replacement_character() -> None:
    stream = StreamDecoder(BYTE)
    assert [stream.push(id) for id in "é€".encode()[:4]] == ["", "é", "", ""]
    assert stream.flush() == "\ufffd"
    assert stream.push(ord("a")) == "a", "after a flush the decoder is as new"


@pytest.mark.parametrize("tokenizer", ALL, ids=lambda t: t.kind)
def test_saved_and_loaded_it_is_the_same(tokenizer: Tokenizer, tmp_path: Path) -> None:
    path = tmp_path / "tokenizer.json"
    save_tokenizer(tokenizer, path)
    loaded = load_tokenizer(path)
    assert loaded == tokenizer and loaded.fingerprint == tokenizer.fingerprint and len(loaded.fingerprint) == 64
    assert type(loaded) is type(tokenizer)
    assert loaded.vocab_size == tokenizer.vocab_size and loaded.special == tokenizer.special
    assert loaded.encode(SONG).tolist() == tokenizer.encode(SONG).tolist()
    assert json.loads(path.read_text())["kind"] == tokenizer.kind


def test_different_tokenizers_have_different_fingerprints() -> None:
    others = [BpeTokenizer.train([SONG], 300), CharTokenizer.train([SONG], "skip"), WordTokenizer.train([SONG], 300)]
    assert len({tokenizer.fingerprint for tokenizer in [*ALL, *others]}) == 7


@pytest.mark.parametrize(
    "damage", ["", "{", "[]", "null", '{"kind": "char"}', '{"kind": "runes"}', "[" * 100_000, "\x00"]
)
def test_a_damaged_file_is_a_clear_error(damage: str, tmp_path: Path) -> None:
    path = tmp_path / "tokenizer.json"
    path.write_text(damage)
    with pytest.raises(TokenizerError, match=r"tokenizer\.json") as caught:
        load_tokenizer(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "tree",
    [
        {"kind": "char", "chars": "aa", "unknown": "error"},
        {"kind": "char", "chars": "ab", "unknown": "guess"},
        {"kind": "char", "chars": 7, "unknown": "error"},
        {"kind": "bpe", "merges": [[0, 999]], "special": []},
        {"kind": "bpe", "merges": [[0]], "special": []},
        {"kind": "bpe", "merges": [["a", "b"]], "special": []},
        {"kind": "bpe", "merges": [], "special": ["two words"]},
        {"kind": "word", "chars": "", "words": ["a"], "special": []},
        {"kind": "word", "chars": "é", "words": [3], "special": []},
        {"kind": "gpt2", "tokens": "AAAA"},
        {"kind": "gpt2", "tokens": "not base64"},
    ],
    ids=lambda tree: str(tree)[:40],
)
def test_a_description_that_cannot_be_is_a_clear_error(tree: dict[str, object]) -> None:
    with pytest.raises(TokenizerError):
        tokenizer_from_dict(tree)


def test_a_missing_file_and_a_place_that_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(TokenizerError, match="cannot read"):
        load_tokenizer(tmp_path / "none.json")
    (tmp_path / "file").write_text("")
    with pytest.raises(TokenizerError, match="cannot make"):
        save_tokenizer(BYTE, tmp_path / "file" / "tokenizer.json")


@pytest.mark.parametrize("tokenizer", ALL, ids=lambda t: t.kind)
def test_half_of_a_surrogate_pair_is_named(tokenizer: Tokenizer) -> None:
    with pytest.raises(TokenizerError, match=r"U\+D800"):
        tokenizer.encode("The cat \ud800 sat")


@pytest.mark.parametrize("tokenizer", ALL, ids=lambda t: t.kind)
def test_ids_outside_the_vocabulary_are_errors(tokenizer: Tokenizer) -> None:
    for id in (-1, tokenizer.vocab_size):
        with pytest.raises(TokenizerError, match=f"no token {id} "):
            tokenizer.decode([0, id])
        with pytest.raises(TokenizerError):
            tokenizer.token_bytes(id)
    assert tokenizer.decode([]) == "" and tokenizer.encode("").tolist() == []


def test_labels_show_everything_on_one_line() -> None:
    assert BYTE.token_label(0xE2) == "<0xE2>"
    assert BYTE.token_label(0x1B) == "\\x1b"
    assert CHAR.token_label(CHAR.encode("\n")[0]) == "\\n"
    assert CHAR.token_label(CHAR.encode("é")[0] if "é" in CHAR.chars else CHAR.encode("ë")[0]) == "ë"
    assert WORD.token_label(WORD.encode(" the")[0]) == "␣the"
    for tokenizer in ALL:
        for id in range(tokenizer.vocab_size):
            label = tokenizer.token_label(id)
            assert label and label.isprintable() and " " not in label


def test_special_tokens_are_one_id_only_where_the_tokenizer_has_them() -> None:
    for tokenizer in (BPE, WORD):
        end = tokenizer.special["<END>"]
        assert end == tokenizer.vocab_size - 1
        assert tokenizer.encode("<END>").tolist() == [end]
        assert tokenizer.encode("cat<END><END>\n").tolist().count(end) == 2
        assert tokenizer.decode([end]) == "<END>"
        assert end not in tokenizer.encode("<END END>").tolist()
    assert len(BYTE.encode("<END>")) == 5 and BYTE.special == {} and CHAR.special == {}


def test_the_longest_of_overlapping_special_tokens_wins() -> None:
    tokenizer = BpeTokenizer([], ["<E>", "<E><E>"])
    assert tokenizer.encode("<E><E><E>").tolist() == [257, 256]
