"""Small things about texts: where a book begins, what a sample is one in, what is held of a long piece."""

from __future__ import annotations

import zlib
from pathlib import Path

import numpy as np
import pytest

from engine.text import fetch, tally
from engine.text.tally import Lookup, Pieces
from engine.tokenizers import cache
from engine.tokenizers.gpt2 import read_merges
from engine.tokenizers.shards import checksum

START, END = "*** START OF THE PROJECT GUTENBERG EBOOK X ***\n", "*** END OF THE PROJECT GUTENBERG EBOOK X ***\n"


@pytest.mark.parametrize(
    ("line", "start", "end"),
    [
        (START, True, False),
        (END, False, True),
        (START.lower(), True, False),
        ("***START OF THIS PROJECT GUTENBERG EBOOK***\n", True, False),
        ("*** START OF THE CHAPTER ***\n", False, False),
        ("*** Gutenberg printed it ***\n", False, False),
        ("START OF THE PROJECT GUTENBERG EBOOK\n", False, False),
        ("*** THE START OF THE PROJECT GUTENBERG EBOOK\n", False, False),
        ("***\n", False, False),
    ],
)
def test_a_book_lies_between_its_marks_alone(tmp_path: Path, line: str, start: bool, end: bool) -> None:
    assert (fetch._marks(line, "START"), fetch._marks(line, "END")) == (start, end)
    (tmp_path / "a.txt").write_text("Title: A\nTitle: B\n" + START + "\n\none\n\n\ntwo\n" + line + "three\n" + END)
    assert fetch.cut_gutenberg(tmp_path / "a.txt", tmp_path / "b.txt") == "A"
    assert (tmp_path / "b.txt").read_text() == "one\n\n\ntwo\n" + ("" if end else line + "three\n")


def test_a_title_stands_before_the_book(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("x\ntitle:  Two words \n" + START + "Title: in it\n" + END)
    assert fetch.cut_gutenberg(tmp_path / "a.txt", tmp_path / "b.txt") == "Two words"
    assert (tmp_path / "b.txt").read_text() == "Title: in it\n"
    (tmp_path / "a.txt").write_text(START + "Title: in it\n" + END)
    assert fetch.cut_gutenberg(tmp_path / "a.txt", tmp_path / "b.txt") == ""


@pytest.mark.parametrize("of", [10, 100, 1000, 5000])
def test_a_sample_says_one_in_how_many_it_is(of: int) -> None:
    hashes = np.arange(of, dtype=np.int64)
    lookup = Lookup(10)
    lookup.want(hashes)
    lookup.see(hashes[: of // 2])
    told = lookup.told()
    held = len(range(0, of, told.one_in))
    assert told.count == of and held <= 10 and (told.one_in == 1 or len(range(0, of, told.one_in // 2)) > 10)
    assert told.share == len(range(0, of // 2, told.one_in)) / held


@pytest.mark.parametrize("mark", ["\n", "\n\n", "<end>"])
def test_of_a_piece_without_an_end_little_is_held(monkeypatch: pytest.MonkeyPatch, mark: str) -> None:
    monkeypatch.setattr(tally, "LONGEST", 100)
    pieces = Pieces(mark)
    for length in (99, 1, 1, 5000, 3, 77):
        assert pieces.feed("x" * length) == ([], [])
        assert len(pieces._rest) + len(pieces._head) <= 200
    assert pieces.feed(mark + "y") == (["x" * 100], [5181])
    assert pieces.end() == ("y", 1)


@pytest.mark.parametrize("over", [-1, 0, 1, 70_000])
def test_a_checksum_is_of_all_of_32_mib_and_of_512_places_of_more(tmp_path: Path, over: int) -> None:
    size, part = (32 << 20) + over, 1 << 16
    path = tmp_path / "a"
    with path.open("wb") as file:
        file.truncate(size)
        for place in (7, size // 3, size - 1):
            file.seek(place)
            file.write(b"x")
    data = path.read_bytes()
    places = [(size - part) * i // 511 for i in range(512)] if over > 0 else range(0, size, part)
    crc = zlib.crc32(str(size).encode())
    for place in places:
        crc = zlib.crc32(data[place : place + part], crc)
    assert checksum(path, **cache._SAMPLE) == crc


def test_the_bytes_of_gpt2_come_in_its_order(tmp_path: Path) -> None:
    """Printable ones first, as OpenAI's encoder.py lists them."""
    (tmp_path / "vocab.bpe").write_text("#version: 0.2\na b\n", encoding="utf-8")
    printable = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    others = [byte for byte in range(256) if byte not in printable]
    assert read_merges(tmp_path / "vocab.bpe") == [bytes([byte]) for byte in (*printable, *others)] + [b"ab"]
    (tmp_path / "vocab.bpe").write_text("a b\n", encoding="utf-8")
    assert read_merges(tmp_path / "vocab.bpe")[256:] == [b"ab"]
