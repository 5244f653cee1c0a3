"""The part of a training split that a vocabulary is trained on."""

from __future__ import annotations

from collections.abc import Iterator

from engine.text.corpus import Text

MOST = 128 << 20  # bytes; more text changes a vocabulary hardly at all and only takes time
_BLOCKS = 64


def sampled_bytes(text: Text, end: int) -> int:
    """How many bytes `sampled` gives."""
    return min(end, MOST)


def sampled(text: Text, end: int, size: int = 1 << 20) -> Iterator[str]:
    """The bytes [0, end) of `text` in chunks of about `size`; above 128 MiB, 64 blocks of 2 MiB spread evenly."""
    if end <= MOST:
        yield from text.chunks(0, end, size)
        return
    length = MOST // _BLOCKS
    for block in range(_BLOCKS):
        start = _character(text, (end - length) * block // (_BLOCKS - 1))
        yield from text.chunks(start, _character(text, start + length), size)


def _character(text: Text, offset: int) -> int:
    """`offset`, moved back to where a character begins."""
    if offset >= text.n_bytes:
        return offset
    with text.path.open("rb") as file:
        file.seek(max(0, offset - 3))
        before = file.read(min(3, offset) + 1)
    while offset > 0 and len(before) > 0 and 0x80 <= before[-1] <= 0xBF:
        before = before[:-1]
        offset -= 1
    return offset
