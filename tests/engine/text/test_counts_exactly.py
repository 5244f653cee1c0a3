"""Lengths in bins, windows over borders and samples of repetitions, against the same done in lists."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.text import tally
from engine.text.tally import BINS, WINDOW, Distinct, LengthCounter, Windows, window_hashes


@given(st.lists(st.integers(0, 60), min_size=1, max_size=200), st.integers(1, 7))
def test_lengths_are_told_as_they_are(sizes: list[int], parts: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tally, "LONGEST", 40)
        counter = LengthCounter()
        for part in range(parts):
            counter.add(sizes[part::parts])
        told = counter.told()
    assert (told.count, told.shortest, told.longest) == (len(sizes), min(sizes), max(sizes))
    assert told.mean == sum(sizes) / len(sizes)
    assert told.median == min(39, sorted(sizes)[(len(sizes) + 1) // 2 - 1])
    assert (
        sum(told.counts) == len(sizes) and told.edges[0] == min(sizes) and told.edges[-1] > max(min(max(sizes), 39), 0)
    )
    for (low, high), found in zip(pairwise(told.edges), told.counts, strict=True):
        assert low < high and sum(low <= size < high for size in sizes) == found
    widths = [high - low for low, high in pairwise(told.edges)]
    assert len(set(widths[:-2])) <= 1 and len(widths) <= BINS + 1, "of one width but for the end"
    if len(widths) > 1 and widths[-1] > widths[0]:
        assert told.counts[-1] <= len(sizes) / 100 or max(sizes) >= 40, "the longest hundredth"


@pytest.mark.parametrize(
    ("sizes", "edges", "counts"),
    [
        ([3] * 50 + [50] * 50, (3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23, 25, 27, 29, 31, 33, 35, 37, 39, 40, 51), None),
        ([7] * 5, (7, 8), (5,)),
        ([50, 60], (50, 61), (2,)),
        ([0, 1, 2], (0, 1, 2, 3), (1, 1, 1)),
        ([0] * 99 + [30], (0, 1, 31), (99, 1)),
        ([0] * 98 + [30] * 2, tuple(range(0, 34, 2)), None),
    ],
)
def test_bins_begin_with_the_shortest_and_are_few(
    monkeypatch: pytest.MonkeyPatch, sizes: list[int], edges: tuple[int, ...], counts: tuple[int, ...] | None
) -> None:
    monkeypatch.setattr(tally, "LONGEST", 40)
    counter = LengthCounter()
    counter.add(sizes)
    told = counter.told()
    assert told.edges == edges and (counts is None or told.counts == counts)


@given(st.lists(st.binary(max_size=3 * WINDOW), max_size=8))
def test_every_window_is_hashed_once_wherever_blocks_end(blocks: list[bytes]) -> None:
    windows, data = Windows(), b"".join(blocks)
    found = [each for block in blocks for each in windows.feed(block).tolist()]
    assert found == window_hashes(np.frombuffer(data, np.uint8)).tolist()
    assert len(found) == max(0, len(data) - WINDOW + 1)


def test_a_windows_hash_is_the_same_everywhere() -> None:
    """It is a sum modulo 2**64 in powers of a base, mixed; here in Python's own numbers."""
    data = bytes(range(7, 7 + WINDOW + 5))
    base, mask = 0x9E3779B97F4A7C15, (1 << 64) - 1
    expected = []
    for at in range(6):
        value = sum((byte + 1) * base ** (WINDOW - 1 - i) for i, byte in enumerate(data[at : at + WINDOW])) & mask
        value = (value ^ value >> 29) * 0xBF58476D1CE4E5B9 & mask
        expected.append(value ^ value >> 32)
    assert window_hashes(np.frombuffer(data, np.uint8)).view(np.uint64).tolist() == expected


@given(st.lists(st.lists(st.integers(0, 63), max_size=40), max_size=6), st.integers(1, 40))
def test_a_sample_is_of_the_hashes_that_end_in_so_many_zeros(parts: list[list[int]], most: int) -> None:
    distinct, everything = Distinct(most), Counter[int]()
    for part in parts:
        distinct.add(np.array(part, np.int64))
        everything.update(part)
    told = distinct.told()
    sample = {value: count for value, count in everything.items() if value % told.one_in == 0}
    assert dict(zip(distinct.values.tolist(), distinct.counts.tolist(), strict=True)) == sample and len(sample) <= most
    assert told.count == everything.total() and told.one_in == 1 << distinct.bits
    assert told.share == (1 - len(sample) / sum(sample.values()) if sample else 0.0)
    half = [value for value in everything if value % max(1, told.one_in // 2) == 0]
    assert told.one_in == 1 or len(half) > most, "no smaller than it has to be"


def test_a_table_knows_nearly_all_that_is_not_there() -> None:
    """What is seen of the training text is looked for only where a bit of it is set."""
    lookup = tally.Lookup(1000)
    lookup.want(np.arange(1000, dtype=np.int64) * 977)
    lookup.see(np.arange(0, 10**6, 977, dtype=np.int64) + 1)
    assert lookup.told().share == 0.0
    lookup.see(np.arange(500, dtype=np.int64) * 977)
    assert lookup.told().share == 0.5
