"""Metrics read fast: a block of lines of one layout becomes one array, without a Python object a line.

A line's layout is what is left of it when its numbers are taken out. Lines of the commonest layout in a block go
through numpy's CSV reader together; all others are handed back to be read one by one with `json`.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt

_DIGITS = b"0123456789.+-E"
_NOT_CSV = bytes(byte for byte in range(256) if byte not in _DIGITS + b",\n")
_IS_DIGIT = bytes(byte in _DIGITS for byte in range(256))
_LAYOUT = re.compile(rb'\{"[a-z_]+":(?:,"[a-z_]+":)*\}\n')
_SMALL = 4096
"""Below this many bytes the fast way is not the fast way."""


@dataclass(frozen=True)
class Rows:
    """Consecutive lines of one layout: the names of its `columns` and `values` (lines, columns) as float64."""

    columns: tuple[str, ...]
    values: npt.NDArray[np.float64]


Part = Rows | bytes
"""What a block falls into, in its order: rows read already, or one line still to be read (without its newline)."""


def split_block(block: bytes) -> Iterator[Part]:
    """The parts of `block`, which holds whole lines, each with its newline."""
    found = _fast_rows(block) if len(block) >= _SMALL else None
    if found is None:
        yield from split_lines(block)
        return
    rows, runs = found
    ends = np.flatnonzero(np.frombuffer(block, np.uint8) == 10)
    line = row = 0
    for length in runs:
        if length:
            yield Rows(rows.columns, rows.values[row : row + length])
            row += length
            line += length
        else:
            yield block[int(ends[line - 1]) + 1 if line else 0 : int(ends[line])]
            line += 1


def split_lines(block: bytes) -> list[bytes]:
    """The lines of a block of whole lines, without their newlines."""
    return block[:-1].split(b"\n")


def _fast_rows(block: bytes) -> tuple[Rows, list[int]] | None:
    """All rows of the commonest layout, and the block's course: n for n rows, 0 for another line. None: no such way."""
    skeleton = block.translate(None, _DIGITS)
    head = [line + b"\n" for line in skeleton[:8192].split(b"\n")[:-1]]
    layouts = [line for line in head if _LAYOUT.fullmatch(line)]
    if not layouts:
        return None
    layout = Counter(layouts).most_common(1)[0][0]
    columns = tuple(key.decode() for key in re.findall(rb'"([a-z_]+)"', layout))
    runs = _runs(skeleton, layout)
    if not all(runs):
        block = _only_rows(block, runs)
    if not _numbers_stand_behind_colons(block):
        return None
    lines = block.translate(None, _NOT_CSV).split(b"\n")[:-1]
    try:
        values = np.loadtxt(lines, delimiter=",", comments=None, ndmin=2)
    except ValueError:
        return None
    if values.shape != (sum(runs), len(columns)):
        return None
    return Rows(columns, values), runs


def _runs(skeleton: bytes, layout: bytes) -> list[int]:
    """The block's course: n for n lines of `layout` on end, 0 for another line."""
    width = len(layout)
    ends = np.flatnonzero(np.frombuffer(skeleton, np.uint8) == 10)
    alike = np.diff(ends, prepend=-1) == width
    edges = [0, *(np.flatnonzero(alike[1:] != alike[:-1]) + 1).tolist(), len(ends)]
    runs: list[int] = []
    for first, last in pairwise(edges):
        if not alike[first]:
            runs += [0] * (last - first)
            continue
        start = int(ends[first]) + 1 - width
        lines = skeleton[start : start + width * (last - first)]
        if lines == layout * (last - first):
            runs.append(last - first)
        else:
            runs += [int(lines[at : at + width] == layout) for at in range(0, len(lines), width)]
    return runs


def _only_rows(block: bytes, runs: list[int]) -> bytes:
    ends = np.flatnonzero(np.frombuffer(block, np.uint8) == 10)
    kept = []
    line = 0
    for length in runs:
        if length:
            start = int(ends[line - 1]) + 1 if line else 0
            line += length
            kept.append(block[start : int(ends[line - 1]) + 1])
        else:
            line += 1
    return b"".join(kept)


def _numbers_stand_behind_colons(block: bytes) -> bool:
    """Whether there is a run of digits right behind each colon and none elsewhere (say, inside a damaged key)."""
    raw = np.frombuffer(block, np.uint8)
    digit = np.frombuffer(block.translate(_IS_DIGIT), np.uint8)
    starts = digit[1:] > digit[:-1]
    colons = raw[:-1] == ord(":")
    return not digit[0] and np.array_equal(starts, colons)
