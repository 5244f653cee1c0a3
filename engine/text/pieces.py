"""Where a text may be cut so that the tokens of its parts are the tokens of the whole, and encoding by such parts.

BPE and word tokenizers first cut text into short units (a word with the space before it, a number, a run of
punctuation, a run of spaces). In every such scheme here no unit goes on from something that is not a space to something
that is, and none looks back. So before a space that follows no space, a text can always be cut: into chunks when it is
streamed, and into pieces, each of which is encoded once and then looked up.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from engine.text.tokenizer import Ids

# Spaces, then what is not a space. Python counts the four separators U+001C-U+001F as spaces, Unicode does not.
_PIECE = re.compile(r"[^\S\x1c-\x1f]*[\S\x1c-\x1f]+|[^\S\x1c-\x1f]+")
# GPT-2's units in ASCII, where Python's classes and Unicode's are the same.
_GPT2_ASCII = re.compile(r"'(?:[sdmt]|ll|ve|re)| ?[A-Za-z]+| ?[0-9]+| ?[^\sA-Za-z0-9]+|\s+(?!\S)|\s+", re.ASCII)
_CUT = re.compile(r"(?<=\S)[ \t\n\r]")
_MOST = 200_000  # pieces remembered, about 40 MB
_LONGEST = 64  # characters of a piece worth remembering
_HELD = 1 << 24  # characters held back for want of a place to cut; then it is cut anywhere


class PieceEncoder:
    """Encodes text piece by piece and remembers the pieces: several times faster than the encoder it is given.

    `encode_all` gives the ids of each of several units. Pieces are what `pattern` cuts; one that is new and ASCII is cut
    further into `units`, which are fewer. May be used from several threads.
    """

    def __init__(
        self,
        encode_all: Callable[[list[str]], Iterable[Sequence[int]]],
        dtype: np.dtype[Any],
        pattern: re.Pattern[str] = _PIECE,
        units: re.Pattern[str] | None = _GPT2_ASCII,
    ) -> None:
        self._encode_all, self._dtype, self._pattern, self._units = encode_all, dtype, pattern, units
        self._pieces: dict[str, bytes] = {}
        self._known: dict[str, bytes] = {}
        self._lock = threading.Lock()

    def __call__(self, text: str) -> Ids:
        pieces = self._pattern.findall(text)
        with self._lock:
            fresh = list(set(pieces).difference(self._pieces))
            self._pieces.update(zip(fresh, self._encode_pieces(fresh), strict=True))
            data = b"".join(map(self._pieces.__getitem__, pieces))
            _forget(self._pieces, fresh)
        return np.frombuffer(data, self._dtype)

    def _encode_pieces(self, pieces: list[str]) -> list[bytes]:
        units = self._units
        if units is None:
            return list(map(self._to_bytes, self._encode_all(pieces)))
        cut = [units.findall(piece) if piece.isascii() else [piece] for piece in pieces]
        fresh = list({unit for parts in cut for unit in parts}.difference(self._known))
        self._known.update(zip(fresh, map(self._to_bytes, self._encode_all(fresh)), strict=True))
        found = [b"".join(map(self._known.__getitem__, parts)) for parts in cut]
        _forget(self._known, fresh)
        return found

    def _to_bytes(self, ids: Sequence[int]) -> bytes:
        return np.array(ids, self._dtype).tobytes()


def _forget(known: dict[str, bytes], fresh: list[str]) -> None:
    """Keeps the memory bounded: drops long pieces, which hardly come again, and everything when there is too much."""
    if len(known) > _MOST:
        known.clear()
    else:
        for piece in fresh:
            if len(piece) > _LONGEST:
                del known[piece]


def cut_safely(chunks: Iterable[str]) -> Iterator[str]:
    """The same text in other chunks, ended where a text may be cut."""
    held = ""
    for chunk in chunks:
        held += chunk
        place = _last_cut(held)
        if place == 0 and len(held) > _HELD:
            place = len(held)
        if place:
            yield held[:place]
            held = held[place:]
    if held:
        yield held


def _last_cut(text: str) -> int:
    """The last place where `text` may be cut, 0 when there is none. Looks near the end first, where it mostly is."""
    for reach in (1 << 10, 1 << 16, len(text)):
        start = max(0, len(text) - reach)
        if places := [found.start() for found in _CUT.finditer(text, start)]:
            return places[-1]
    return 0
