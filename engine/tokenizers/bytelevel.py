"""What byte-level BPE is made of: GPT-2's alphabet for bytes, such a vocabulary as the library has it, and encoding."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Sequence
from functools import cache, cached_property
from typing import TYPE_CHECKING

from engine.tokenizers.base import Ids, Tokenizer
from engine.tokenizers.cutting import UnitEncoder

if TYPE_CHECKING:
    import tokenizers

Merge = tuple[int, int]
BYTES = [bytes([byte]) for byte in range(256)]


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
