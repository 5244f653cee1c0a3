"""Encoding a large text as a stream, in bounded memory, on all cores where that pays.

Character and byte tokenizers run at the speed of memory and stay in this process. The others look up Python strings and
hold the interpreter lock, so threads do not help them, and the library's own threads take 3.5 times the CPU time of all
the processes here together. A large text is cut into parts where a text may be cut, and worker processes encode the
parts in turn. The ids are the same for any number of workers (but for text that has no space within 4 MiB, which has to
be cut anywhere).
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import numpy as np

from engine.errors import UnknownCharacterError
from engine.machine import usable_threads
from engine.process import answer, first_order, in_turn
from engine.text.corpus import Text
from engine.tokenizers.base import Ids, Tokenizer
from engine.tokenizers.cutting import cut_after, cut_safely
from engine.tokenizers.table import tokenizer_from_dict

CHUNK = 1 << 20  # bytes of text cut into words at once
PART = 1 << 24  # bytes of text a worker encodes at once
LEAST = 1 << 23  # bytes below which starting workers costs more than it saves
MOST_WORKERS = 8


def encode_stream(
    tokenizer: Tokenizer, text: Text, start: int, end: int, workers: int | None = None
) -> Iterator[tuple[Ids, int]]:
    """The ids of the bytes [start, end) of `text` in order, as (ids, bytes of text done so far).

    `workers` is how many processes help; unset, one a core when the tokenizer and the size merit it, else none.
    """
    if workers is None:
        worth = end - start >= LEAST and not tokenizer.quick
        workers = min(usable_threads(), MOST_WORKERS) if worth else 1
    if workers > 1:
        yield from _by_workers(tokenizer, text, start, end, workers)
        return
    done = 0
    for chunk in cut_safely(text.chunks(start, end, CHUNK)):
        try:
            ids = tokenizer.encode(chunk)
        except UnknownCharacterError as error:
            place = start + done + len(chunk[: error.place].encode())  # in a long text a byte is found sooner
            raise error.moved(f"at byte {place:,} of the text", place) from None
        done += len(chunk.encode())
        yield ids, done


def parts_of(text: Text, start: int, end: int, size: int) -> Iterator[tuple[int, int]]:
    """[start, end) in parts of at least `size` bytes (but for the last) that end where a text may be cut."""
    with text.path.open("rb") as file:
        while start < end:
            stop = min(end, cut_after(file, start + size, end))
            yield start, stop
            start = stop


def _by_workers(tokenizer: Tokenizer, text: Text, start: int, end: int, workers: int) -> Iterator[tuple[Ids, int]]:
    fields = {"path": str(text.path), "n_bytes": text.n_bytes, "sha256": text.sha256, "boundary": text.boundary}
    told = {"tokenizer": tokenizer.to_dict(), "text": fields}
    with closing(in_turn("engine.tokenizers.encoding", workers, told, parts_of(text, start, end, PART))) as answers:
        for (low, high), data in answers:
            if data is not None:
                yield np.frombuffer(data, tokenizer.dtype), high - start
            else:  # a lost helper costs time, never the result
                yield _ids(tokenizer, text, low, high), high - start


def _ids(tokenizer: Tokenizer, text: Text, start: int, end: int) -> Ids:
    return np.concatenate([ids for ids, _ in encode_stream(tokenizer, text, start, end, workers=1)])


def work() -> None:
    """A worker's whole life: a tokenizer and a text, then parts to encode, until its input ends."""
    order = first_order()
    tokenizer = tokenizer_from_dict(order["tokenizer"])
    text = Text(**(order["text"] | {"path": Path(order["text"]["path"])}))
    for line in sys.stdin.buffer:
        answer(_ids(tokenizer, text, *json.loads(line)).tobytes())


if __name__ == "__main__":
    work()
