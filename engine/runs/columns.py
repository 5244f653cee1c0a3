"""The numbers of metrics.jsonl as columns, a block of lines at a time; those of a long file in a process of its own.

To read a million records holds the interpreter for a second and more, and a screen beside it would answer no key.
"""

from __future__ import annotations

import math
from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing, suppress
from itertools import chain
from operator import itemgetter
from pathlib import Path
from typing import Any, NamedTuple

import orjson

from engine.process import Helper, answer, first_order
from engine.runs.tail import Tail

Record = Mapping[str, Any]
Columns = dict[str, "array[float]"]
"""The numbers of some records by their names."""
AT_ONCE = 1 << 20
"""Bytes of a block that another process reads. What is made of one is taken in some ten turns, and each time a busy
screen lets go of the interpreter some milliseconds late."""
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


# -- a long file, in a process of its own ------------------------------------------------------------------------------


class Block(NamedTuple):
    """Some whole lines: their bytes' number and end, how many they are, and their columns, None as of `columns_of`."""

    size: int
    seam: bytes
    lines: int
    both: Both | None


def blocks_aside(path: Path, offset: int) -> Iterator[Block]:
    """The blocks of a file from `offset` on, read by another process.

    They end early where it is lost, cannot be had, or comes to a line that is too long: what is missing is to be read
    here.
    """
    try:
        helper = Helper("engine.runs.columns")
    except OSError:
        return
    with closing(helper):
        helper.order([str(path), offset])
        while (data := helper.answer()) is not None:
            yield _unpacked(data)


def _packed(block: Block) -> bytes:
    both = None if block.both is None else [{key: len(column) for key, column in part.items()} for part in block.both]
    said = orjson.dumps([block.size, block.seam.hex(), block.lines, both])
    return b"\n".join([said, b"".join(column.tobytes() for part in block.both or () for column in part.values())])


def _unpacked(data: bytes) -> Block:
    said, _, numbers = data.partition(b"\n")
    size, seam, lines, counts = orjson.loads(said)
    at = 0
    both: tuple[Columns, Columns] = {}, {}
    for columns, part in zip(both, counts or (), strict=False):
        for key, count in part.items():
            columns[key] = array("d", numbers[at : at + 8 * count])
            at += 8 * count
    return Block(size, bytes.fromhex(seam), lines, None if counts is None else both)


def main() -> None:
    """The other process: a file and where to begin, then its blocks."""
    path, offset = first_order()
    tail = Tail(Path(path), offset)
    for block in tail.blocks(AT_ONCE):
        if tail.offset != offset + len(block):  # a line too long was passed over
            return
        offset = tail.offset
        records = records_of(block)
        answer(_packed(Block(len(block), tail.seam, len(records), columns_of(records) if records else None)))


if __name__ == "__main__":
    main()
