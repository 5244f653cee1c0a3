from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from engine.errors import TokenizerError
from engine.inspect.vocabulary import cut, merges_of, neighbours
from engine.tokenizers.base import Tokenizer
from engine.tokenizers.bpe import BpeTokenizer, byte_names
from engine.tokenizers.byte import ByteTokenizer
from engine.tokenizers.char import CharTokenizer
from engine.tokenizers.gpt2 import Gpt2Tokenizer
from engine.tokenizers.imported import ImportedTokenizer
from engine.tokenizers.word import WordTokenizer

from .conftest import VOCAB, MakeModel

TEXT = "the thin cat thinks that the theatre is in the théâtre <END> " * 8
BPE = BpeTokenizer.train([TEXT], 330, ["<END>"])
ORDINARY = [BPE.token_bytes(id) for id in range(BPE.vocab_size - 1)]
# the same tokens under other numbers, the special one in the middle
TURNED = ImportedTokenizer(
    [*byte_names(ORDINARY[::-1][:50]), "<END>", *byte_names(ORDINARY[::-1][50:])],
    [],
    ["<END>"],
)
PLACE = {data: id for id, data in enumerate(TURNED.token_bytes(id) for id in range(TURNED.vocab_size))}
IMPORTED = ImportedTokenizer(
    TURNED.names, [(PLACE[BPE.token_bytes(a)], PLACE[BPE.token_bytes(b)]) for a, b in BPE.merges], ["<END>"]
)
RANKED = Gpt2Tokenizer([bytes([byte]) for byte in range(256)] + [b"th", b"the", b" th", b"in"])


@pytest.mark.parametrize("tokenizer", [BPE, IMPORTED], ids=lambda each: each.kind)
def test_merges_lead_from_bytes_to_every_token(tokenizer: BpeTokenizer | ImportedTokenizer) -> None:
    merged = 0
    for id in range(tokenizer.vocab_size):
        steps = merges_of(tokenizer, id)
        if len(tokenizer.token_bytes(id)) == 1 or id in tokenizer.special.values():
            assert steps == ()
            continue
        merged += 1
        assert steps[-1].made == id and len(steps) == len(tokenizer.token_bytes(id)) - 1
        for step in steps:
            assert tokenizer.merges[step.rank] == (step.left, step.right)
            made = tokenizer.token_bytes(step.left) + tokenizer.token_bytes(step.right)
            assert tokenizer.token_bytes(step.made) == made
    assert merged > 20


def test_gpt2_merges_what_makes_a_token() -> None:
    steps = merges_of(RANKED, 257)
    assert [(RANKED.token_bytes(s.left), RANKED.token_bytes(s.right), s.made, s.rank) for s in steps] == [
        (b"t", b"h", 256, 256),
        (b"th", b"e", 257, 257),
    ]
    assert merges_of(RANKED, RANKED.special["<|endoftext|>"]) == ()


def test_who_does_not_merge_has_no_merges_and_no_token_is_an_error() -> None:
    for tokenizer in (ByteTokenizer(), CharTokenizer("ab é"), WordTokenizer("é", ["the"], ["<END>"])):
        assert [merges_of(tokenizer, id) for id in range(tokenizer.vocab_size)] == [()] * tokenizer.vocab_size
    for tokenizer in (BPE, ByteTokenizer()):
        with pytest.raises(TokenizerError, match="there is no token 5000"):
            merges_of(tokenizer, 5000)


@given(st.text(alphabet="the inaé<END>\n", max_size=60))
def test_bounds_are_those_of_the_text(text: str) -> None:
    for tokenizer in (BPE, IMPORTED, ByteTokenizer(), WordTokenizer("é", ["the"], ["<END>"])):
        found, data = cut(tokenizer, text), text.encode()
        assert found.bounds[0] == 0 and found.bounds[-1] == len(data) and len(found.bounds) == len(found.ids) + 1
        for id, start, end in zip(found.ids.tolist(), found.bounds[:-1], found.bounds[1:], strict=True):
            assert data[start:end] == tokenizer.token_bytes(id)
        assert sum(count for _, count in found.counts) == len(found.ids)
        assert len(found.ids) == 0 or found.bytes_per_token == len(data) / len(found.ids)


def test_counts_begin_with_the_most_frequent() -> None:
    tokenizer: Tokenizer = CharTokenizer("abc")
    assert cut(tokenizer, "bacbb").counts == [(1, 3), (0, 1), (2, 1)]
    assert cut(tokenizer, np.array([2, 2])).counts == [(2, 2)]
    assert math.isnan(cut(tokenizer, "").bytes_per_token) and cut(tokenizer, "").counts == []


def test_neighbours_point_the_same_way(make: MakeModel) -> None:
    model = make("grouped")  # its table has rows that only pad
    table = model.wte.weight.detach()[:VOCAB]
    expected = torch.cosine_similarity(table[4:5], table, dim=1)
    found = neighbours(model, 4, 50)
    assert len(found) == VOCAB - 1 and 4 not in {each.id for each in found}
    assert [each.similarity for each in found] == sorted((each.similarity for each in found), reverse=True)
    for each in found:
        assert each.similarity == pytest.approx(expected[each.id].item(), abs=1e-5)
    assert neighbours(model, 4, 3) == found[:3]
    with pytest.raises(TokenizerError, match="no token 23"):
        neighbours(model, VOCAB)


def test_a_token_that_was_never_seen_is_like_none(make: MakeModel) -> None:
    model = make()
    with torch.no_grad():
        model.wte.weight[7] = 0
        model.wte.weight[9] = 3 * model.wte.weight[8]
    assert {each.similarity for each in neighbours(model, 7)} == {0.0}
    first = neighbours(model, 8)[0]
    assert (first.id, first.similarity) == (9, pytest.approx(1))
    assert dict(neighbours(model, 8, 50))[7] == 0
