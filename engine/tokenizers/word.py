"""Words with a fallback to characters, so that no word is ever lost.

Text is cut into units: a word, a number or a run of punctuation, each with the one space before it if there is one, and
runs of other spaces. A space therefore costs no token of its own, and joining the units gives the text back exactly.
Frequent units are tokens. Another unit is spelled: its space, then the word without it if that is a token, else its
characters; a character that is no token is spelled by its UTF-8 bytes.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from typing import Any, ClassVar

from engine.errors import TokenizerError
from engine.tokenizers.base import Ids, Material, Tokenizer
from engine.tokenizers.bpe import BYTES
from engine.tokenizers.cutting import UnitEncoder, cut_safely
from engine.tokenizers.learning import sample_of

# A word may have apostrophes inside (don't, l’eau). Every character is in exactly one of the classes.
_UNIT = re.compile(r" ?[^\W\d_]+(?:['’][^\W\d_]+)*| ?\d+| ?(?:[^\w\s]|_)+|\s+(?!\S)|\s+")
_LONGEST = 64  # characters of a unit that may become a token
_MOST = 2_000_000  # different units counted at once; then those seen once are forgotten


class WordTokenizer(Tokenizer):
    """Ids 0-255 are the bytes (the ASCII characters among them), then other characters, words, and special tokens."""

    kind: ClassVar[str] = "word"
    bytes_per_token: ClassVar[float] = 4.5

    def __init__(self, chars: str, words: Sequence[str], special: Sequence[str] = ()) -> None:
        tokens = [*BYTES, *(char.encode() for char in chars), *(word.encode() for word in words)]
        if len(set(tokens)) < len(tokens) or b"" in tokens:
            raise ValueError("the characters and words are not distinct")
        super().__init__(tokens, special)
        self.chars, self.words = chars, list(words)
        self._ids = {token: id for id, token in enumerate(tokens)}

    @classmethod
    def from_corpus(cls, material: Material) -> WordTokenizer:
        chunks, special = sample_of(material)
        return cls.train(chunks, material.data.vocab_size, special)

    @classmethod
    def train(cls, chunks: Iterable[str], vocab_size: int, special: Sequence[str] = ()) -> WordTokenizer:
        """At most `vocab_size` tokens: the bytes, the special ones, then the most frequent characters and units.

        Characters outside ASCII get at most half of what is left. A unit seen once is not a token: spelling it is how
        the model learns to spell. Raises TokenizerError when `vocab_size` has no room for the bytes and special tokens.
        """
        least = 256 + len(special)
        if vocab_size < least:
            raise TokenizerError(
                f"a word vocabulary has at least {least} tokens; --set data.vocab_size={max(1024, least)}"
            )
        split = cls("", [], special)
        units: Counter[str] = Counter()
        for chunk in cut_safely(chunks):
            for plain in split.without_special(chunk):
                units.update(_UNIT.findall(plain))
            if len(units) > _MOST:
                units = Counter({unit: count for unit, count in units.items() if count > 1})
        letters: Counter[str] = Counter()
        for unit, count in units.items():
            if not unit.isascii():
                for char in unit:
                    if not char.isascii():
                        letters[char] += count
        room = vocab_size - least
        chars = "".join(_most_frequent(letters, room // 2))
        single = {*map(chr, range(128)), *chars}
        words = Counter(
            {unit: n for unit, n in units.items() if n > 1 and len(unit) <= _LONGEST and unit not in single}
        )
        return cls(chars, _most_frequent(words, room - len(chars)), special)

    @cached_property
    def _units(self) -> UnitEncoder:
        return UnitEncoder(lambda units: map(self._spell, units), self.dtype, _UNIT)

    def _encode(self, text: str) -> Ids:
        return self._units(text)

    def _spell(self, unit: str) -> list[int]:
        """The ids of one unit: itself, or its space and its word, or its characters."""
        data, ids = unit.encode(), self._ids
        if data in ids:
            return [ids[data]]
        if data[:1] == b" " and data[1:] in ids:
            return [0x20, ids[data[1:]]]
        return [id for char in unit for id in self._spell_char(char.encode())]

    def _spell_char(self, data: bytes) -> Iterable[int]:
        id = self._ids.get(data)
        return data if id is None else (id,)

    def to_dict(self) -> dict[str, Any]:
        return {"kind": self.kind, "chars": self.chars, "words": self.words, "special": list(self.special)}

    @classmethod
    def from_dict(cls, tree: Mapping[str, Any]) -> WordTokenizer:
        if not all(isinstance(text, str) for text in (tree["chars"], *tree["words"])):
            raise TypeError("its characters or words are not text")
        return cls(tree["chars"], tree["words"], tree["special"])


def _most_frequent(counts: Counter[str], most: int) -> list[str]:
    """The `most` most frequent, ties in the order of the alphabet, so that the same text gives the same vocabulary."""
    return sorted(counts, key=lambda text: (-counts[text], text))[:most]
