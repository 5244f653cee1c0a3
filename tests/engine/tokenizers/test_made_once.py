"""What takes long to make and never changes is made once."""

from __future__ import annotations

import pytest

from engine.machine import cpu_model
from engine.tokenizers.base import Tokenizer
from engine.tokenizers.bpe import BpeTokenizer, byte_alphabet
from engine.tokenizers.byte import ByteTokenizer
from engine.tokenizers.char import CharTokenizer
from engine.tokenizers.word import WordTokenizer

TEXT = "the cat, the kettle and the cat again\n" * 9
TOKENIZERS = [
    ByteTokenizer(),
    CharTokenizer.train([TEXT]),
    BpeTokenizer.train([TEXT], 270),
    WordTokenizer.train([TEXT], 270),
]


@pytest.mark.parametrize("tokenizer", TOKENIZERS, ids=lambda tokenizer: tokenizer.kind)
def test_of_a_tokenizer(tokenizer: Tokenizer) -> None:
    made = ["byte_lengths", "fingerprint"]
    made += {"bpe": ["backend", "_units"], "word": ["_units"]}.get(tokenizer.kind, [])
    for name in made:
        assert getattr(tokenizer, name) is getattr(tokenizer, name), name


def test_of_the_machine() -> None:
    assert byte_alphabet() is byte_alphabet()
    assert cpu_model() is cpu_model()
