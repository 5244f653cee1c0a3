"""The numbers of metrics.jsonl as columns, a block of lines at a time; those of a long file by other processes.

To read a million records holds the interpreter for a second and more, and a screen beside it would answer no key.
"""

from __future__ import annotations

import math
import os
import sys
from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing, suppress
from itertools import chain
from operator import itemgetter
from pathlib import Path
from typing import Any, NamedTuple

import orjson

from engine.machine import usable_threads
from engine.process import answer, first_order, in_turn
from engine.runs.tail import SEAM

Record = Mapping[str, Any]
Columns = dict[str, "array[float] | memoryview[float]"]
"""The numbers of some records by their names."""
LONG = 1 << 24
"""Bytes of metrics from which on other processes are worth their beginning."""
AT_ONCE = 1 << 20
"""Bytes of a block that another process reads, or a line more. What is made of one is taken in some ten turns, and each
time a busy screen lets go of the interpreter some milliseconds late."""
LINE = 1 << 16
"""Bytes in which a line of ours ends."""
MOST_HELPERS = 4
"""Processes that read one file."""
Both = tuple[Columns, Columns]
"""Of records of training, and of evaluations; without any where there were none."""


def records_of(block: bytes) -> list[dict[str, Any]]:
    """The records of whole lines, read as one list; [] when they are to be read one by one.

    So they are when any line is no record, or holds true or false, which are no numbers. No key of ours has an f or u,
    and a byte is sought much faster than a word.
    """
    if (b"f" in block and b"false" in block) or (b"u" in block and b"true" in block):
        return []
    try:
        found = orjson.loads(b"[" + block[:-1].replace(b"\n", b",") + b"]")
    except ValueError:
        return []
    return found if len(found) == block.count(b"\n") and set(map(type, found)) == {dict} else []


def columns_of(records: Sequence[Record]) -> Both | None:
    """Records as columns; None when they have to be added one by one.

    Of true and false the caller has seen that none is in them: they would be taken for 1 and 0.
    """
    val = [record for record in records if "val_loss" in record]
    train = [record for record in records if "val_loss" not in record] if val else records
    try:
        both = (_columns(train) if train else {}, _columns(val) if val else {})
    except TypeError:
        return None
    return None if any(columns and ("resumed" in columns or "step" not in columns) for columns in both) else both


def _columns(records: Sequence[Record]) -> Columns:
    """The numbers of records by their names, NaN where one is None or absent. Raises TypeError for what is none."""
    keys: Iterable[str] = records[0]
    if sum(map(len, records)) == len(records[0]) * len(records):
        with suppress(KeyError, TypeError):  # all alike, as one program writes them
            return {key: array("d", [*map(itemgetter(key), records)]) for key in keys}
    keys = dict.fromkeys(chain.from_iterable(records))
    found = ((key, (record.get(key) for record in records)) for key in keys)
    return {key: array("d", [math.nan if each is None else each for each in values]) for key, values in found}


# -- a long file, by other processes -----------------------------------------------------------------------------------


class Block(NamedTuple):
    """Some whole lines: their bytes' number, what came before and their end (SEAM bytes, or all there are), how many
    lines they are, and their columns, None as of `columns_of`."""

    size: int
    before: bytes
    seam: bytes
    lines: int
    both: Both | None


def blocks_aside(path: Path, offset: int) -> Iterator[Block]:
    """The blocks of a file from `offset` on, in their order, read by other processes.

    They end early where one is lost, none can be had, or a line is longer than any of ours: what is missing is to be
    read here.
    """
    count = min(usable_threads(), MOST_HELPERS)
    try:
        with closing(in_turn("engine.runs.columns", count, str(path), _parts(path, offset))) as answers:
            for (start, end), data in answers:
                if not data:
                    return
                yield _unpacked(end - start, data)
    except OSError:  # no more processes, or the file is gone
        return


def _parts(path: Path, offset: int) -> Iterator[tuple[int, int]]:
    """Where whole lines begin and end, some AT_ONCE bytes each; what is left at the end of a file is none."""
    with path.open("rb") as file:
        while len(data := os.pread(file.fileno(), LINE, offset + AT_ONCE)) and (line := data.find(b"\n") + 1):
            yield offset, offset + AT_ONCE + line
            offset += AT_ONCE + line


def _packed(before: bytes, block: bytes) -> bytes:
    records = records_of(block)
    both = columns_of(records) if records else None
    counts = None if both is None else [{key: len(column) for key, column in part.items()} for part in both]
    said = orjson.dumps([before.hex(), block[-SEAM:].hex(), len(records), counts])
    return b"\n".join([said, b"".join(column.tobytes() for part in both or () for column in part.values())])


def _unpacked(size: int, data: bytes) -> Block:
    at = data.index(b"\n") + 1
    before, seam, lines, counts = orjson.loads(data[:at])
    numbers = memoryview(data)
    both: tuple[Columns, Columns] = {}, {}
    for columns, part in zip(both, counts or (), strict=False):
        for key, count in part.items():
            columns[key] = numbers[at : at + 8 * count].cast("d")
            at += 8 * count
    return Block(size, bytes.fromhex(before), bytes.fromhex(seam), lines, None if counts is None else both)


def work() -> None:
    """A helper's whole life: a file, then where the lines lie that it reads; where they are gone it answers nothing."""
    with Path(first_order()).open("rb") as file:
        for order in sys.stdin.buffer:
            start, end = orjson.loads(order)
            known = min(start, SEAM)
            data = os.pread(file.fileno(), end - start + known, start - known)
            whole = len(data) == end - start + known and data.endswith(b"\n")
            answer(_packed(data[:known], data[known:]) if whole else b"")


if __name__ == "__main__":
    work()
