"""One token a character."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, get_args

import numpy as np
from numpy.typing import NDArray

from engine.errors import TokenizerError, UnknownCharacterError
from engine.tokenizers.base import Ids, Material, Tokenizer, Unknown, character_name
from engine.tokenizers.learning import reporting

if TYPE_CHECKING:
    import tokenizers

    from engine.config import DataConfig

TYPICAL = 65  # characters of tinyshakespeare; plain English text has 60 to 100
EVERY_CHARACTER = r"[\s\S]"
"""The expression by which `tokenizers` cuts text into characters, newlines too."""
UNK = "<unk>"
AROUND = 20  # characters shown to each side of an unknown one


class CharTokenizer(Tokenizer):
    """The characters of a text, in the order of their code points.

    A character outside the vocabulary is an error, is left out (`skip`), or becomes the special token `<unk>` (`unk`).
    """

    kind: ClassVar[str] = "char"
    bytes_per_token: ClassVar[float] = 1.0
    least_vocab: ClassVar[int] = 1
    made_by: ClassVar[str | None] = "unknown"
    of_all: ClassVar[bool] = True
    quick: ClassVar[bool] = True

    def __init__(self, chars: str, unknown: Unknown = "error") -> None:
        if not chars or len(set(chars)) < len(chars) or unknown not in get_args(Unknown):
            raise ValueError("a character vocabulary is a text of distinct characters and what to do with others")
        super().__init__([char.encode() for char in chars], [UNK] if unknown == "unk" else [])
        self.chars, self.unknown = chars, unknown
        # One entry a code point up to the last known one, and one more for all after it; `_absent` marks the unknown.
        self._absent = self.vocab_size
        codes = _codes(chars)
        size = max(128, int(codes.max()) + 2)
        self._table = np.full(size, self._absent, np.uint16 if self._absent < 1 << 16 else np.uint32)
        self._table[codes] = np.arange(len(chars))

    @classmethod
    def from_corpus(cls, material: Material) -> CharTokenizer:
        """Of the whole text: which characters exist is no statistic, and so any text can be used, as in nanoGPT."""
        data, text, _, progress = material
        chunks = text.chunks(0, text.n_bytes, 1 << 20)
        return cls.train(reporting(chunks, text.n_bytes, "reading characters", progress), data.unknown)

    @classmethod
    def expected_vocab(cls, data: DataConfig) -> int:
        return TYPICAL + (data.unknown == "unk")

    @property
    def settings(self) -> dict[str, str | int]:
        return super().settings | {"unknown": self.unknown}

    @classmethod
    def train(cls, chunks: Iterable[str], unknown: Unknown = "error") -> CharTokenizer:
        """All characters of the chunks. Raises TokenizerError when there are none."""
        seen = np.zeros(0x110000, bool)
        for chunk in chunks:
            seen[_codes(chunk)] = True
        if not seen.any():
            raise TokenizerError("a character tokenizer needs a text that is not empty")
        return cls("".join(map(chr, np.flatnonzero(seen).tolist())), unknown)

    def with_unknown(self, unknown: Unknown) -> CharTokenizer:
        """The same ids with another policy. TokenizerError if that would change the vocabulary: `unk` is a token."""
        if unknown == self.unknown:
            return self
        if "unk" in (unknown, self.unknown):
            raise TokenizerError(
                f"data.unknown={unknown} changes the vocabulary, which was made with data.unknown={self.unknown}; "
                f"use {'error or skip' if unknown == 'unk' else 'unk'}"
            )
        return CharTokenizer(self.chars, unknown)

    @property
    def backend(self) -> tokenizers.Tokenizer:
        from tokenizers import AddedToken, Regex, decoders, models, pre_tokenizers
        from tokenizers import Tokenizer as Backend

        vocab = {char: id for id, char in enumerate(self.chars)} | self.special
        model = models.WordLevel(vocab, unk_token=UNK) if self.special else models.WordLevel(vocab)
        backend = Backend(model)
        backend.pre_tokenizer = pre_tokenizers.Split(Regex(EVERY_CHARACTER), "isolated")
        backend.decoder = decoders.Fuse()
        backend.add_special_tokens([AddedToken(text, special=True, normalized=False) for text in self.special])
        return backend

    @property
    def backend_is_whole(self) -> bool:
        return self.unknown != "skip"

    def _encode(self, text: str) -> Ids:
        codes = _codes(text)
        ids = self._table.take(codes, mode="clip")
        if ids.size and int(ids.max()) == self._absent:
            absent = ids == self._absent
            if self.unknown == "error":
                raise self._unknown(text, int(absent.argmax()))
            ids = ids[~absent] if self.unknown == "skip" else np.where(absent, self.special[UNK], ids)
        return ids.astype(self.dtype, copy=False)

    def _unknown(self, text: str, place: int) -> UnknownCharacterError:
        """What is said of the character at `place`: which one it is, what stands around it, and what may be done."""
        character = text[place]
        name = unicodedata.name(character, "without a name").lower()
        before, after = text[max(0, place - AROUND) : place], text[place + 1 : place + 1 + AROUND]
        around = (f", after {before!r}" if before else "") + (f", before {after!r}" if after else "")
        what = (
            f"the character {character_name(character)} ({name}) is not among the {len(self.chars):,} of this tokenizer"
        )
        return UnknownCharacterError(what, f"number {place + 1:,} of {len(text):,}", around, place)

    def to_dict(self) -> dict[str, Any]:
        return {"kind": self.kind, "chars": self.chars, "unknown": self.unknown}

    @classmethod
    def from_dict(cls, tree: Mapping[str, Any]) -> CharTokenizer:
        if not isinstance(tree["chars"], str):
            raise TypeError("chars is not a text")
        return cls(tree["chars"], tree["unknown"])


def _codes(text: str) -> NDArray[np.unsignedinteger[Any]]:
    """The code points of a text; one byte each for ASCII, where no wider array has to be made."""
    if text.isascii():
        return np.frombuffer(text.encode("ascii"), np.uint8)
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.uint32)
