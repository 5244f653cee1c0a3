"""Counting pieces of a text (lines, records) as it streams by: how long, how many repeat another, how many are shared.

What of the validation text stands in the training text word for word, a validation loss says less of. Memory is bounded
for any text, also for one that is a single line.
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
WINDOW = 48  # bytes: some eight words
MOST_WINDOWS = 1 << 18  # of the validation text that are looked up; of a larger one a sample
_TABLE_BITS = 22
_BASE = 0x9E3779B97F4A7C15  # odd, 2**64 over the golden ratio
_MASK = (1 << 64) - 1


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


class Share(Told):
    """`share` of `count` pieces that hold more than blanks stand elsewhere too: before, or in the training text.

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

    def told(self) -> Share:
        self.settle()
        seen = int(self.counts.sum())
        return Share(count=self.count, share=1 - len(self.values) / seen if seen else 0.0, one_in=1 << self.bits)


def ends_in_zeros(hashes: Hashes, bits: int) -> NDArray[np.bool_]:
    """Which hashes belong to a sample of one in 2**bits."""
    chosen: NDArray[np.bool_] = (hashes & ((1 << bits) - 1)) == 0
    return chosen


def sampled(hashes: Hashes, bits: int) -> Hashes:
    """The hashes that belong to that sample."""
    return hashes[ends_in_zeros(hashes, bits)] if bits else hashes


class Lookup:
    """Pieces of the validation text, by their hashes, and which of them were seen in the training text."""

    def __init__(self, most: int) -> None:
        self._wanted = Distinct(most)
        self._seen: NDArray[np.bool_] | None = None
        self._table: NDArray[np.bool_] = np.empty(0, np.bool_)

    def want(self, hashes: Hashes) -> None:
        """Pieces of the validation text; all of them before the first `see`."""
        self._wanted.add(hashes)

    def see(self, hashes: Hashes) -> None:
        """Pieces of the training text."""
        seen = self._ready()
        hashes = sampled(hashes, self._wanted.bits)
        hashes = hashes[self._table[_slots(hashes)]]
        values = self._wanted.values
        if len(hashes) and len(values):
            places = np.minimum(np.searchsorted(values, hashes), len(values) - 1)
            seen[places[values[places] == hashes]] = True

    def _ready(self) -> NDArray[np.bool_]:
        if self._seen is None:
            self._wanted.settle()
            self._seen = np.zeros(len(self._wanted.values), np.bool_)
            self._table = np.zeros(1 << _TABLE_BITS, np.bool_)
            self._table[_slots(self._wanted.values)] = True
        return self._seen

    def told(self) -> Share:
        seen, counts = self._ready(), self._wanted.counts
        of = int(counts.sum())
        share = int(counts[seen].sum()) / of if of else 0.0
        return Share(count=self._wanted.count, share=share, one_in=1 << self._wanted.bits)


def _slots(hashes: Hashes) -> NDArray[np.uint64]:
    spread = hashes.view(np.uint64) * np.uint64(_BASE)
    return spread >> np.uint64(64 - _TABLE_BITS)


class Windows:
    """Hashes of all WINDOW neighbouring bytes of a stream, over the borders of its blocks too."""

    def __init__(self) -> None:
        self._end = b""

    def feed(self, data: bytes) -> Hashes:
        data = self._end + data
        self._end = data[1 - WINDOW :]
        return window_hashes(np.frombuffer(data, np.uint8))


def window_hashes(data: NDArray[np.uint8]) -> Hashes:
    """(len(data) - WINDOW + 1,) a hash of each WINDOW neighbouring bytes, equal for equal ones on every machine.

    A polynomial modulo 2**64 of 48 = 32 + 16 bytes, made by doubling: of 2 bytes, of 4, of 8, …
    """
    if len(data) < WINDOW:
        return np.empty(0, np.int64)
    hashes, power, width = data.astype(np.uint64) + np.uint64(1), _BASE, 1
    of_16, power_16 = hashes, power
    while width < 32:
        if width == 16:
            of_16, power_16 = hashes, power
        hashes = hashes[:-width] * np.uint64(power) + hashes[width:]
        power, width = power * power & _MASK, 2 * width
    hashes = hashes[: len(hashes) - 16] * np.uint64(power_16) + of_16[32:]
    hashes ^= hashes >> np.uint64(29)  # the last bits of a product say little
    hashes *= np.uint64(0xBF58476D1CE4E5B9)
    hashes ^= hashes >> np.uint64(32)
    return hashes.view(np.int64)
