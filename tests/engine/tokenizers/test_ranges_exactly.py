"""Ranges of a text by themselves, in blocks of any size: the same characters, the same documents, the same offsets."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest

from engine.errors import CorpusError
from engine.text import source
from engine.text.source import Part, raw
from engine.text.utf8 import characters, decoded, without_bom
from engine.tokenizers import documents
from engine.tokenizers.documents import between_marks

TEXT = "aé€\x7f😀À\x7fÿb€"  # characters to both sides of those bytes that go on with one, and their edges
DATA = TEXT.encode()
BEGINS = [len(TEXT[:i].encode()) for i in range(len(TEXT))]


def blocks(data: bytes, size: int, first: int = 0) -> Iterator[bytes]:
    return (data[at : at + size] for at in range(first, len(data), size))


@pytest.mark.parametrize("size", [1, 2, 3, 5, 100])
def test_a_range_has_the_characters_that_begin_in_it(size: int) -> None:
    for start in range(len(DATA) + 1):
        for end in [*range(start, len(DATA) + 1), None]:
            wanted = "".join(
                char for char, at in zip(TEXT, BEGINS, strict=True) if at >= start and (end is None or at < end)
            )
            for first in {0, start, max(0, start - 2)}:
                found = list(characters(blocks(DATA, size, first), start, end, first, "text"))
                assert "".join(found) == wanted and all(found), (start, end, first)


def test_no_more_is_read_than_a_range_needs() -> None:
    read: list[int] = []

    def noted() -> Iterator[bytes]:
        for number in range(9):
            read.append(number)
            yield b"xy"

    assert "".join(characters(noted(), 3, 6, 0, "text")) == "yxy" and read == [0, 1, 2, 3]


@pytest.mark.parametrize("size", [1, 2, 3, 100])
@pytest.mark.parametrize(("wrong", "says"), [(b"\xff", "byte 0xff at offset"), (b"\0", "a NUL byte at offset")])
def test_what_is_no_text_is_told_with_its_place(wrong: bytes, says: str, size: int) -> None:
    for at in BEGINS:
        data = DATA[:at] + wrong + DATA[at:]
        for start in (begin for begin in BEGINS if begin <= at):
            with pytest.raises(CorpusError, match=rf"^tale\.txt .*{says} {at}\b"):
                list(characters(blocks(data, size, start), start, None, start, "tale.txt"))
        with pytest.raises(CorpusError, match=rf"^tale\.txt .*{says} {at + 70}\b"):
            decoded(data, 70, "tale.txt")
    with pytest.raises(CorpusError, match=r"byte 0xe2 at offset 3\b"):  # a character that is cut off
        list(characters(blocks(DATA[:4], size), 0, None, 0, "tale.txt"))
    with pytest.raises(CorpusError, match=r"offset 10,003;|offset 10,003$"):
        decoded(b"abc" + wrong, 10_000, "tale.txt")


def test_a_mark_of_byte_order_is_one_at_the_beginning_alone() -> None:
    assert decoded("\ufeffa\ufeff".encode(), 0, "") == "a\ufeff"
    assert decoded("\ufeffa".encode(), 1, "") == "\ufeffa"
    assert list(without_bom(iter(["\ufeffa", "\ufeffb"]))) == ["a", "\ufeffb"]
    assert "".join(without_bom(iter([]))) == ""


def test_bytes_are_read_from_so_many_before_a_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "text"
    path.write_bytes(b"0123456789")
    part = Part("text", "text", "text", 10, path)
    assert [b"".join(raw(part, start, before)) for start, before in ((0, 0), (0, 3), (2, 3), (4, 3))] == [
        b"0123456789", b"0123456789", b"0123456789", b"123456789",
    ]  # fmt: skip
    assert b"".join(raw(part, 4)) == b"456789"
    monkeypatch.setattr(source, "BLOCK", 4)
    assert list(raw(part, 1)) == [b"1234", b"5678", b"9"]


def in_plain_words(data: bytes, mark: bytes) -> list[tuple[bytes, int]]:
    """All documents and their places: a mark that overlaps the next one ends nothing."""
    found = [match.start() for match in re.finditer(b"(?=" + re.escape(mark) + b")", data)]
    ends = [at + len(mark) for at, after in pairwise([*found, len(data) + len(mark)]) if after >= at + len(mark)]
    edges = [0, *ends, *([len(data)] if not ends or ends[-1] < len(data) else [])]
    return [(data[low:high], low) for low, high in pairwise(edges) if low < high]


TEXTS = (
    b"",
    b"x",
    b"\n\n",
    b"a\n\nb\n\n\nc\n\n\n\n\nd",
    b"\n\n\n\na\n\n",
    b"abaxababaxyabaaba",
    b"ab--c----d--",
    b"-" * 7,
)


@pytest.mark.parametrize("mark", [b"\n\n", b"aba", b"--", b"-", b"ax"])
@pytest.mark.parametrize("data", TEXTS)
def test_documents_of_a_range_are_those_that_begin_in_it(data: bytes, mark: bytes) -> None:
    whole = in_plain_words(data, mark)
    for size in (1, 2, 3, 4, 100):
        for start in range(len(data) + 1):
            first = max(0, start - len(mark))
            for end in [*range(start + 1, len(data) + 1), None]:
                found = list(between_marks(blocks(data, size, first), mark, start, end, "text"))
                assert found == [(each, at) for each, at in whole if at >= start and (end is None or at < end)]


def test_a_document_has_a_bound_and_the_mark_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(documents, "LONGEST", 10)
    data = b"a" * 32 + b"<END>" + b"b" * 30 + b"<END>"  # with what could be another mark over it 41 bytes
    assert len(list(between_marks(blocks(data, 1), b"<END>", 0, None, "tale"))) == 2
    with pytest.raises(CorpusError, match=r"^tale: no '<END>' for over 10 characters; is that what ends a document\?$"):
        list(between_marks(blocks(b"a" + data, 1), b"<END>", 0, None, "tale"))
    assert list(between_marks(blocks(b"--" + b"a" * 99 + b"--b", 1, 48), b"--", 50, None, "tale")) == [(b"b", 103)]
