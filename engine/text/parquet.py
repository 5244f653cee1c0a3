"""Rows out of Parquet tables, some at a time. Needs pyarrow, an extra."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from engine.errors import CorpusError

if TYPE_CHECKING:
    from engine.text.source import Part, Source

ROWS = 1000  # read at once


def parquet_columns(part: Part) -> list[str]:
    """The names of its columns. Raises CorpusError when it is damaged, or pyarrow is not here."""
    with _opened(part) as table:
        return [str(name) for name in table.schema_arrow.names]


def parquet_rows(source: Source, part: Part, columns: tuple[str, ...]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Its rows with where they stand; only `columns`, where named."""
    number, of = 0, 1
    with _opened(part) as table:
        of = max(1, table.metadata.num_rows)
        for batch in table.iter_batches(ROWS, columns=list(columns) or None, use_threads=False):
            for row in batch.to_pylist():
                number += 1
                yield f"{part.name}, row {number}", row
            source.at(part, number / of)


@contextlib.contextmanager
def _opened(part: Part) -> Iterator[Any]:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        raise CorpusError(
            f"{part.name} is a Parquet table; to read it: pip install 'tinytui[parquet]', or save it as CSV or JSONL"
        ) from None
    try:
        with pyarrow.parquet.ParquetFile(part.path, memory_map=True) as table:
            yield table
    except (pyarrow.ArrowException, OSError, UnicodeDecodeError) as error:
        words = " ".join(str(error).split())[:200]
        raise CorpusError(f"{part.name} is a damaged Parquet table ({words}); get it again") from None
