"""What a vocabulary is learned from: an even sample of the training split, and the marks in it that become tokens."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from engine.tokenizers.base import END_OF_TEXT

if TYPE_CHECKING:
    from engine.text.corpus import Text
    from engine.text.scan import Progress
    from engine.tokenizers.base import Material

MOST = 128 << 20  # bytes; more text changes a vocabulary hardly at all and only takes time
_BLOCKS = 64
# What a corpus may use to end a record; one that occurs in the training split becomes one token (word and bpe).
USUAL_SPECIAL = ("<END>", END_OF_TEXT)
_TAG = re.compile(r"<[^\s<>]+>")


def sample_of(material: Material) -> tuple[Iterator[str], list[str]]:
    """The sample that a vocabulary is learned from, and the special tokens in it."""
    _, text, end, progress = material
    special = special_in(sampled(text, end), text.boundary)
    return reporting(sampled(text, end), min(end, MOST), "training tokenizer", progress), special


def sampled(text: Text, end: int, size: int = 1 << 20) -> Iterator[str]:
    """The bytes [0, end) of `text` in chunks of about `size`; above 128 MiB, 64 blocks of 2 MiB spread evenly."""
    if end <= MOST:
        yield from text.chunks(0, end, size)
        return
    length = MOST // _BLOCKS
    for block in range(_BLOCKS):
        start = text.character_start((end - length) * block // (_BLOCKS - 1))
        yield from text.chunks(start, text.character_start(start + length), size)


def special_in(chunks: Iterable[str], boundary: str | None) -> list[str]:
    """Which usual record ends, or the text's own boundary where it looks like a tag, occur in the chunks."""
    own = (boundary or "").strip()
    wanted = list(dict.fromkeys([*USUAL_SPECIAL, *([own] if _TAG.fullmatch(own) else [])]))
    found: set[str] = set()
    for chunk in chunks:
        found.update(mark for mark in wanted if mark not in found and mark in chunk)
        if len(found) == len(wanted):
            break
    return [mark for mark in wanted if mark in found]


def reporting(chunks: Iterable[str], total: int, what: str, progress: Progress | None) -> Iterator[str]:
    """The chunks, with word of how far into `total` bytes they are."""
    done = 0
    for chunk in chunks:
        yield chunk
        if progress is not None:
            done += len(chunk.encode())
            progress(what, min(1.0, done / max(1, total)))
