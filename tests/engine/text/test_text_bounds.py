"""A text cut and streamed as simpler ways do it, at the borders of blocks and bounds."""

from __future__ import annotations

import io
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.errors import CorpusError, TokenizerError
from engine.text import corpus, unpack
from engine.text import scan as scanning
from engine.text.corpus import Text
from engine.text.scan import remembered
from engine.text.unpack import TooMuchError, unpacked
from engine.tokenizers import bpe
from engine.tokenizers.char import CharTokenizer
from engine.tokenizers.cutting import UnitEncoder

CONTENT = st.text(alphabet="ab .\n|é€😀", max_size=80)
BLOCK = 1 << 16


def text_of(path: Path, content: str | bytes, boundary: str | None = None) -> Text:
    data = content.encode() if isinstance(content, str) else content
    path.write_bytes(data)
    return Text(path, len(data), "0" * 64, boundary)


# -- cutting -----------------------------------------------------------------------------------------------------------


def expected_split(data: bytes, mark: bytes, target: int) -> int:
    ends = [at + len(mark) for at in range(len(data)) if data.startswith(mark, at)]
    before = [end for end in ends if end <= target]
    after = [end for end in ends if end > target]
    if before:
        return before[-1]
    if after and after[0] < len(data):
        return after[0]
    while target and 0x80 <= data[target : target + 1][0] <= 0xBF:
        target -= 1
    return target


@given(content=CONTENT.filter(bool), mark=st.sampled_from(["|", "\n\n", "ab|", "é"]), share=st.floats(0.01, 0.99))
def test_a_text_is_split_behind_the_last_whole_record(
    tmp_path_factory: pytest.TempPathFactory, content: str, mark: str, share: float
) -> None:
    data = content.encode()
    text = text_of(tmp_path_factory.mktemp("text") / "text", content, mark)
    assert text.split(share) == expected_split(data, mark.encode(), int((1.0 - share) * len(data)))


@pytest.mark.parametrize("at", [0, 1, *range(BLOCK - 3, BLOCK + 3), *range(2 * BLOCK - 3, 2 * BLOCK + 3)])
@pytest.mark.parametrize("towards", ["end", "beginning"])
def test_a_mark_is_found_on_any_border_of_what_is_read(tmp_path: Path, at: int, towards: str) -> None:
    mark, size = b"<||>", 5 * BLOCK
    target = size // 2
    place = target - at - len(mark) if towards == "beginning" else target + at
    data = b"x" * place + mark + b"x" * (size - place - len(mark))
    assert text_of(tmp_path / "text", data, mark.decode()).split(0.5) == place + len(mark)


@pytest.mark.parametrize("inside", [1, 2, 3])
def test_a_mark_across_the_target_ends_the_record_behind_it(tmp_path: Path, inside: int) -> None:
    data = b"x" * (100 - inside) + b"<||>" + b"x" * (96 + inside)
    assert text_of(tmp_path / "text", data, "<||>").split(0.5) == 104 - inside


