"""Tokens as a tokenizer cuts and makes them, and as the model places them."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from engine.errors import TokenizerError
from engine.inspect.losses import Ids
from engine.model.gpt import GPT
from engine.sampling.decode import evaluating
from engine.tokenizers.base import Tokenizer
from engine.tokenizers.bpe import BpeTokenizer
from engine.tokenizers.gpt2 import Gpt2Tokenizer
from engine.tokenizers.imported import ImportedTokenizer


@dataclass(frozen=True, eq=False)
class Cut:
    """A text in tokens: `ids` int64 (n,), and `bounds` int64 (n + 1,), between which bytes of its UTF-8 each lies.

    Of characters that a character tokenizer leaves out there are none.
    """

    ids: NDArray[np.int64]
    bounds: NDArray[np.int64]

    @property
    def counts(self) -> list[tuple[int, int]]:
        """(id, how often) of each token that occurs, the most frequent first; equals by their number."""
        return sorted(Counter(self.ids.tolist()).items(), key=lambda each: (-each[1], each[0]))

    @property
    def bytes_per_token(self) -> float:
        """nan for no tokens."""
        return float(self.bounds[-1] / len(self.ids)) if len(self.ids) else float("nan")


def cut(tokenizer: Tokenizer, text: str | Ids) -> Cut:
    """Where the tokens of a text, or of ids, end. Raises TokenizerError for what has no tokens."""
    ids = np.asarray(tokenizer.encode(text) if isinstance(text, str) else text).astype(np.int64)
    return Cut(ids, np.append(0, np.cumsum(tokenizer.byte_lengths[ids])))


class Neighbour(NamedTuple):
    """Another token, and the cosine of the angle between both embeddings, -1 to 1."""

    id: int
    similarity: float


def neighbours(model: GPT, id: int, most: int = 10) -> list[Neighbour]:
    """The tokens whose embeddings point where that of `id` does, nearest first; equals by their number.

    Of a bigram these are tokens that much the same follows. A token whose embedding is all zeros is like none.
    Raises TokenizerError for a token that there is not.
    """
    if not 0 <= id < model.vocab_size:
        raise TokenizerError(f"there is no token {id} in a vocabulary of {model.vocab_size:,}")
    with evaluating(model):
        table = model.wte.weight[: model.vocab_size].float()
        lengths = torch.linalg.vector_norm(table, dim=1)
        cosines = (table @ table[id]) / (lengths * lengths[id])
        cosines = cosines.nan_to_num(0.0, 0.0, 0.0).clamp(-1, 1)
        cosines[id] = -torch.inf
        top = cosines.topk(min(most, model.vocab_size - 1))
    found = sorted(zip(top.indices.tolist(), top.values.tolist(), strict=True), key=lambda each: (-each[1], each[0]))
    return [Neighbour(*each) for each in found]


class Merge(NamedTuple):
    """Two tokens that become one, by the merge number `rank` of the vocabulary; 0 was learned first."""

    left: int
    right: int
    made: int
    rank: int


def merges_of(tokenizer: Tokenizer, id: int) -> tuple[Merge, ...]:
    """The merges that make token `id` from its bytes, in the order in which text is merged.

    Empty for bytes, for special tokens and for tokenizers that do not merge. Raises TokenizerError for a token that
    there is not.
    """
    data = tokenizer.token_bytes(id)
    table = _merges(tokenizer)
    if table is None or id in tokenizer.special.values():
        return ()
    parts, made = [table.ids[data[i : i + 1]] for i in range(len(data))], list[Merge]()
    while True:
        pairs = enumerate(pairwise(parts))
        possible = [(rank, at) for at, (left, right) in pairs if (rank := table.rank(left, right)) is not None]
        if not possible:
            return tuple(made)
        rank, at = min(possible)
        left, right = parts[at : at + 2]
        made.append(Merge(left, right, table.ids[table.data[left] + table.data[right]], rank))
        parts[at : at + 2] = [made[-1].made]


@dataclass(frozen=True, eq=False)
class _Table:
    """Ordinary tokens both ways, and the rank of each merge; GPT-2's vocabulary merges whatever makes a token."""

    data: list[bytes]
    ids: dict[bytes, int]
    ranks: dict[tuple[int, int], int] | None

    def rank(self, left: int, right: int) -> int | None:
        if self.ranks is not None:
            return self.ranks.get((left, right))
        return self.ids.get(self.data[left] + self.data[right])


@lru_cache(maxsize=2)
def _merges(tokenizer: Tokenizer) -> _Table | None:
    if not isinstance(tokenizer, BpeTokenizer | ImportedTokenizer | Gpt2Tokenizer):
        return None
    tokens = [tokenizer.token_bytes(id) for id in range(tokenizer.vocab_size)]
    special = set(tokenizer.special.values())
    ids: dict[bytes, int] = {}
    for id, data in enumerate(tokens):
        if id not in special:
            ids.setdefault(data, id)
    if isinstance(tokenizer, Gpt2Tokenizer):
        return _Table(tokens, ids, None)
    ranks: dict[tuple[int, int], int] = {}
    for rank, pair in enumerate(tokenizer.merges):
        ranks.setdefault(pair, rank)
    return _Table(tokens, ids, ranks)
