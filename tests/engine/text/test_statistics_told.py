"""What is told while a text is counted, and of a text that has nothing to count."""

from __future__ import annotations

from pathlib import Path

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
