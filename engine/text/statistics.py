"""What is in a text: one streamed pass in bounded memory, kept in the cache for this text and split.

statistics/<text>-<split>.json
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
import unicodedata
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import ValidationError

from engine.errors import CorpusError
from engine.files import read_small, write_cached
from engine.folders import cache_dir
from engine.text.corpus import Text
from engine.text.scan import Progress
from engine.text.tally import (
    MOST_DISTINCT,
    MOST_WINDOWS,
    Distinct,
    LengthCounter,
    Lengths,
    Lookup,
    Pieces,
    Share,
    Told,
    Windows,
    hashes_of,
)

FORMAT = 1  # goes up when the same text would be told of otherwise
BLOCK = 1 << 20  # bytes read at a time
USUAL = 0.1  # of a text is kept for validation, as a run does that is not told otherwise
TOP = 50  # characters and words that are named
MOST_WORDS = 1 << 17  # distinct words that are counted at a time
MOST_BYTES = 1 << 20  # of a kept file; each has some 10 KB
MOST_WORD_BYTES = 1 << 26  # of the text in which words are counted, which takes longest
LONG_WORD = 200  # characters; a longer one is cut
CODE_POINTS = 0x110000
ZSTD_LEVEL = 9
Cancelled = Callable[[], bool]

_WORD = re.compile(rf"\w{{1,{LONG_WORD}}}")
_WORD_AT_END = re.compile(rf"\w{{0,{LONG_WORD}}}\Z")
_DIRECTIONS = "\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"


class Statistics(Told):
    """All that is told of a text of `n_bytes`, whose validation split begins at byte `cut`.

    Lines are those of a file: the last may lack its end. Records are None without a boundary. The tops are (text,
    count), the most frequent first. Control characters are all but tab, line end and carriage return, and marks of
    direction. `words` are those of `words_in_bytes` of the text: of all, or 64 MiB evenly spread over it; with
    `some_words_dropped` counts may be too low, for words that came seldom were forgotten on the way. Bits per byte
    are of the whole text, compressed by gzip -6 and zstd -9 (None without the extra); a model that needs more has
    learned less than they know. Shares are of the validation split.
    """

    format: int
    sha256: str
    boundary: str | None
    cut: int
    n_bytes: int
    characters: int
    lines: int
    records: int | None
    distinct_characters: int
    top_characters: tuple[tuple[str, int], ...]
    control_characters: int
    top_controls: tuple[tuple[str, int], ...]
    line_lengths: Lengths
    record_lengths: Lengths | None
    repeated_lines: Share
    repeated_records: Share | None
    words: int
    words_in_bytes: int
    top_words: tuple[tuple[str, int], ...]
    some_words_dropped: bool
    gzip_bits_per_byte: float
    zstd_bits_per_byte: float | None
    shared_lines: Share
    shared_records: Share | None
    shared_windows: Share


class _Counted:
    """Lines or records of the whole text, and those of the validation split that the training split has too."""

    def __init__(self, mark: str, last_is_one: Callable[[str], bool]) -> None:
        self.pieces, self.lengths, self.distinct = Pieces(mark), LengthCounter(), Distinct(MOST_DISTINCT)
        self.lookup = Lookup(MOST_DISTINCT)
        self.validation = Pieces(mark)
        self.last_is_one = last_is_one

    def want(self, text: str) -> None:
        self.lookup.want(hashes_of(self.validation.feed(text)[0]))

    def all_wanted(self) -> None:
        self.lookup.want(hashes_of([self.validation.end()[0]]))

    def feed(self, text: str, training: bool) -> None:
        pieces, lengths = self.pieces.feed(text)
        self._add(pieces, lengths, training)

    def end(self) -> None:
        piece, length = self.pieces.end()
        if self.last_is_one(piece):
            self._add([piece], [length], False)

    def _add(self, pieces: list[str], lengths: list[int], training: bool) -> None:
        hashes = hashes_of(pieces)
        self.lengths.add(lengths)
        self.distinct.add(hashes)
        if training:
            self.lookup.see(hashes)


class _Characters:
    def __init__(self) -> None:
        self.counts = np.zeros(CODE_POINTS, np.int64)

    def feed(self, text: str, data: bytes) -> None:
        if len(text) == len(data):
            self.counts[:256] += np.bincount(np.frombuffer(data, np.uint8), minlength=256)
        else:
            points = np.frombuffer(text.encode("utf-32-le"), np.uint32)
            found = np.bincount(points)
            self.counts[: len(found)] += found

    def top(self, points: Any) -> tuple[tuple[str, int], ...]:
        order = points[np.argsort(-self.counts[points], kind="stable")][:TOP]
        return tuple((chr(point), int(self.counts[point])) for point in order)


class _Words:
    """Words as they stand. When there are too many distinct ones, those that came least are forgotten."""

    def __init__(self, n_bytes: int) -> None:
        self.counts: Counter[str] = Counter()
        self.total = self.looked_at = 0
        self.dropped, self._rest = False, ""
        self._each, self._due = MOST_WORD_BYTES / max(MOST_WORD_BYTES, n_bytes), 1.0

    def feed(self, text: str, n_bytes: int) -> None:
        """A block; of a large text every so many are looked at."""
        if self._due < 1.0:
            self._due += self._each
            self.end()
            return
        self._due += self._each - 1.0
        self.looked_at += n_bytes
        text = self._rest + text
        found = _WORD_AT_END.search(text, max(0, len(text) - LONG_WORD))
        end = found.start() if found is not None else len(text)
        self._rest = text[end:]
        self._count(text[:end])

    def end(self) -> None:
        """No more of what was fed follows."""
        self._count(self._rest)
        self._rest = ""

    def _count(self, text: str) -> None:
        words = _WORD.findall(text)
        self.total += len(words)
        self.counts.update(words)
        if len(self.counts) > MOST_WORDS:
            least = sorted(self.counts.values())[len(self.counts) // 2]
            self.counts = Counter({word: count for word, count in self.counts.items() if count > least})
            self.dropped = True


class _Compressed:
    """How small the text becomes, by gzip and, where the extra is here, by zstd."""

    def __init__(self) -> None:
        self._machines: list[Any] = [zlib.compressobj(6, wbits=31)]
        with contextlib.suppress(ImportError):
            import zstandard

            self._machines.append(zstandard.ZstdCompressor(level=ZSTD_LEVEL).compressobj())
        self._sizes = [0] * len(self._machines)

    def feed(self, data: bytes) -> None:
        self._sizes = [size + len(each.compress(data)) for size, each in zip(self._sizes, self._machines, strict=True)]

    def bits_per_byte(self, n_bytes: int) -> tuple[float, float | None]:
        sizes = [size + len(each.flush()) for size, each in zip(self._sizes, self._machines, strict=True)]
        gzip, *zstd = (8 * size / max(1, n_bytes) for size in sizes)
        return gzip, zstd[0] if zstd else None


def statistics(
    text: Text,
    val_fraction: float = USUAL,
    progress: Progress | None = None,
    cancelled: Cancelled = lambda: False,
) -> Statistics | None:
    """What is in the text; None when `cancelled`, which is asked between two blocks, said yes. Raises CorpusError."""
    cut = text.split(val_fraction)
    lines = _Counted("\n", bool)
    records = _Counted(text.boundary, lambda rest: bool(rest.strip())) if text.boundary else None
    both = [each for each in (lines, records) if each is not None]
    characters, words, compressed, windows = _Characters(), _Words(text.n_bytes), _Compressed(), Lookup(MOST_WINDOWS)
    whole, done = max(1, 2 * text.n_bytes - cut), 0

    def blocks(start: int, end: int) -> Iterator[tuple[str, bytes]]:
        nonlocal done
        for block in text.chunks(start, end, BLOCK):
            if cancelled():
                raise _CancelledError
            data = block.encode()
            yield block, data
            done += len(data)
            if progress is not None:
                progress("counting", done / whole)

    try:
        stream = Windows()
        for block, data in blocks(cut, text.n_bytes):
            windows.want(stream.feed(data))
            for each in both:
                each.want(block)
        for each in both:
            each.all_wanted()
        stream = Windows()
        for training, start, end in ((True, 0, cut), (False, cut, text.n_bytes)):
            for block, data in blocks(start, end):
                characters.feed(block, data)
                words.feed(block, len(data))
                compressed.feed(data)
                for each in both:
                    each.feed(block, training)
                if training:
                    windows.see(stream.feed(data))
    except _CancelledError:
        return None
    words.end()
    for each in both:
        each.end()
    seen = np.flatnonzero(characters.counts)
    controls = np.array([point for point in seen if _is_control(chr(point))], np.int64)
    gzip, zstd = compressed.bits_per_byte(text.n_bytes)
    return Statistics(
        format=FORMAT,
        sha256=text.sha256,
        boundary=text.boundary,
        cut=cut,
        n_bytes=text.n_bytes,
        characters=int(characters.counts.sum()),
        lines=lines.lengths.told().count,
        records=records.lengths.told().count if records else None,
        distinct_characters=len(seen),
        top_characters=characters.top(seen),
        control_characters=int(characters.counts[controls].sum()),
        top_controls=characters.top(controls),
        line_lengths=lines.lengths.told(),
        record_lengths=records.lengths.told() if records else None,
        repeated_lines=lines.distinct.told(),
        repeated_records=records.distinct.told() if records else None,
        words=words.total,
        words_in_bytes=words.looked_at,
        top_words=tuple(words.counts.most_common(TOP)),
        some_words_dropped=words.dropped,
        gzip_bits_per_byte=gzip,
        zstd_bits_per_byte=zstd,
        shared_lines=lines.lookup.told(),
        shared_records=records.lookup.told() if records else None,
        shared_windows=windows.told(),
    )


class _CancelledError(Exception):
    pass


def _is_control(character: str) -> bool:
    return character in _DIRECTIONS or (unicodedata.category(character) == "Cc" and character not in "\t\n\r")


def known_statistics(text: Text) -> Statistics | None:
    """What was counted of this text before, for the usual split; None when nothing was, or that is damaged."""
    cut = text.split(USUAL)
    try:
        found = Statistics.model_validate_json(read_small(_place(text, cut), MOST_BYTES, CorpusError))
    except (CorpusError, ValidationError):
        return None
    same = (found.format, found.sha256, found.boundary, found.cut) == (FORMAT, text.sha256, text.boundary, cut)
    return found if same else None


def cached_statistics(
    text: Text, progress: Progress | None = None, cancelled: Cancelled = lambda: False
) -> Statistics | None:
    """`known_statistics`, or counted now and kept; None when `cancelled`. Raises CorpusError."""
    found = known_statistics(text)
    if found is None and (found := statistics(text, USUAL, progress, cancelled)) is not None:
        with contextlib.suppress(CorpusError):  # a cache that cannot be written costs the next look its time
            write_cached(_place(text, found.cut), found.model_dump_json().encode(), CorpusError)
    return found


def _place(text: Text, cut: int) -> Path:
    key = hashlib.sha256(json.dumps([FORMAT, text.boundary, cut]).encode()).hexdigest()[:16]
    return cache_dir() / "statistics" / f"{text.sha256[:32]}-{key}.json"
