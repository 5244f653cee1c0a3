"""The figures in what is said are those of the matter."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from engine.errors import CorpusError, TokenizerError
from engine.sampling.generate import _checked
from engine.text import tables
from engine.text.render import pieces
from engine.text.source import Source
from engine.text.tables import Recipe
from engine.tokenizers.byte import ByteTokenizer
from engine.tokenizers.char import CharTokenizer
from engine.tokenizers.dataset import TokenDataset


@pytest.mark.parametrize("pictures", [1, 4, 5, 9])
@pytest.mark.parametrize("hidden", [0, 1, 3])
def test_of_a_folder_four_are_named_and_the_others_counted(tmp_path: Path, pictures: int, hidden: int) -> None:
    (tmp_path / "a.txt").write_text("a")
    for number in range(pictures):
        (tmp_path / f"p{number}.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    for number in range(hidden):
        (tmp_path / f".h{number}").write_text("a")
    with Source(tmp_path) as source:
        assert b"".join(filter(None, pieces(source, Recipe(), Counter()))) == b"a"
        said = source.left_out({})
    named = [f"p{number}.png (a PNG image)" for number in range(min(4, pictures))]
    more = [f"{pictures - 4} more"] if pictures > 4 else []
    assert said == ", ".join([*named, *more, *([f"{hidden} hidden"] if hidden else [])])


@pytest.mark.parametrize(
    ("names", "said"),
    [
        ([], "(none)"),
        (["a", "b" * 40, "c" * 41], f"a, {'b' * 40}, {'c' * 40}..."),
        ([f"n{number}" for number in range(12)], ", ".join(f"n{number}" for number in range(12))),
        ([f"n{number}" for number in range(13)], ", ".join(f"n{number}" for number in range(12)) + ", 1 more"),
        ([f"n{number}" for number in range(5012)], ", ".join(f"n{number}" for number in range(12)) + ", 5,000 more"),
    ],
)
def test_of_columns_twelve_are_named_and_the_others_counted(names: list[str], said: str) -> None:
    assert tables._names(names) == said


@pytest.mark.parametrize("vocab", [3, 4, 7, 256])
def test_a_token_that_there_is_not_is_told_with_those_there_are(vocab: int) -> None:
    tokenizer = CharTokenizer("".join(map(chr, range(0x100, 0x100 + vocab))))
    assert (_checked(0, tokenizer), _checked(vocab - 1, tokenizer)) == (0, vocab - 1)
    for token in (-1, vocab):
        with pytest.raises(TokenizerError, match=f"^no token {token}; the vocabulary has 0 to {vocab - 1}$"):
            _checked(token, tokenizer)
        with pytest.raises(TokenizerError, match=f"^there is no token {token} in a vocabulary of {vocab}$"):
            tokenizer.token_bytes(token)
        with pytest.raises(TokenizerError, match=f"^there is no token {token} in"):
            tokenizer.decode([0, token, 0])


@pytest.mark.parametrize(("train", "val"), [(9, 9), (8, 9), (9, 8), (3, 9), (9, 2), (2, 1)])
def test_a_split_that_is_too_short_is_told_with_what_would_do(train: int, val: int) -> None:
    ids = np.zeros(20, np.uint16)
    data = replace(TokenDataset(ids, ids, ByteTokenizer(), 1), train=ids[:train], val=ids[:val])
    if train == val == 9:
        data.check(8)
        return
    name, length = ("training", train) if train < 9 else ("validation", val)
    longer = "a longer text" + ("" if train < 9 else ", a larger --set data.val_fraction")
    shorter = f", or --set model.block_size={length - 1} or less" if length > 2 else ""
    with pytest.raises(CorpusError) as caught:
        data.check(8)
    assert str(caught.value) == (
        f"the {name} split has {length} tokens, and a context of 8 needs 9; use {longer}{shorter}"
    )
