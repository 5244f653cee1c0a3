"""How much of a text is copied: its longest passage that stands word for word in the training corpus."""

from __future__ import annotations

import mmap
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from engine.errors import CorpusError

Bytes = NDArray[np.uint8]
Places = NDArray[np.int64]
Span = tuple[int, int]  # bytes [start, end) of a file

WIDTHS = (8, 4, 2, 1)  # of the words looked up, in bytes
CHUNK = 1 << 20  # bytes of corpus looked at at a time
TABLE_BITS = 20
MIX = np.uint64(0x9E3779B97F4A7C15)  # 2**64 over the golden ratio: spreads keys over the table (Knuth, vol. 3)


class Overlap(NamedTuple):
    """`text[start : start + length]` stands in the corpus, and no longer passage does; in characters."""

    length: int
    start: int


NOTHING = Overlap(0, 0)


def longest_copied(text: str, corpus: bytes | Path) -> Overlap:
    """The longest passage of `text` that stands in `corpus` (UTF-8); (0, 0) when not even a character does.

    Runs of bytes of the corpus whose every 8 neighbours also stand in the text are found first, by a table of the
    text's 8-byte words, a chunk of the corpus at a time; only those runs are then compared, the longest first. When
    what they miss could be longer than what was found, the same is done with shorter words. Memory is bounded for any
    corpus, but for passages the text shares with it.
    Raises CorpusError when the file cannot be read.
    """
    sample = text.encode("utf-8", "surrogatepass")
    if isinstance(corpus, bytes):
        return _longest(text, sample, np.frombuffer(corpus, np.uint8))
    try:
        if corpus.stat().st_size == 0:
            return NOTHING
        with corpus.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
            data = np.frombuffer(mapped, np.uint8)
            try:
                return _longest(text, sample, data)
            finally:
                del data  # a mapping cannot be closed while an array looks at it
    except OSError as error:
        raise CorpusError(f"cannot read {corpus}: {error.strerror}") from None


def longest_in_spans(text: str, file: Path, spans: Iterable[Span], give_way: Callable[[], bool]) -> Overlap | None:
    """The longest passage of `text` that stands in one of the `spans` of `file`, which are read one at a time.

    `give_way` is asked before each; None after its yes. Raises CorpusError when the file cannot be read, or ends early.
    """
    sample = text.encode("utf-8", "surrogatepass")
    best = NOTHING
    try:
        with file.open("rb") as opened:
            for start, end in spans:
                if give_way():
                    return None
                opened.seek(start)
                data = opened.read(end - start)
                if len(data) < end - start:
                    raise CorpusError(f"{file} has become shorter")
                best = _longest(text, sample, np.frombuffer(data, np.uint8), best)
    except OSError as error:
        raise CorpusError(f"cannot read {file}: {error.strerror}") from None
    return best


def _longest(text: str, sample: bytes, corpus: Bytes, best: Overlap = NOTHING) -> Overlap:
    possible = len(text)
    for width in WIDTHS:
        if best.length >= possible:
            break
        if min(len(sample), len(corpus)) >= width:
            best = _search(text, sample, corpus, width, best, possible)
        possible = width - 1  # what is longer has been found
    return best


def _search(text: str, sample: bytes, corpus: Bytes, width: int, best: Overlap, possible: int) -> Overlap:
    """The longest common passage of `width` bytes or more, or `best`; none is known to be longer than `possible`."""
    for starts, ends in _runs(sample, corpus, width):
        compared: set[bytes] = set()
        for run in np.argsort(starts - ends, kind="stable"):
            if ends[run] - starts[run] <= best.length:
                break
            passage = corpus[starts[run] : ends[run]].tobytes()
            if passage not in compared:
                compared.add(passage)
                # bytes that are half a character at an end become surrogates, which equal nothing in the text
                best = _compare(text, passage.decode("utf-8", "surrogateescape"), best)
                if best.length >= possible:
                    return best
    return best


def _runs(sample: bytes, corpus: Bytes, width: int) -> Iterator[tuple[Places, Places]]:
    """Starts and ends of the runs whose every `width` neighbouring bytes also stand in the sample, chunk by chunk.

    A run that reaches the end of a chunk comes whole with a later one.
    """
    table = np.zeros(1 << TABLE_BITS, np.bool_)
    table[_slots(np.frombuffer(sample, np.uint8), width)] = True
    words = len(corpus) - width + 1
    begun: int | None = None  # where a run began that reached the end of the last chunk
    for at in range(0, words, CHUNK):
        border = min(at + CHUNK, words)
        found = np.concatenate(([False], table[_slots(corpus[at : border + width - 1], width)], [False]))
        edges = np.flatnonzero(found[1:] != found[:-1]) + at
        starts, ends = edges[::2], edges[1::2]
        if begun is not None:
            if len(starts) and starts[0] == at:
                starts[0] = begun
            else:
                starts, ends = np.append(starts, begun), np.append(ends, at)
        begun = None
        if border < words and (reaching := ends == border).any():
            begun = int(starts[reaching][0])
            starts, ends = starts[~reaching], ends[~reaching]
        yield starts, ends + width - 1


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
