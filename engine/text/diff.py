"""What two texts have in common, word by word: for two samples beside each other."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import accumulate, groupby

WINDOW = 4096  # words of either text that are compared at a time

_WORD = re.compile(r"(?:\w+|[^\w\s])\s*|\s+")  # a word or a sign, with the blanks behind it; blanks at the very front


@dataclass(frozen=True)
class Span:
    """`first[start:end]` beside `second[other_start:other_end]`: `same` words, or words of which either may be none.

    Of the same words the blanks behind them may differ.
    """

    start: int
    end: int
    other_start: int
    other_end: int
    same: bool


def compare_words(first: str, second: str) -> list[Span]:
    """The spans of both texts, in their order: joined, each side is its text again. None where both are empty.

    As many words as possible are the same, within windows of WINDOW words: time and memory grow with the length of the
    texts, not with its square. Windows of longer texts begin anew where the last word that is common to both ended.
    """
    words, others = _WORD.findall(first), _WORD.findall(second)
    keys, other_keys = [word.rstrip() for word in words], [word.rstrip() for word in others]
    places, other_places = (list(accumulate(map(len, each), initial=0)) for each in (words, others))
    runs = groupby(enumerate(_pairs(keys, other_keys)), lambda each: (each[1][0] - each[0], each[1][1] - each[0]))
    starts = [(*run[0][1], len(run)) for _, each in runs if (run := list(each))]
    spans: list[Span] = []
    at = other_at = 0  # words that stand in spans
    for start, other_start, length in [*starts, (len(words), len(others), 0)]:
        for end, other_end, same in ((start, other_start, False), (start + length, other_start + length, True)):
            if end > at or other_end > other_at:
                spans.append(Span(places[at], places[end], other_places[other_at], other_places[other_end], same))
            at, other_at = end, other_end
    return spans


def _pairs(first: list[str], second: list[str]) -> Iterator[tuple[int, int]]:
    """The places of words that are the same, rising on both sides."""
    a = b = 0
    while a < len(first) and b < len(second):
        if first[a] == second[b]:
            yield a, b
            a, b = a + 1, b + 1
            continue
        end_a, end_b = min(len(first), a + WINDOW), min(len(second), b + WINDOW)
        found = _most(first[a:end_a], second[b:end_b])
        more = end_a < len(first) or end_b < len(second)
        if more and len(found) > 1:
            found = found[: -(len(found) // 4) or None]  # the last of a window may be better paired with what follows
        for i, j in found:
            yield a + i, b + j
        if found and more:
            a, b = a + found[-1][0] + 1, b + found[-1][1] + 1
        else:
            a, b = end_a, end_b


def _most(first: list[str], second: list[str]) -> list[tuple[int, int]]:
    """The longest common subsequence, as places: Hyyrö's bit-parallel rows (2004), one integer a word of `second`.

    In a row the bit of word i is 0 where one more word of `first` up to it is common than without it.
    """
    where: dict[str, int] = {}
    for i, word in enumerate(first):
        where[word] = where.get(word, 0) | 1 << i
    everything = (1 << len(first)) - 1
    row, rows = everything, [everything]
    for word in second:
        common = row & where.get(word, 0)
        row = (row + common | row - common) & everything
        rows.append(row)
    pairs: list[tuple[int, int]] = []
    i, j = len(first) - 1, len(second)
    while i >= 0 and j > 0:
        if rows[j] >> i & 1:
            i -= 1
        elif not rows[j - 1] >> i & 1:
            j -= 1
        else:
            pairs.append((i, j - 1))
            i, j = i - 1, j - 1
    return pairs[::-1]
