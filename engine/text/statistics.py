"""What is in a text: counts for the corpora screen and `tinytui corpora show`, in one streamed pass."""

from __future__ import annotations

from typing import Any

import numpy as np

from engine.text.check import Progress
from engine.text.corpus import Text

CODE_POINTS = 0x110000


def statistics(text: Text, top: int = 20, progress: Progress | None = None) -> dict[str, Any]:
    """characters, bytes, lines, records (None without a boundary), distinct_characters, and top_characters
    [(character, count)], the most frequent first. Memory does not grow with the text."""
    counts = np.zeros(CODE_POINTS, dtype=np.int64)
    boundary, records, done = text.boundary, 0, 0
    tail, unfinished = "", False  # what may begin a boundary; whether text follows the last one
    for chunk in text.chunks():
        if chunk.isascii():
            counts[:128] += np.bincount(np.frombuffer(chunk.encode(), np.uint8), minlength=128)
        else:
            counts += np.bincount(np.frombuffer(chunk.encode("utf-32-le"), np.uint32), minlength=CODE_POINTS)
        if boundary:
            *whole, tail = (tail + chunk).split(boundary)
            records += len(whole)
            unfinished = bool(tail.strip()) or (unfinished and not whole)
            tail = tail[1 - len(boundary) :] if len(boundary) > 1 else ""
        if progress is not None:
            done += len(chunk)
            progress("counting", min(1.0, done / text.n_bytes))
    characters = int(counts.sum())
    newlines = int(counts[ord("\n")])
    ends_in_newline = text.n_bytes == 0 or _last_byte(text) == b"\n"
    seen = np.flatnonzero(counts)
    by_count = seen[np.argsort(-counts[seen], kind="stable")][:top]
    return {
        "characters": characters,
        "bytes": text.n_bytes,
        "lines": newlines + (not ends_in_newline),
        "records": records + unfinished if boundary else None,
        "distinct_characters": len(seen),
        "top_characters": [(chr(point), int(counts[point])) for point in by_count],
    }


def _last_byte(text: Text) -> bytes:
    with text.path.open("rb") as file:
        file.seek(text.n_bytes - 1)
        return file.read(1)


def preview(text: Text, n: int = 1000) -> str:
    """The first `n` characters."""
    pieces, left = [], n
    for chunk in text.chunks(size=max(4, min(4 * n, 1 << 20))):
        pieces.append(chunk[:left])
        left -= len(pieces[-1])
        if left <= 0:
            break
    return "".join(pieces)
