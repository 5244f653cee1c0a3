"""Byte-level BPE as others trained it: the vocabulary, with each token under the number it has there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar

from engine.errors import TokenizerError
from engine.tokenizers.base import Material, Tokenizer
from engine.tokenizers.bpe import ByteLevelTokenizer, Merge, byte_alphabet, byte_level_backend

if TYPE_CHECKING:
    import tokenizers


class ImportedTokenizer(ByteLevelTokenizer):
    """Tokens in any order, among them the 256 bytes and the special ones; text is cut into words as GPT-2 cuts it.

    `names` are the tokens by id as vocabulary files write them: ordinary ones in GPT-2's alphabet of bytes, special
    ones as they are. `merges` are pairs of ids, the most urgent first. With `ignore_merges` a word that is a token is
    one, whatever the merges say. Any text encodes, and decodes to itself.
    """

    kind: ClassVar[str] = "imported"
    bytes_per_token: ClassVar[float] = 3.9

    def __init__(
        self, names: Sequence[str], merges: Sequence[Merge], special: Sequence[str] = (), ignore_merges: bool = False
    ) -> None:
        self.names, self.merges = list(names), [(left, right) for left, right in merges]
        self.ignore_merges = ignore_merges
        ids = {name: id for id, name in enumerate(self.names)}
        letters = byte_alphabet()
        value = {letter: byte for byte, letter in enumerate(letters)}
        places = {text: ids[text] for text in special}
        twice = len(ids) < len(self.names) or len(places) < len(special)
        if twice or any(letter not in ids or letter in places for letter in letters):
            raise ValueError("the tokens are not distinct, or not all bytes are among them")
        for pair in self.merges:
            if any(type(id) is not int or not 0 <= id < len(self.names) for id in pair):
                raise ValueError(f"the merge {pair} is of tokens that are not there")
            if ids.get(self.names[pair[0]] + self.names[pair[1]]) is None:
                raise ValueError(f"the merge {pair} makes no token")
        tokens = [name.encode() if name in places else bytes(value[letter] for letter in name) for name in self.names]
        super().__init__(tokens, places)

    @classmethod
    def from_corpus(cls, material: Material) -> Tokenizer:
        raise TokenizerError("an imported tokenizer comes with its model; see tinytui runs import")

    @property
    def settings(self) -> dict[str, str | int]:
        return super().settings | {"tokenizer": "bpe"}

    @cached_property
    def backend(self) -> tokenizers.Tokenizer:
        return byte_level_backend(self.names, self.merges, list(self.special), self.ignore_merges)

    def to_dict(self) -> dict[str, Any]:
        return {
            "kind": self.kind,
            "tokens": self.names,
            "merges": [list(merge) for merge in self.merges],
            "special": list(self.special),
            "ignore_merges": self.ignore_merges,
        }

    @classmethod
    def from_dict(cls, tree: Mapping[str, Any]) -> ImportedTokenizer:
        if type(tree["ignore_merges"]) is not bool or not all(isinstance(name, str) for name in tree["tokens"]):
            raise TypeError("its tokens are not text, or ignore_merges is not true or false")
        return cls(tree["tokens"], tree["merges"], tree["special"], tree["ignore_merges"])
