"""Counting pieces of a text (lines, records) as it streams by: how long they are, and how many repeat another.

Memory is bounded for any text, also for one that is a single line.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

Hashes = NDArray[np.int64]

LONGEST = 1 << 16  # characters of a piece that tell it from others; and lengths that are counted one by one
MOST_DISTINCT = 1 << 18  # hashes held; with more, only those that end in so many zeros
BINS = 24


class Told(BaseModel):
    """Facts that are kept as JSON; what comes back is of these types, or an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class Lengths(Told):
    """How long the pieces are, in characters. Bin i counts lengths from edges[i] up to, not with, edges[i + 1].

    The bins are of one width but for the last, which holds the longest hundredth. `median` is of lengths up to 65,535.
    """

    count: int
    shortest: int
    longest: int
    mean: float
    median: int
    edges: tuple[int, ...]
    counts: tuple[int, ...]


class Repeats(Told):
    """How many of the pieces that hold more than blanks stand in the text before: `share` of `count`.

    Exact when `one_in` is 1; else of a sample, one distinct piece in so many, with all its repetitions.
    """

    count: int
    share: float
    one_in: int


class Pieces:
    """Cuts a stream of text at a mark. `feed` gives the pieces that ended, without their marks, and their lengths.

    Of a piece longer than LONGEST characters only the beginning is given.
    """

    def __init__(self, mark: str) -> None:
        self.mark = mark
        self._rest = ""  # of the piece that has not ended …
        self._head = ""  # … whose beginning is this when it is a long one …
        self._passed = 0  # … of which so many characters are no longer held

    def feed(self, text: str) -> tuple[list[str], list[int]]:
        """The pieces that end in `text`."""
        *pieces, self._rest = (self._rest + text).split(self.mark)
        lengths = [len(piece) for piece in pieces]
        if pieces:
            pieces[0], lengths[0] = self._whole(pieces[0])
            if max(lengths) > LONGEST:
                pieces = [piece[:LONGEST] for piece in pieces]
        if len(self._rest) > LONGEST:
            if not self._passed:
                self._head = self._rest[:LONGEST]
            kept = len(self.mark) - 1  # characters that may begin a mark
            self._passed += len(self._rest) - kept
            self._rest = self._rest[len(self._rest) - kept :]
        return pieces, lengths

    def _whole(self, end: str) -> tuple[str, int]:
        length = self._passed + len(end)
        piece = self._head[:length] if self._passed else end  # the head may end in what began a mark
        self._head, self._passed = "", 0
        return piece, length

    def end(self) -> tuple[str, int]:
        """What stands after the last mark, and how long it is."""
        rest, self._rest = self._rest, ""
        return self._whole(rest)


def hashes_of(pieces: list[str]) -> Hashes:
    """A hash of each piece that holds more than blanks; equal for equal pieces within this process."""
    return np.array([hash(piece) for piece in pieces if piece and not piece.isspace()], np.int64)


class LengthCounter:
    """Counts lengths one by one up to LONGEST; of longer ones their number, their sum and the longest."""

    def __init__(self) -> None:
        self._counts = np.zeros(LONGEST, np.int64)
        self._over = self._sum = self._longest = 0
        self._shortest = -1

    def add(self, lengths: list[int]) -> None:
        if not lengths:
            return
        array = np.array(lengths, np.int64)
        self._sum += int(array.sum())
        least = int(array.min())
        self._shortest = least if self._shortest < 0 else min(self._shortest, least)
        self._longest = max(self._longest, int(array.max()))
        short = array[array < LONGEST]
        self._over += len(array) - len(short)
        found = np.bincount(short)
        self._counts[: len(found)] += found

    def told(self) -> Lengths:
        """All that was added."""
        count = int(self._counts.sum()) + self._over
        if not count:
            return Lengths(count=0, shortest=0, longest=0, mean=0.0, median=0, edges=(), counts=())
        below = np.cumsum(self._counts)
        edges = [self._shortest]
        if self._shortest < LONGEST:
            high = min(LONGEST - 1, int(np.searchsorted(below, 0.99 * count)))
            width = max(1, -(-(high - self._shortest + 1) // BINS))
            edges = [*range(self._shortest, high + 1, width)]
            edges.append(min(LONGEST, edges[-1] + width))
        counts = [int(self._counts[a:b].sum()) for a, b in pairwise(edges)]
        if sum(counts) < count:
            counts.append(count - sum(counts))
            edges.append(self._longest + 1)
        return Lengths(
            count=count,
            shortest=self._shortest,
            longest=self._longest,
            mean=self._sum / count,
            median=min(LONGEST - 1, int(np.searchsorted(below, (count + 1) // 2))),
            edges=tuple(edges),
            counts=tuple(counts),
        )


class Distinct:
    """Which hashes there are and how often: all of them, or with too many distinct ones a sample by their last bits."""

    def __init__(self, most: int = MOST_DISTINCT) -> None:
        self.most, self.bits = most, 0
        self.count = 0  # of all hashes
        self.values: Hashes = np.empty(0, np.int64)  # distinct and rising, once `settle` was called
        self.counts: Hashes = np.empty(0, np.int64)
        self._waiting: list[Hashes] = []
        self._held = 0

    def add(self, hashes: Hashes) -> None:
        self.count += len(hashes)
        kept = sampled(hashes, self.bits)
        self._waiting.append(kept)
        self._held += len(kept)
        if self._held > self.most:
            self.settle()

    def settle(self) -> None:
        """Puts what was added among `values` and `counts`."""
        hashes = np.concatenate([self.values, *self._waiting])
        weights = np.concatenate([self.counts, np.ones(self._held, np.int64)])
        self._waiting, self._held = [], 0
        self.values, place = np.unique(hashes, return_inverse=True)
        self.counts = np.bincount(place, weights, len(self.values)).astype(np.int64)  # exact below 2**53
        while len(self.values) > self.most:
            self.bits += 1
            chosen = ends_in_zeros(self.values, self.bits)
            self.values, self.counts = self.values[chosen], self.counts[chosen]

    def told(self) -> Repeats:
        self.settle()
        seen = int(self.counts.sum())
        return Repeats(count=self.count, share=1 - len(self.values) / seen if seen else 0.0, one_in=1 << self.bits)


def ends_in_zeros(hashes: Hashes, bits: int) -> NDArray[np.bool_]:
    """Which hashes belong to a sample of one in 2**bits."""
    chosen: NDArray[np.bool_] = (hashes & ((1 << bits) - 1)) == 0
    return chosen


def sampled(hashes: Hashes, bits: int) -> Hashes:
    """The hashes that belong to that sample."""
    return hashes[ends_in_zeros(hashes, bits)] if bits else hashes
