"""Small things about tokens: what is said of half a character, which vocabularies are none, what is read of a map."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from engine.config import DataConfig
from engine.errors import TokenizerError
from engine.tokenizers.byte import ByteTokenizer
from engine.tokenizers.char import TYPICAL, CharTokenizer
from engine.tokenizers.dataset import TokenDataset
from engine.tokenizers.gpt2 import SIZE, Gpt2Tokenizer

BYTES = [bytes([byte]) for byte in range(256)]


@pytest.mark.parametrize("half", ["\ud800", "\udabc", "\udfff"])
@pytest.mark.parametrize("before", ["", "a", "é", "\ud7ff", "\ue000", "😀", "<mark>😀"])
def test_the_half_of_a_pair_is_named_whatever_stands_around_it(half: str, before: str) -> None:
    tokenizer = ByteTokenizer()
    with pytest.raises(TokenizerError, match=rf"^U\+{ord(half):04X} .* is half of a surrogate pair"):
        tokenizer.encode(before + half + "\ue000😀")


def test_a_vocabulary_of_gpt2_begins_with_the_bytes_and_has_no_token_twice() -> None:
    assert Gpt2Tokenizer([*BYTES, b"ab"]).vocab_size == 258
    for wrong in ([*BYTES, b"ab", b"ab"], [*BYTES, b"a"], [b"ab", *BYTES], [b"", *BYTES], [*BYTES[:255], b"ab", b"cd"]):
        with pytest.raises(ValueError, match="begins with the 256 bytes and has no token twice"):
            Gpt2Tokenizer(wrong)
    assert Gpt2Tokenizer.expected_vocab(DataConfig()) == Gpt2Tokenizer.least_vocab == SIZE + 1 == 50_257


def test_a_vocabulary_of_characters_is_expected_with_its_mark() -> None:
    expected = {
        unknown: CharTokenizer.expected_vocab(DataConfig.model_validate({"unknown": unknown}))
        for unknown in ("error", "skip", "unk")
    }
    assert expected == {"error": TYPICAL, "skip": TYPICAL, "unk": TYPICAL + 1}


class Noted:
    """Stands for a mapped file, and notes what it is told of."""

    def __init__(self) -> None:
        self.told: list[tuple[int, int]] = []

    def touched(self, rows: int, tokens: int) -> None:
        self.told.append((rows, tokens))


def test_what_is_read_of_a_map_is_told_to_it() -> None:
    """Rows and the tokens of each, the target after the last included: pages are given back by these."""
    ids = np.arange(100, dtype=np.uint16) % 50
    maps: Any = (Noted(), Noted())
    data = replace(TokenDataset(ids, ids[:31], ByteTokenizer(), 99, 30, ""), _maps=maps)
    data.batch(1, 0, 3, 8)
    assert maps[0].told == [(3, 9)] and maps[1].told == []
    assert len(list(data.val_batches(8, 2))) == 3
    assert maps[0].told == [(3, 9)] and maps[1].told == [(1, 18), (1, 9), (1, 7)]
