"""How much of a text is copied: its longest passage that stands word for word in the training corpus."""

from __future__ import annotations

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
BLOCK = 1 << 20  # bytes of corpus read and looked at at a time
TABLE_BITS = 20
MIX = np.uint64(0x9E3779B97F4A7C15)  # 2**64 over the golden ratio: spreads keys over the table (Knuth, vol. 3)


class Overlap(NamedTuple):
    """`text[start : start + length]` stands in the corpus, and no longer passage does; in characters."""

    length: int
    start: int


NOTHING = Overlap(0, 0)


def longest_copied(text: str, corpus: Path) -> Overlap:
    """The longest passage of `text` that stands in `corpus`, a file in UTF-8; (0, 0) when not even a character does.

    Raises CorpusError when the file cannot be read.
    """
    try:
        n_bytes = corpus.stat().st_size
    except OSError as error:
        raise CorpusError(f"cannot read {corpus}: {error.strerror}") from None
    return longest_in_spans(text, corpus, spans(n_bytes, size_of(text))) or NOTHING


def size_of(text: str) -> int:
    """Bytes of a text that may have halves of surrogate pairs, as a model writes them."""
    return len(text.encode("utf-8", "surrogatepass"))


def spans(n_bytes: int, length: int, most: int | None = None) -> Iterator[Span]:
    """What is read of a text of `n_bytes`: all of it in blocks, or blocks evenly spread over it, `most` bytes together.

    Blocks reach into the next one so far that no passage of `length` bytes falls between two.
    """
    starts: Iterable[int] = range(0, n_bytes, BLOCK)
    if most is not None and n_bytes > most:
        count = most // BLOCK
        starts = (block * (n_bytes - BLOCK) // (count - 1) for block in range(count))
    return ((start, min(n_bytes, start + BLOCK + length - 1)) for start in starts)


def longest_in_spans(
    text: str, file: Path, spans: Iterable[Span], give_way: Callable[[], bool] | None = None
) -> Overlap | None:
    """The longest passage of `text` that stands in one of the `spans` of `file`, which are read one at a time.

    Runs of bytes of a span whose every 8 neighbours also stand in the text are found first, by a table of the text's
    8-byte words; only those runs are then compared, the longest first. When what they miss could be longer than what
    was found, the same is done with shorter words.
    `give_way` is asked before each span; None after its yes. Raises CorpusError when the file cannot be read, or ends
    early.
    """
    sample = text.encode("utf-8", "surrogatepass")
    best = NOTHING
    try:
        with file.open("rb") as opened:
            for start, end in spans:
                if give_way is not None and give_way():
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
    starts, ends = _runs(sample, corpus, width)
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
                break
    return best


def _runs(sample: bytes, corpus: Bytes, width: int) -> tuple[Places, Places]:
    """Starts and ends of the runs whose every `width` neighbouring bytes also stand in the sample."""
    table = np.zeros(1 << TABLE_BITS, np.bool_)
    table[_slots(np.frombuffer(sample, np.uint8), width)] = True
    found = np.concatenate(([False], table[_slots(corpus, width)], [False]))
    edges = np.flatnonzero(found[1:] != found[:-1])
    return edges[::2], edges[1::2] + width - 1


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
