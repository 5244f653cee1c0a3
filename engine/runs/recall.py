"""Long metrics as they were read once, kept in the cache: who opens the run again need not read them line by line.

What is kept counts only for a file that begins, byte for byte, as the one that was read.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import orjson

from engine.errors import UserError
from engine.files import open_cached
from engine.folders import cache_dir
from engine.runs import columns
from engine.runs.columns import Block, Columns

if TYPE_CHECKING:  # NumPy is loaded by then where something is kept, and not needed to read it
    from engine.runs.series import Series, Table

FORMAT = 1
MOST = 8
"""Runs of which something is kept: those opened last."""
SIZES = {"d": 8, "f": 4}
DIGEST = hashlib.sha256().digest_size


def blocks(path: Path, offset: int) -> Iterator[Block]:
    """The blocks of a file from `offset` on: as one what is kept of its beginning, the rest read by other processes."""
    if not offset and (known := recall(path)) is not None:
        yield known
        offset = known.size
    with suppress(OSError):
        if path.stat().st_size - offset >= columns.LONG:
            yield from columns.blocks_aside(path, offset)


def keep(path: Path, size: int, seam: bytes, lines: int, series: Series) -> None:
    """Keeps what the first `size` bytes came to: so many lines, none of them damaged. What cannot be kept is not."""
    found = [_numbers(table) for table in (series.train, series.val)]
    counts = [{key: (numbers.format, len(numbers)) for key, numbers in each.items()} for each in found]
    with suppress(OSError, UserError):
        head = orjson.dumps([FORMAT, _sum(path, size), size, seam.hex(), lines, counts])
        parts: list[bytes | memoryview] = [head, b"\n", *(numbers for each in found for numbers in each.values())]
        sums = hashlib.sha256()
        for part in parts:
            sums.update(part)
        with open_cached(_place(path)) as file:
            file.writelines([sums.digest(), *parts])
        for old in sorted(_place(path).parent.glob("*.bin"), key=lambda each: each.stat().st_mtime)[:-MOST]:
            old.unlink()


def recall(path: Path) -> Block | None:
    """What is kept of a file's beginning; None where nothing is, or the file no longer begins so."""
    try:
        place = _place(path)
        data = memoryview(whole := place.read_bytes())
        if hashlib.sha256(data[DIGEST:]).digest() != data[:DIGEST]:
            return None
        place.touch()
        at = whole.index(b"\n", DIGEST) + 1
        version, beginning, size, seam, lines, counts = orjson.loads(data[DIGEST:at])
        if version != FORMAT or _sum(path, size) != beginning:
            return None
    except (OSError, ValueError):
        return None
    both: tuple[Columns, Columns] = {}, {}
    for part, told in zip(both, counts, strict=True):
        for key, (kind, count) in told.items():
            end = at + SIZES[kind] * count
            part[key], at = data[at:end].cast(kind), end
    return Block(size, b"", bytes.fromhex(seam), lines, both)


def _numbers(table: Table) -> dict[str, memoryview]:
    columns = {"step": table.steps.astype(float), **{key: table.column(key) for key in table.keys}}
    return {key: column.data for key, column in columns.items()} if table.rows else {}


def _place(path: Path) -> Path:
    return cache_dir() / "metrics" / f"{hashlib.sha256(str(path.resolve()).encode()).hexdigest()[:32]}.bin"


def _sum(path: Path, size: int) -> str:
    """SHA-256 of the first `size` bytes, or of all there are."""
    sums = hashlib.sha256()
    with path.open("rb") as file:
        while size > 0 and (data := file.read(min(size, 1 << 20))):
            sums.update(data)
            size -= len(data)
    return sums.hexdigest()
