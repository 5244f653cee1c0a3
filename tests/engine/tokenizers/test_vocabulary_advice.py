"""A vocabulary that is too small is refused with a size that is large enough."""

from __future__ import annotations

import re

import pytest

from engine.errors import TokenizerError
from engine.tokenizers.base import Tokenizer
from engine.tokenizers.bpe import BpeTokenizer
from engine.tokenizers.word import WordTokenizer


@pytest.mark.parametrize(("kind", "advised"), [(BpeTokenizer, 512), (WordTokenizer, 1024)])
@pytest.mark.parametrize("marks", [0, 1, 1000])
def test_what_is_advised_is_enough(kind: type[BpeTokenizer] | type[WordTokenizer], advised: int, marks: int) -> None:
    special = [f"<{number}>" for number in range(marks)]
    with pytest.raises(TokenizerError) as caught:
        kind.train(["a text"], 200, special)
    least, enough = map(int, re.findall(r"\d+", str(caught.value).replace(",", "")))
    assert least == 256 + marks and enough == max(advised, least)
    with pytest.raises(TokenizerError):
        kind.train(["a text"], least - 1, special)
    tokenizer: Tokenizer = kind.train(["a text"], least, special)
    assert tokenizer.vocab_size == least