def test_a_mark_out_of_reach_is_not_looked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(corpus, "REACH", BLOCK)
    half = 3 * BLOCK
    for place, cut in (
        (half - BLOCK, half - BLOCK + 1),
        (half - BLOCK - 1, half),
        (half + BLOCK // 2, half + BLOCK // 2 + 1),
    ):
        data = bytearray(b"x" * (2 * half))
        data[place : place + 1] = b"|"
        assert text_of(tmp_path / "text", bytes(data), "|").split(0.5) == cut
    far = bytearray(b"x" * (2 * half))
    far[half + 2 * BLOCK : half + 2 * BLOCK + 1] = b"|"
    assert text_of(tmp_path / "text", bytes(far), "|").split(0.5) == half


# -- streaming ---------------------------------------------------------------------------------------------------------


@given(content=CONTENT, size=st.integers(1, 20))
def test_chunks_are_the_text(tmp_path_factory: pytest.TempPathFactory, content: str, size: int) -> None:
    text = text_of(tmp_path_factory.mktemp("text") / "text", content)
    chunks = list(text.chunks(size=size))
    assert "".join(chunks) == content and all(0 < len(chunk.encode()) <= size + 3 for chunk in chunks)
    cuts = [len(content[:i].encode()) for i in range(len(content) + 1)]
    some = cuts[len(cuts) // 3], cuts[2 * len(cuts) // 3]
    assert "".join(text.chunks(*some, size)) == content.encode()[some[0] : some[1]].decode()


def test_a_text_that_changes_while_it_is_read_is_told(tmp_path: Path) -> None:
    text = text_of(tmp_path / "text", "abcdefgh")
    text.path.write_bytes(b"abcdefg")
    with pytest.raises(CorpusError, match="became shorter"):
        list(text.chunks(size=3))
    text.path.write_bytes("abcdefé".encode()[:-1])
    with pytest.raises(CorpusError, match="became shorter"):
        list(text.chunks(size=3))
    text.path.write_bytes(b"abc\xffefgh")
    with pytest.raises(CorpusError, match="changed while it was read"):
        list(text.chunks())
    text.path.unlink()
    with pytest.raises(CorpusError, match="it is not there"):
        list(text.chunks())


@pytest.mark.parametrize(
    ("size", "packed", "whole"), [(100, 1, True), (101, 50, False), (101, 51, True), (103, 51, False)]
)
def test_what_a_file_may_unpack_to_has_a_bound(
    monkeypatch: pytest.MonkeyPatch, size: int, packed: int, whole: bool
) -> None:
    monkeypatch.setattr(unpack, "ALWAYS", 100)
    monkeypatch.setattr(unpack, "TIMES", 2)
    monkeypatch.setattr(unpack, "BLOCK", 7)
    if whole:
        assert b"".join(unpacked(io.BytesIO(b"x" * size), None, "file", packed)) == b"x" * size
    else:
        with pytest.raises(TooMuchError, match=f"file has {packed} bytes and unpacks to more than 10[02], as bombs do"):
            list(unpacked(io.BytesIO(b"x" * size), None, "file", packed))


@pytest.mark.parametrize(
    ("error", "packed", "said"),
    [
        (OSError("Invalid data stream"), "bz2", "file is damaged or cut short (Invalid data stream); get it again"),
        (OSError(5, "Input/output error"), "bz2", "cannot read file: input/output error"),
        (OSError(5, "Input/output error"), None, "cannot read file: input/output error"),
        (EOFError(), "gz", "file is damaged or cut short (its end is missing); get it again"),
        (NotImplementedError("method 99"), "gz", "file cannot be unpacked here (method 99); unpack it yourself"),
    ],
)
def test_every_way_to_fail_is_named(monkeypatch: pytest.MonkeyPatch, error: Exception, packed: Any, said: str) -> None:
    def fails(*_: object) -> Iterator[bytes]:
        yield b"x"
        raise error

    monkeypatch.setattr(unpack, "_blocks", fails)
    with pytest.raises(CorpusError) as caught:
        list(unpacked(io.BytesIO(), packed, "file", 1))
    assert said in str(caught.value)


# -- what is remembered ------------------------------------------------------------------------------------------------


def test_what_changed_a_moment_ago_is_not_remembered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = time.time_ns()
    monkeypatch.setattr(scanning.time, "time_ns", lambda: now)
    looks: list[int] = []

    def find() -> int:
        looks.append(1)
        return len(looks)

    def ask(changed: int, key: object = "state", what: str = "facts") -> Any:
        return remembered(what, tmp_path / "place", key, changed, tmp_path / "cache", find)

    assert [ask(now - 2_000_000_000), ask(now - 2_000_000_000), ask(now - 2_000_000_001)] == [1, 2, 3]
    assert [ask(now), ask(now), ask(now, "another"), ask(now, what="other")] == [3, 3, 4, 5]
    for damaged in (b"", b"[]", b"{}", b'{"file": "state"}', b"\xff"):
        for file in (tmp_path / "cache" / "checked").iterdir():
            file.write_bytes(damaged)
        assert ask(now) == len(looks)


# -- units and words ---------------------------------------------------------------------------------------------------


def test_long_units_and_too_many_are_not_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    from engine.tokenizers import cutting

    asked: list[str] = []

    def encode_all(fresh: list[str]) -> list[list[int]]:
        asked.extend(fresh)
        return [[len(unit)] for unit in fresh]

    encoder = UnitEncoder(encode_all, np.dtype("<u2"))
    for _ in range(2):
        assert encoder("a" * 64 + "\n" + "b" * 65).tolist() == [64, 1, 65]
    assert Counter(asked) == {"a" * 64: 1, "\n": 1, "b" * 65: 2}
    monkeypatch.setattr(cutting, "_MOST", 3)
    asked.clear()
    encoder(" c")  # the third
    encoder("a" * 64 + " c")
    assert asked == [" c"]
    encoder(" d")  # one too many: all are forgotten
    asked.clear()
    assert encoder(" d").tolist() == [2] and asked == [" d"]


@pytest.mark.parametrize("length", [1, 1023, 1024, 1025, 2048, 3000])
def test_a_word_is_handed_over_in_pieces_of_a_thousand_characters(length: int) -> None:
    text = f"a {'x' * length} b"
    pieces = list(bpe._short_words(text))
    assert "".join(pieces) == text and "" not in pieces
    assert max(len(word) for piece in pieces for word in piece.split()) <= 1024
    assert len(pieces) == 1 + length // 1024


@pytest.mark.parametrize(("chars", "problem"), [("", True), ("aa", True), ("ab", False)])
def test_characters_of_a_vocabulary_are_distinct(chars: str, problem: bool) -> None:
    if problem:
        with pytest.raises(ValueError, match="distinct"):
            CharTokenizer(chars)
    else:
        assert CharTokenizer(chars).encode("ba").tolist() == [1, 0]


def test_an_unknown_character_is_shown_with_twenty_to_each_side() -> None:
    before, after = "abcdefghijklmnopqrstuvwxyz", "zyxwvutsrqponmlkjihgfedcba"
    with pytest.raises(TokenizerError) as caught:
        CharTokenizer(before).encode(f"{before}!{after}")
    assert before[6:] in str(caught.value) and before[5:] not in str(caught.value)
    assert after[:20] in str(caught.value) and after[:21] not in str(caught.value)
