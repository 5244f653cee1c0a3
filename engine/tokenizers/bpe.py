"""Byte-level byte-pair encoding (Sennrich et al. 2016, Radford et al. 2019), by Hugging Face's `tokenizers`.

Here is also what every such vocabulary is made of, whoever learned it: GPT-2's alphabet for bytes, its files of merges,
the vocabulary as the library has it, and encoding by it.
"""

from __future__ import annotations

import json
import re
from abc import abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cache, cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from engine.errors import TokenizerError
from engine.files import read_small
from engine.tokenizers.base import MOST_BYTES, Ids, Material, Tokenizer
from engine.tokenizers.cutting import UnitEncoder, cut_safely
from engine.tokenizers.learning import sample_of

if TYPE_CHECKING:
    import tokenizers

Merge = tuple[int, int]
BYTES = [bytes([byte]) for byte in range(256)]
_LONG = re.compile(r"\S{1024}")  # genomes, base64
_FED = 1 << 14  # characters handed to the trainer at once; it holds 256 of these cut into words


@cache
def byte_alphabet() -> list[str]:
    """The character GPT-2's vocabulary files write for each byte (Radford et al. 2019).

    A printable character of Latin-1 stands for its own byte; the other 68 bytes are the characters from U+0100 on.
    """
    printable = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    others = iter(range(256, 512))
    return [chr(byte if byte in printable else next(others)) for byte in range(256)]


def byte_names(tokens: Iterable[bytes]) -> list[str]:
    """The tokens as vocabulary files write them, in GPT-2's alphabet."""
    alphabet = byte_alphabet()
    return ["".join(alphabet[byte] for byte in data) for data in tokens]


def merge_lines(path: Path) -> list[str]:
    """The lines `left right` of a file of merges. Raises TokenizerError, and UnicodeDecodeError for what is no text."""
    lines = [line.rstrip("\r") for line in read_small(path, MOST_BYTES, TokenizerError).decode().split("\n")]
    return [line for line in lines[lines[0].startswith("#version") :] if line]


def byte_level_backend(
    names: Sequence[str], merges: Iterable[Merge], special: Sequence[str], ignore_merges: bool = False
) -> tokenizers.Tokenizer:
    """Byte-level BPE of the library `tokenizers`: token i is names[i]; special ones not among them come after."""
    from tokenizers import AddedToken, decoders, models, pre_tokenizers
    from tokenizers import Tokenizer as Backend

    pairs = [(names[left], names[right]) for left, right in merges]
    vocab = {name: id for id, name in enumerate(names)}
    backend = Backend(models.BPE(vocab=vocab, merges=pairs, ignore_merges=ignore_merges))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    backend.add_special_tokens([AddedToken(text, special=True, normalized=False) for text in special])
    return backend


class ByteLevelTokenizer(Tokenizer):
    """One whose `backend` encodes any text, unit by unit."""

    @property
    @abstractmethod
    def backend(self) -> tokenizers.Tokenizer: ...

    @cached_property
    def _units(self) -> UnitEncoder:
        batch = self.backend.encode_batch_fast
        return UnitEncoder(lambda units: (each.ids for each in batch(units, add_special_tokens=False)), self.dtype)

    def _encode(self, text: str) -> Ids:
        return self._units(text)


class BpeTokenizer(ByteLevelTokenizer):
    """Ids 0-255 are the bytes, then one token a merge in the order learned, then the special tokens.

    Text is cut into words as GPT-2 cuts it. Any text encodes, and decodes to itself.
    """

    kind: ClassVar[str] = "bpe"
    bytes_per_token: ClassVar[float] = 3.3

    def __init__(self, merges: Sequence[Merge], special: Sequence[str] = ()) -> None:
        tokens = list(BYTES)
        known = set(tokens)
        for left, right in merges:
            if not (0 <= left < len(tokens) and 0 <= right < len(tokens)):
                raise ValueError(f"the merge {left}, {right} is of tokens that are not made yet")
            joined = tokens[left] + tokens[right]
            if joined not in known:  # two ways to spell one token
                known.add(joined)
                tokens.append(joined)
        super().__init__(tokens, special)
        self.merges = [(int(left), int(right)) for left, right in merges]

    @classmethod
    def from_corpus(cls, material: Material) -> BpeTokenizer:
        chunks, special = sample_of(material)
        return cls.train(chunks, material.data.vocab_size, special)

    @classmethod
    def train(cls, chunks: Iterable[str], vocab_size: int, special: Sequence[str] = ()) -> BpeTokenizer:
        """At most `vocab_size` tokens: 256 bytes, the special ones, and merges of pairs seen at least twice.

        Raises TokenizerError when `vocab_size` has no room for the bytes and the special tokens.
        """
        from tokenizers import Tokenizer as Backend
        from tokenizers import models, pre_tokenizers, trainers

        least = 256 + len(special)
        if vocab_size < least:
            raise TokenizerError(
                f"a bpe vocabulary has at least {least} tokens; --set data.vocab_size={max(512, least)}"
            )
        backend = Backend(models.BPE())
        backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        trainer = trainers.BpeTrainer(
            vocab_size=vocab_size - len(special),
            min_frequency=2,
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        )
        try:
            backend.train_from_iterator(_fed(chunks, cls([], special)), trainer)
        except UnicodeEncodeError:
            raise TokenizerError(
                "the text holds half of a surrogate pair, which is not a character; remove it"
            ) from None
        ids = {char: byte for byte, char in enumerate(byte_alphabet())}
        merges = []
        for left, right in json.loads(backend.to_str())["model"]["merges"]:
            merges.append((ids[left], ids[right]))
            ids.setdefault(left + right, len(ids))
        return cls(merges, special)

    @cached_property
    def backend(self) -> tokenizers.Tokenizer:
        ordinary = self._bytes[: self.vocab_size - len(self.special)]
        return byte_level_backend(byte_names(ordinary), self.merges, list(self.special))

    def to_dict(self) -> dict[str, Any]:
        return {"kind": self.kind, "merges": [list(merge) for merge in self.merges], "special": list(self.special)}

    @classmethod
    def from_dict(cls, tree: Mapping[str, Any]) -> BpeTokenizer:
        return cls([(left, right) for left, right in tree["merges"]], tree["special"])


def _fed(chunks: Iterable[str], tokenizer: Tokenizer) -> Iterator[str]:
    """Small parts of the text, without its special tokens and cut between words."""
    small = (chunk[i : i + _FED] for chunk in chunks for i in range(0, len(chunk), _FED))
    for part in cut_safely(small):
        for plain in tokenizer.without_special(part):
            yield from _short_words(plain)


def _short_words(text: str) -> Iterator[str]:
    """`text`, cut inside what is longer than any word: the trainer takes the square of a word's length."""
    start = 0
    for found in _LONG.finditer(text):
        yield text[start : found.end()]
        start = found.end()
    if start < len(text):
        yield text[start:]
