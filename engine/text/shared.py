"""What of the validation text stands in the training text word for word: a validation loss says less of that."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from engine.text.tally import Distinct, Hashes, Told, sampled

WINDOW = 48  # bytes: some eight words
MOST_WINDOWS = 1 << 18  # of the validation text that are looked up; of a larger one a sample
_TABLE_BITS = 22
_BASE = 0x9E3779B97F4A7C15  # odd, 2**64 over the golden ratio
_MASK = (1 << 64) - 1


class Shared(Told):
    """`share` of `count` pieces of the validation text stand in the training text too.

    Exact when `one_in` is 1; else of a sample, one distinct piece in so many.
    """

    count: int
    share: float
    one_in: int


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

    def told(self) -> Shared:
        seen, counts = self._ready(), self._wanted.counts
        of = int(counts.sum())
        share = int(counts[seen].sum()) / of if of else 0.0
        return Shared(count=self._wanted.count, share=share, one_in=1 << self._wanted.bits)


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
