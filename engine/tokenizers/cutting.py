"""Where a text may be cut so that the tokens of its parts are the tokens of the whole, and encoding by such parts.

BPE and word tokenizers first cut text into units: a word with the space before it, a number, a run of punctuation, a
run of spaces. A unit that was encoded once is looked up the next time. In every such scheme here no unit goes on from
something that is not a space to something that is, and none looks back. So before a space that follows no space, a text
can always be cut, for instance into chunks when it is streamed.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, BinaryIO

import numpy as np

from engine.text.utf8 import INSIDE
from engine.tokenizers.base import Ids

# The units of GPT-2's expression where they are ASCII, for which Python's `re` has the classes; a unit that touches
# anything else is left to the backend in one piece with all that follows, up to a place where text may be cut.
# (Python counts the four separators U+001C-U+001F as spaces, Unicode does not.)
GPT2_UNITS = re.compile(
    r"""
      '(?:[sdmt]|ll|ve|re)
    | [ ]?[A-Za-z]++(?![^\x00-\x7f])
    | [ ]?[!-/:-@\[-`{-\x7f\x00-\x08\x0e-\x1f]++(?![^\x00-\x7f])
    | [ ]?[0-9]++(?![^\x00-\x7f])
    | (?![\t-\r ]*+[^\x00-\x7f])(?:[\t-\r ]+(?![^\t-\r ])|[\t-\r])
    | [^\S\x1c-\x1f]*+[\S\x1c-\x1f]++
    | [^\S\x1c-\x1f]++
    """,
    re.VERBOSE,
)
CUT = re.compile(r"(?<=\S)[ \t\n\r]")
_LAST = re.compile(r".*\S(?=[ \t\n\r])", re.DOTALL)  # goes to the end at once, and back from there
_MOST = 200_000  # units remembered, about 40 MB
_LONGEST = 64  # characters of a unit worth remembering
_WINDOW = 1 << 16  # bytes of a file looked at at a time
HELD = 1 << 22  # characters held back for want of a place to cut; then it is cut anywhere: a unit takes 100 bytes each


class UnitEncoder:
    """Encodes text unit by unit and remembers the units: several times faster than the encoder it is given.

    `encode_all` gives the ids of each of several units, which are what `pattern` cuts. May be used by several threads.
    Raises UnicodeEncodeError for half of a surrogate pair.
    """

    def __init__(
        self,
        encode_all: Callable[[list[str]], Iterable[Sequence[int]]],
        dtype: np.dtype[Any],
        pattern: re.Pattern[str] = GPT2_UNITS,
    ) -> None:
        self._encode_all, self._dtype, self._pattern = encode_all, dtype, pattern
        self._known: dict[str, bytes] = {}
        self._lock = threading.Lock()

    def __call__(self, text: str) -> Ids:
        units = self._pattern.findall(text)
        with self._lock:
            known = self._known
            fresh = list(set(units).difference(known))
            "".join(fresh).encode()  # half of a surrogate pair is an error here; the encoders do as they like with it
            for unit, ids in zip(fresh, self._encode_all(fresh), strict=True):
                known[unit] = np.array(ids, self._dtype).tobytes()
            data = b"".join(map(known.__getitem__, units))
            if len(known) > _MOST:
                known.clear()
            else:
                for unit in fresh:
                    if len(unit) > _LONGEST:
                        del known[unit]
        return np.frombuffer(data, self._dtype)


def cut_safely(chunks: Iterable[str]) -> Iterator[str]:
    """The same text in other chunks, ended where a text may be cut."""
    held: list[str] = []  # pieces without a place to cut; each is looked at once, however many there are
    length = 0
    for chunk in chunks:
        before = held[-1][-1:] if held else ""  # whether a space at its beginning follows another shows there
        place = _last_cut(before + chunk) - len(before)
        if place < 0 and length + len(chunk) > HELD:
            place = len(chunk)
        if place >= 0:
            if whole := "".join([*held, chunk[:place]]):
                yield whole
            held, length, chunk = [], 0, chunk[place:]
        if chunk:
            held.append(chunk)
            length += len(chunk)
    if held:
        yield "".join(held)


def _last_cut(text: str) -> int:
    """The last place where `text` may be cut, -1 when there is none."""
    found = _LAST.match(text)
    return found.end() if found is not None else -1


def cut_after(file: BinaryIO, place: int, end: int) -> int:
    """The first place at or after `place` to cut at; between any two characters when 4 MiB hold none."""
    first = None
    for at in range(place, min(end, place + HELD), _WINDOW):
        file.seek(at)
        window = file.read(_WINDOW + 4)
        whole = window.lstrip(INSIDE)  # from the first character that begins in it
        characters = whole.decode("utf-8", "ignore")  # but for one cut at its end
        first = at + len(window) - len(whole) if first is None else first
        if found := CUT.search(characters):
            return at + len(window) - len(whole) + len(characters[: found.start()].encode())
    return end if first is None or end - place <= HELD else first
