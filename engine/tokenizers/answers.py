"""`data.loss = answers`: which tokens of a text with prompts and answers are learned, found by the corpus' template.

An answer is what stands between `infix` and the end of its record, the suffix included: that it ends is learned too. A
token is of an answer when its last byte is, so one that reaches over from the infix counts, having the first letters.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from engine.tokenizers.base import Ids, Tokenizer

LEFT_OUT = -100
"""Stands for a target that does not count; what PyTorch's cross entropy leaves out."""
_BLOCK = 1 << 20  # tokens read at a time


@dataclass(frozen=True, eq=False)
class Answers:
    """The tokens `begins[i]` to `ends[i]` of a split, rising int64 (answers,), are an answer: sixteen bytes each."""

    begins: NDArray[np.int64]
    ends: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.begins)

    @cached_property
    def _tokens(self) -> NDArray[np.int64]:
        """Of all answers before each, and after the last of all."""
        return np.concatenate(([0], np.cumsum(self.ends - self.begins)))

    def before(self, places: NDArray[np.int64]) -> NDArray[np.int64]:
        """How many tokens of answers lie before each of these places."""
        begun = np.searchsorted(self.begins, places)
        unread = np.maximum(self.ends[begun - 1] - places, 0)
        return np.where(begun > 0, self._tokens[begun] - unread, 0)

    def targets(self, starts: NDArray[np.int64], width: int) -> NDArray[np.int64]:
        """(n,) how many targets count in sequences of so many tokens that start there."""
        return self.before(starts + width + 1) - self.before(starts + 1)

    def mask(self, starts: NDArray[np.int64], width: int) -> NDArray[np.bool_]:
        """(n, width) which targets of those sequences count."""
        return np.diff(self.before(starts[:, None] + np.arange(1, width + 2))).astype(bool)

    def n_bytes(self, ids: Ids, tokenizer: Tokenizer) -> int:
        """Bytes of text that the targets which count stand for, in all of `ids`."""
        total = 0
        for first in range(1, len(ids), _BLOCK):
            part = ids[first : first + _BLOCK]
            total += int(tokenizer.byte_lengths[part[self.mask(np.array([first - 1]), len(part))[0]]].sum())
        return total


def find_answers(ids: Ids, tokenizer: Tokenizer, marks: tuple[str, str, str], block: int = _BLOCK) -> Answers:
    """Where the answers of a text lie, by what stands before one, what is its end, and what follows that; see
    `Template.marks`. One that the text breaks off in ends with it."""
    before, end, after = (mark.encode() for mark in marks)
    edges = edges_of(ids, tokenizer, ((before, len(before)), (end + after, len(end))), block)
    places = tokens_of(ids, tokenizer, edges, block)
    if len(places) % 2:
        places = np.append(places, len(ids))
    return Answers(places[::2].copy(), places[1::2].copy())


def edges_of(ids: Ids, tokenizer: Tokenizer, wanted: Sequence[tuple[bytes, int]], block: int) -> NDArray[np.int64]:
    """The bytes of the text at which something ends that is `wanted`: by turns, and of each so many bytes from its
    beginning."""

    def found() -> Iterator[int]:
        turn, passed, held = 0, 0, b""
        for first in range(0, len(ids), block):
            held += tokenizer.decode_bytes(ids[first : first + block])
            place = 0
            while (at := held.find(wanted[turn][0], place)) >= 0:
                place = at + wanted[turn][1]
                yield passed + place
                turn = (turn + 1) % len(wanted)
            place = max(place, len(held) - len(wanted[turn][0]) + 1)
            passed, held = passed + place, held[place:]

    return np.fromiter(found(), np.int64)


def tokens_of(ids: Ids, tokenizer: Tokenizer, places: NDArray[np.int64], block: int) -> NDArray[np.int64]:
    """The token that each of these bytes of the text, rising, lies in; those that are not in it are left out."""
    found, passed = [np.zeros(0, np.int64)], 0
    for first in range(0, len(ids), block):
        ends = passed + np.cumsum(tokenizer.byte_lengths[ids[first : first + block]], dtype=np.int64)
        here = places[slice(*np.searchsorted(places, (passed, ends[-1])))]
        found.append(first + np.searchsorted(ends, here, side="right"))
        passed = int(ends[-1])
    return np.concatenate(found)
