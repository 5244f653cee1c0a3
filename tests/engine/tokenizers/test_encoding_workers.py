"""When other processes help to encode, and what a text's sums and memory rest on at their bounds."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

from engine.text.corpus import Text
from engine.tokenizers import encoding, learning, shards
from engine.tokenizers.byte import ByteTokenizer
from engine.tokenizers.char import CharTokenizer
from engine.tokenizers.encoding import LEAST, MOST_WORKERS, encode_stream
from engine.tokenizers.shards import Mapped, checksum
from engine.tokenizers.table import tokenizer_class


def text_of(path: Path, content: bytes) -> Text:
    path.write_bytes(content)
    return Text(path, len(content), "0" * 64)


@pytest.mark.parametrize(
    ("kind", "size", "cores", "helpers"),
    [
        ("word", LEAST, 3, 3),
        ("bpe", LEAST, 3, 3),
        ("word", LEAST - 1, 3, 1),
        ("word", LEAST, 1, 1),
        ("word", LEAST, 64, MOST_WORKERS),
        ("char", 100 * LEAST, 3, 1),
        ("byte", 100 * LEAST, 3, 1),
    ],
)
def test_as_many_help_as_there_are_cores_where_it_pays(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, kind: str, size: int, cores: int, helpers: int
) -> None:
    asked: list[int] = []

    def by_workers(tokenizer: object, text: object, start: int, end: int, workers: int) -> Iterator[Any]:
        asked.append(workers)
        return iter(())

    monkeypatch.setattr(encoding, "_by_workers", by_workers)
    monkeypatch.setattr(encoding, "usable_threads", lambda: cores)
    tokenizer = cast(
        Any, SimpleNamespace(quick=tokenizer_class(kind).quick, encode=lambda chunk: np.zeros(len(chunk), np.uint8))
    )
    monkeypatch.setattr(Text, "chunks", lambda *_: iter(()))
    list(encode_stream(tokenizer, text_of(tmp_path / "text", b"word"), 7, 7 + size))
    assert asked == ([helpers] if helpers > 1 else [])


def test_progress_counts_bytes_of_any_character(tmp_path: Path) -> None:
    text = text_of(tmp_path / "text", "aéz€😀\n".encode() * 3)
    parts = list(encode_stream(CharTokenizer("\naz€é😀"), text, 0, text.n_bytes))
    assert sum(len(ids) for ids, _ in parts) == 18
    assert parts[-1][1] == text.n_bytes and all(before[1] < after[1] for before, after in pairwise(parts))


# -- sums and samples --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [0, 1, 7, 8, 9, 31, 32])
def test_a_small_file_is_summed_whole(tmp_path: Path, size: int) -> None:
    data = bytes(range(100, 100 + size))
    (tmp_path / "file").write_bytes(data)
    assert checksum(tmp_path / "file", 8, 4) == zlib.crc32(data, zlib.crc32(str(size).encode()))


@pytest.mark.parametrize("size", [33, 40, 101])
def test_a_large_file_is_summed_by_blocks_from_its_first_to_its_last_byte(tmp_path: Path, size: int) -> None:
    data = bytes(range(size))
    (tmp_path / "file").write_bytes(data)
    crc = zlib.crc32(str(size).encode())
    for place in (0, (size - 8) // 3, (size - 8) * 2 // 3, size - 8):
        crc = zlib.crc32(data[place : place + 8], crc)
    assert checksum(tmp_path / "file", 8, 4) == crc


def test_pages_are_given_back_when_as_many_were_read_as_may_stay(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(shards, "_RESIDENT", 1000)
    monkeypatch.setattr(shards, "_AROUND", 40)
    path = tmp_path / "ids"
    given: list[int] = []

    class Map:
        def madvise(self, advice: int) -> None:
            given.append(advice)

    def opened(n_bytes: int) -> Mapped:
        path.write_bytes(bytes(n_bytes))
        file = Mapped(path, np.dtype("u1"), 0)
        assert file.size == n_bytes and len(file.ids) == n_bytes
        file._map = Map()  # type: ignore[assignment]
        return file

    small = opened(1000)
    small.touched(100, 100)
    assert given == []
    large = opened(1001)
    for _ in range(2):
        before = len(given)
        large.touched(9, 71)  # 9 x (71 + 40) = 999
        assert len(given) == before
        large.touched(1, 0)
        assert given[before:] == [shards.mmap.MADV_DONTNEED]
    large.touched(4, 210)  # 4 x 250: as many as may stay
    assert len(given) == 3


def test_a_sample_of_a_large_text_begins_with_its_first_and_ends_with_its_last_character(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(learning, "MOST", 40)
    monkeypatch.setattr(learning, "_BLOCKS", 4)
    content = "".join(chr(0x4E00 + i) for i in range(50))  # three bytes each
    text = text_of(tmp_path / "text", content.encode())
    blocks = list(learning.sampled(text, text.n_bytes, 1000))
    assert len(blocks) == 4 and blocks[0] == content[:3] and blocks[-1] == content[46:49]
    assert all(block in content for block in blocks)
    starts = [content.index(block) for block in blocks]
    assert starts == [place // 3 for place in (0, 140 // 3, 280 // 3, 140)]
    whole = text_of(tmp_path / "whole", b"x" * 40)
    assert list(learning.sampled(whole, 40, 1000)) == ["x" * 40]


def test_a_sample_of_a_large_text_is_of_64_places(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The same text gives the same vocabulary in every version."""
    monkeypatch.setattr(learning, "MOST", 128)
    assert list(learning.sampled(text_of(tmp_path / "text", b"x" * 150), 150, 1000)) == ["xx"] * 64


def test_a_character_begins_where_its_first_byte_is(tmp_path: Path) -> None:
    content = "aé€😀b"
    text = text_of(tmp_path / "text", content.encode())
    begins = [len(content[:i].encode()) for i in range(len(content))]
    for offset in range(text.n_bytes):
        assert text.character_start(offset) == max(begin for begin in begins if begin <= offset)
    assert text.character_start(text.n_bytes) == text.n_bytes
    assert text.character_start(text.n_bytes + 5) == text.n_bytes


def test_a_byte_that_begins_nothing_is_no_endless_search(tmp_path: Path) -> None:
    text = text_of(tmp_path / "text", b"\x80\x80\x80\x80")
    assert text.character_start(0) == 0


def test_bytes_are_their_own_ids(tmp_path: Path) -> None:
    text = text_of(tmp_path / "text", "é\n".encode())
    parts = list(encode_stream(ByteTokenizer(), text, 0, text.n_bytes))
    assert np.concatenate([ids for ids, _ in parts]).tolist() == [0xC3, 0xA9, 10] and parts[-1][1] == 3
