"""How long the list of an archive's members is, read where the format says it stands."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import pytest

from engine.errors import CorpusError
from engine.text.source import _directory_bytes


def end(length: int, comment: bytes = b"") -> bytes:
    counts = bytes(8)
    return (
        b"PK\x05\x06" + counts + length.to_bytes(4, "little") + bytes(4) + len(comment).to_bytes(2, "little") + comment
    )


def end_of_64_bits(length: int, place: int, mark: bytes = b"PK\x06\x07") -> tuple[bytes, bytes]:
    """The record of a 64-bit archive, and what stands before the end and says where the record is."""
    record = b"PK\x06\x06" + b"\xaa" * 36 + length.to_bytes(8, "little") + b"\xbb" * 8
    return record, mark + b"\xff\xff\xff\xff" + place.to_bytes(8, "little") + b"\xee\xee\xee\xee"


def length_of(path: Path, data: bytes) -> int:
    path.write_bytes(data)
    return _directory_bytes(path)


@pytest.mark.parametrize("before", [0, 10, 1 << 16, 1 << 17])
@pytest.mark.parametrize("comment", [b"", b"c" * 0xFFFF])
def test_it_stands_at_the_end(tmp_path: Path, before: int, comment: bytes) -> None:
    assert length_of(tmp_path / "a.zip", b"x" * before + end(12345, comment)) == 12345
    place = before + 7
    record, locator = end_of_64_bits((1 << 40) + 3, place)
    whole = b"x" * place + record + locator + end(0xFFFFFFFF, comment)
    assert length_of(tmp_path / "b.zip", whole) == (1 << 40) + 3
    assert length_of(tmp_path / "c.zip", whole.replace(b"PK\x06\x07", b"PK\x06\x08")) == 0xFFFFFFFF
    far = end_of_64_bits(9, 1 << 62)[1]
    assert length_of(tmp_path / "d.zip", b"x" * place + record + far + end(0xFFFFFFFF, comment)) == 0


def test_what_says_nothing_that_is_understood_is_of_no_length(tmp_path: Path) -> None:
    for data in (b"", b"x" * 99, end(5)[:15], b"x" * (1 << 18)):
        assert length_of(tmp_path / "a.zip", data) == 0
    assert length_of(tmp_path / "a.zip", end(5)[:16]) == 5
    with pytest.raises(CorpusError, match="cannot read"):
        _directory_bytes(tmp_path / "none.zip")


def test_it_is_what_the_library_writes(tmp_path: Path) -> None:
    held = io.BytesIO()
    with zipfile.ZipFile(held, "w") as archive:
        for number in range(5):
            archive.writestr(f"{number}.txt", "text")
        start = archive.fp.tell() if archive.fp else 0
    assert length_of(tmp_path / "a.zip", held.getvalue()) == len(held.getvalue()) - 22 - start
