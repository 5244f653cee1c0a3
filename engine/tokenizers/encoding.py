"""Encoding a large text as a stream, in bounded memory, on all cores where that pays.

Character and byte tokenizers run at the speed of memory and stay in this process. The others look up Python strings and
hold the interpreter lock, so threads do not help them, and the library's own threads take 3.5 times the CPU time of all
the processes here together. A large text is cut into parts where a text may be cut, and worker processes encode the
parts in turn. The ids are the same for any number of workers (but for text that has no space within 4 MiB, which has to
be cut anywhere).

A worker reads orders from its input and writes ids to its output. It shares no state with a terminal program that
started it, and ends by itself when its parent is gone.
"""

from __future__ import annotations

import contextlib
import json
import struct
import subprocess
import sys
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import numpy as np

from engine import process
from engine.errors import UnknownCharacterError
from engine.machine import usable_threads
from engine.text.corpus import Text
from engine.tokenizers.base import Ids, Tokenizer
from engine.tokenizers.cutting import CUT, HELD, cut_safely
from engine.tokenizers.table import tokenizer_from_dict

CHUNK = 1 << 20  # bytes of text cut into words at once
PART = 1 << 24  # bytes of text a worker encodes at once
LEAST = 1 << 23  # bytes below which starting workers costs more than it saves
MOST_WORKERS = 8
_INSIDE = bytes(range(0x80, 0xC0))  # bytes that go on with a character
_LENGTH = struct.Struct("<Q")


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
        done += len(chunk) if chunk.isascii() else len(chunk.encode())
        yield ids, done


def parts_of(text: Text, start: int, end: int, size: int) -> Iterator[tuple[int, int]]:
    """[start, end) in parts of at least `size` bytes (but for the last) that end where a text may be cut."""
    with text.path.open("rb") as file:
        while start < end:
            stop = min(end, _cut_after(file, start + size, end))
            yield start, stop
            start = stop


def _cut_after(file: BinaryIO, place: int, end: int) -> int:
    """The first place at or after `place` to cut at; between any two characters when 4 MiB hold none."""
    first = None
    for at in range(place, min(end, place + HELD), 1 << 16):
        file.seek(at)
        window = file.read((1 << 16) + 4)
        whole = window.lstrip(_INSIDE)  # from the first character that begins in it
        characters = whole.decode("utf-8", "ignore")  # but for one cut at its end
        first = at + len(window) - len(whole) if first is None else first
        if found := CUT.search(characters):
            return at + len(window) - len(whole) + len(characters[: found.start()].encode())
    return end if first is None or end - place <= HELD else first


def _by_workers(tokenizer: Tokenizer, text: Text, start: int, end: int, workers: int) -> Iterator[tuple[Ids, int]]:
    everyone = [_Worker(tokenizer, text) for _ in range(workers)]
    fields = {"path": str(text.path), "n_bytes": text.n_bytes, "sha256": text.sha256, "boundary": text.boundary}
    under_way: deque[tuple[_Worker, int, int]] = deque()
    try:
        for worker in everyone:
            worker.order({"tokenizer": tokenizer.to_dict(), "text": fields})
        for turn, part in enumerate(parts_of(text, start, end, PART)):
            worker = everyone[turn % workers]
            worker.order(part)
            under_way.append((worker, *part))
            if len(under_way) == 2 * workers:  # so that each has its next part before its last is taken
                worker, *first = under_way.popleft()
                yield worker.ids(*first), first[1] - start
        for worker, low, high in under_way:
            yield worker.ids(low, high), high - start
    finally:
        for worker in everyone:
            worker.close()


class _Worker:
    """One helping process. When it fails, its part is encoded here: a lost helper costs time, never the result."""

    def __init__(self, tokenizer: Tokenizer, text: Text) -> None:
        self._tokenizer, self._text = tokenizer, text
        self._process = process.start(
            "engine.tokenizers.encoding",
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            TOKENIZERS_PARALLELISM="false",
            OMP_NUM_THREADS="1",
        )

    def order(self, order: object) -> None:
        """Tells what it works on, once, then which part; what a dead process does not take shows in `ids`."""
        assert self._process.stdin is not None
        with contextlib.suppress(OSError):
            self._process.stdin.write(json.dumps(order).encode() + b"\n")
            self._process.stdin.flush()

    def ids(self, start: int, end: int) -> Ids:
        """The ids of the bytes [start, end), which is the part that was asked for first of those not yet taken."""
        assert self._process.stdout is not None
        header = self._process.stdout.read(_LENGTH.size)
        if len(header) == _LENGTH.size:
            data = self._process.stdout.read(*_LENGTH.unpack(header))
            if len(data) == _LENGTH.unpack(header)[0]:
                return np.frombuffer(data, self._tokenizer.dtype)
        return np.concatenate([ids for ids, _ in encode_stream(self._tokenizer, self._text, start, end, workers=1)])

    def close(self) -> None:
        """Ends the process and frees what it held."""
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            assert pipe is not None
            with contextlib.suppress(OSError):  # what could not be written to a dead process
                pipe.close()


def work() -> None:
    """A worker's whole life: a tokenizer and a text, then parts to encode, until its input ends."""
    order = json.loads(sys.stdin.buffer.readline())
    tokenizer = tokenizer_from_dict(order["tokenizer"])
    text = Text(**(order["text"] | {"path": Path(order["text"]["path"])}))
    for line in sys.stdin.buffer:
        start, end = json.loads(line)
        found = [ids for ids, _ in encode_stream(tokenizer, text, start, end, workers=1)]
        data = np.concatenate(found).tobytes()
        sys.stdout.buffer.write(_LENGTH.pack(len(data)) + data)
        sys.stdout.buffer.flush()


if __name__ == "__main__":
    work()
