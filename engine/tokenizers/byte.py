"""One token a byte."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from engine.tokenizers.base import Ids, Material, Tokenizer
from engine.tokenizers.bpe import BYTES, byte_level_backend, byte_names

if TYPE_CHECKING:
    import tokenizers


class ByteTokenizer(Tokenizer):
    """The 256 bytes of UTF-8 text; an id is the byte's value. Nothing to train, nothing unknown, no special tokens."""

    kind: ClassVar[str] = "byte"
    bytes_per_token: ClassVar[float] = 1.0
    made_by: ClassVar[str | None] = None
    quick: ClassVar[bool] = True

    def __init__(self) -> None:
        super().__init__(BYTES)

    @classmethod
    def from_corpus(cls, material: Material) -> ByteTokenizer:
        return cls()

    @property
    def backend(self) -> tokenizers.Tokenizer:
        return byte_level_backend(byte_names(BYTES), [], [])

    def _encode(self, text: str) -> Ids:
        return np.frombuffer(text.encode(), np.uint8).astype(self.dtype)

    def to_dict(self) -> dict[str, Any]:
        return {"kind": self.kind}

    @classmethod
    def from_dict(cls, tree: Mapping[str, Any]) -> ByteTokenizer:
        return cls()
