"""How much of a text is copied: its longest passage that stands word for word in the training corpus."""

from __future__ import annotations

import mmap
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from engine.errors import CorpusError

Bytes = NDArray[np.uint8]

WIDTHS = (8, 4, 2, 1)  # of the words looked up, in bytes
CHUNK = 1 << 20  # bytes of corpus looked at at a time
TABLE_BITS = 20
MIX = np.uint64(0x9E3779B97F4A7C15)  # 2**64 over the golden ratio: spreads keys over the table (Knuth, vol. 3)


class Overlap(NamedTuple):
    """`text[start : start + length]` stands in the corpus, and no longer passage does; in characters."""

    length: int
    start: int


def longest_copied(text: str, corpus: bytes | Path) -> Overlap:
    """The longest passage of `text` that stands in `corpus` (UTF-8); (0, 0) when not even a character does.

    Runs of bytes of the corpus whose every 8 neighbours also stand in the text are found first, by a table of the text's
    8-byte words, a chunk of the corpus at a time; only those runs are then compared, the longest first. When what they
    miss could be longer than what was found, the same is done with shorter words. Memory is bounded for any corpus.
    Raises CorpusError when the file cannot be read.
    """
    sample = text.encode("utf-8", "surrogatepass")
    if isinstance(corpus, bytes):
        return _longest(text, sample, np.frombuffer(corpus, np.uint8))
    try:
        if corpus.stat().st_size == 0:
            return Overlap(0, 0)
        with corpus.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
            data = np.frombuffer(mapped, np.uint8)
            try:
                return _longest(text, sample, data)
            finally:
                del data  # a mapping cannot be closed while an array looks at it
    except OSError as error:
        raise CorpusError(f"cannot read {corpus}: {error.strerror}") from None


def _longest(text: str, sample: bytes, corpus: Bytes) -> Overlap:
    best, possible = Overlap(0, 0), len(text)
    for width in WIDTHS:
        for passage in _passages(sample, corpus, width, lambda: best.length):
            best = _compare(text, passage, best)
            if best.length >= possible:
                return best
        possible = width - 1  # what is longer has been found
        if best.length >= possible:
            return best
    return best


def _passages(sample: bytes, corpus: Bytes, width: int, shortest: Callable[[], int]) -> Iterator[str]:
    """Passages of the corpus longer than `shortest()` bytes (asked again each time) in which every `width` neighbouring
    bytes also stand in the sample; in each chunk the longest first."""
    if min(len(sample), len(corpus)) < width:
        return
    table = np.zeros(1 << TABLE_BITS, np.bool_)
    table[_slots(np.frombuffer(sample, np.uint8), width)] = True
    begun = None  # where a run began that reaches the end of a chunk
    for at in range(0, len(corpus) - width + 1, CHUNK):
        chunk = corpus[at : at + CHUNK + width - 1]
        found = np.concatenate(([False], table[_slots(chunk, width)], [False])).astype(np.int8)
        edges = np.flatnonzero(np.diff(found)) + at
        starts, ends = edges[::2], edges[1::2]
        if begun is not None:
            if len(starts) and starts[0] == at:
                starts[0] = begun
            else:
                starts, ends = np.append(starts, begun), np.append(ends, at)
        begun = None
        border = at + len(chunk) - width + 1
        if border < len(corpus) - width + 1 and (reaching := ends == border).any():
            begun = int(starts[reaching][0])
            starts, ends = starts[~reaching], ends[~reaching]
        seen: set[bytes] = set()
        for run in np.argsort(starts - ends, kind="stable"):
            start, end = int(starts[run]), int(ends[run]) + width - 1
            if end - start <= shortest():
                break
            passage = corpus[start:end].tobytes()
            if passage not in seen:
                seen.add(passage)
                # bytes that are half a character at an end become surrogates, which equal nothing in the text
                yield passage.decode("utf-8", "surrogateescape")


def _slots(data: Bytes, width: int) -> NDArray[np.uint64]:
    """The place in the table of each `width` neighbouring bytes: (len(data) - width + 1,)."""
    words = np.ndarray((len(data) - width + 1,), f"<u{width}", data, strides=(1,)).astype(np.uint64)
    words *= MIX
    words >>= np.uint64(64 - TABLE_BITS)
    return words


def _compare(text: str, passage: str, best: Overlap) -> Overlap:
    """The longest passage common to both, when it is longer than `best`."""
    short, long = (text, passage) if len(text) < len(passage) else (passage, text)
    length, common = best.length, ""
    for i in range(len(short)):
        while i + length < len(short) and short[i : i + length + 1] in long:
            length += 1
            common = short[i : i + length]
    return Overlap(length, text.index(common)) if common else best
