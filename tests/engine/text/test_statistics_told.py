"""What is told while a text is counted, and of a text that has nothing to count."""

from __future__ import annotations

import random
import zlib
from pathlib import Path
from typing import Any

import pytest

from engine.text import statistics
from engine.text.corpus import Text


def text_of(folder: Path, content: str) -> Text:
    path = folder / "text.txt"
    path.write_text(content, encoding="utf-8")
    return Text(path, len(content.encode()), "0" * 64)


def test_a_text_of_nothing_has_statistics(tmp_path: Path) -> None:
    found = statistics.statistics(text_of(tmp_path, ""))
    assert found is not None
    assert found.n_bytes == 0 and found.gzip_bits_per_byte >= 0


@pytest.mark.parametrize("blocks", [1, 3])
def test_counting_says_how_far_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, blocks: int) -> None:
    text = text_of(tmp_path, "aabbbc\n" * 100)
    monkeypatch.setattr(statistics, "BLOCK", -(-700 // blocks))
    told: list[tuple[str, float]] = []

    def tell(what: str, share: float) -> None:
        told.append((what, share))

    assert statistics.statistics(text, 0.1, tell) is not None
    shares = [share for what, share in told if what == "counting"]
    assert shares == sorted(shares) and 0 < shares[0] <= shares[-1] == 1 and len(shares) >= blocks


def test_compression_is_at_the_levels_that_are_told() -> None:
    """gzip's and zstd's own where nothing is said of it are 6 and 3; texts are packed with 6 and 9."""
    rng = random.Random(3)
    words = ["".join(rng.choices("abcdefgh", k=rng.randrange(2, 7))) for _ in range(300)]
    data = " ".join(rng.choices(words, [1 / (i + 1) for i in range(300)], k=2000)).encode()
    zstandard = pytest.importorskip("zstandard")

    def size(machine: Any) -> int:
        return len(machine.compress(data)) + len(machine.flush())

    zstd = [size(zstandard.ZstdCompressor(level=level).compressobj()) for level in (8, 9, 10)]
    gzip = [size(zlib.compressobj(level, wbits=31)) for level in (5, 6, 7)]
    assert len(set(zstd)) == len(set(gzip)) == 3, "a level more or less shows"
    packed = statistics._Compressed()
    for at in range(0, len(data), 1000):
        packed.feed(data[at : at + 1000])
    assert packed.bits_per_byte(4) == (2.0 * gzip[1], 2.0 * zstd[1])
    empty = statistics._Compressed().bits_per_byte(0)
    assert empty[0] == 8 * len(zlib.compressobj(6, wbits=31).flush())
