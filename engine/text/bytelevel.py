"""One token a byte, and GPT-2's alphabet, which writes bytes as printable characters."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any, ClassVar

import numpy as np

from engine.text.tokenizer import Ids, Tokenizer

BYTES = [bytes([byte]) for byte in range(256)]


class ByteTokenizer(Tokenizer):
    """The 256 bytes of UTF-8 text; an id is the byte's value. Nothing to train, nothing unknown, no special tokens."""

    kind: ClassVar[str] = "byte"

    def __init__(self) -> None:
        super().__init__(BYTES)

    def _encode(self, text: str) -> Ids:
        return np.frombuffer(text.encode(), np.uint8).astype(self.dtype)

    def to_dict(self) -> dict[str, Any]:
        return {"kind": self.kind}

    @classmethod
    def from_dict(cls, tree: Mapping[str, Any]) -> ByteTokenizer:
        return cls()


@cache
def byte_alphabet() -> list[str]:
    """The character GPT-2's vocabulary files write for each byte (Radford et al. 2019).

    A printable character of Latin-1 stands for its own byte; the other 68 bytes are the characters from U+0100 on.
    """
    printable = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    others = iter(range(256, 512))
    return [chr(byte if byte in printable else next(others)) for byte in range(256)]
