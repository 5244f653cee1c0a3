"""Places and shares that are told of a text, to the byte."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.errors import CorpusError
from engine.text.magic import HEAD
from engine.text.source import Source
from engine.text.utf8 import utf8


def told(blocks: list[bytes]) -> str:
    with pytest.raises(CorpusError) as error:
        list(utf8(iter(blocks), "tale.txt"))
    return str(error.value)


@pytest.mark.parametrize("coded", ["utf-16-le", "utf-16-be", "utf-32-le", "utf-32-be"])
def test_a_nul_of_wide_text_is_told_with_its_block(coded: str) -> None:
    head = ("\ufeff" + "x" * HEAD).encode(coded)
    bad, good = "ab\0".encode(coded), "ab".encode(coded)
    assert told([head, good, bad]).endswith(f"a NUL byte at offset {len(head) + len(good):,}")
    assert told([head + bad]).endswith("a NUL byte at offset 0")


def test_a_nul_of_narrow_text_is_told_with_its_byte() -> None:
    for mark in (b"", b"\xef\xbb\xbf"):
        head = mark + b"x" * HEAD
        assert told([head, b"ab", b"c\0"]).endswith(f"a NUL byte at offset {len(head) + 3:,}")
        assert told([head + b"ab\0"]).endswith(f"a NUL byte at offset {len(head) + 2:,}")


def test_how_much_was_read_is_a_share(tmp_path: Path) -> None:
    (tmp_path / "texts").mkdir()
    for name in ("a", "b"):
        (tmp_path / "texts" / f"{name}.txt").write_text("four")
    with Source(tmp_path / "texts") as source:
        shares = []
        for done in (0, 2, 8, 9):
            source.done = done
            shares.append(source.fraction)
        assert shares == [0.0, 0.25, 1.0, 1.0]
        source.at(source.parts[1], 0.5)
        assert source.done == 6
        source.n_bytes = 0
        assert source.fraction == 1.0
        source.done = 0
        assert source.fraction == 0.0


def test_checking_says_how_far_it_is(tmp_path: Path) -> None:
    (tmp_path / "texts").mkdir()
    for name in ("a", "b"):
        (tmp_path / "texts" / f"{name}.txt").write_text("four")
    shares: list[float] = []
    with Source(tmp_path / "texts") as source:
        source.digest(lambda what, share: shares.append(share))
        assert shares == [0.5, 1.0]
        source.n_bytes = 0
        source.digest(lambda what, share: shares.append(share))
        assert shares[2:] == [1.0, 1.0]
