"""Where a large file is cut: at the first place behind another that may be one, whatever lies between."""

from __future__ import annotations

import io

import pytest

from engine.tokenizers import cutting
from engine.tokenizers.cutting import cut_after

WINDOW = 1 << 16  # bytes read at a time


@pytest.mark.parametrize("at", [1, 5, WINDOW - 1, WINDOW, WINDOW + 1, 2 * WINDOW - 1, 2 * WINDOW, 3 * WINDOW + 17])
@pytest.mark.parametrize("place", [0, 7])
def test_the_first_space_behind_a_word_is_found(at: int, place: int) -> None:
    text = b"  " + b"x" * (place + at - 2) + b" y  z" if place + at > 2 else b"x" * (place + at) + b" y  z"
    assert cut_after(io.BytesIO(text), place, len(text)) == place + at
    assert cut_after(io.BytesIO(b"-" * 50 + text), 50 + place, 50 + len(text)) == 50 + place + at


@pytest.mark.parametrize("character", ["a", "é", "€", "😀", "À", "ÿ", "\x7f"])
@pytest.mark.parametrize("before", range(WINDOW - 5, WINDOW + 2))
def test_it_is_found_behind_a_character_that_lies_over_an_edge(before: int, character: str) -> None:
    text = b"x" * before + character.encode()
    assert cut_after(io.BytesIO(text + b" y"), 0, len(text) + 2) == len(text)


def test_where_none_is_a_text_is_cut_at_its_end_or_between_characters(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cutting, "HELD", 8)
    text = "€€€€€".encode()
    assert [cut_after(io.BytesIO(text), place, 15) for place in range(16)] == [0, 3, 3, 3, 6, 6, 6, *[15] * 9]
    text = "€".encode() * WINDOW + b" y"
    for place in range(5):
        assert cut_after(io.BytesIO(text), place, len(text)) == (place + 2) // 3 * 3  # no further is looked
    assert cut_after(io.BytesIO(text), len(text) - WINDOW, len(text)) == len(text) - 2
    monkeypatch.setattr(cutting, "HELD", WINDOW + 1)
    assert cut_after(io.BytesIO(text), len(text) - WINDOW - 20, len(text)) == len(text) - 2
