"""GPT-2's vocabulary (Radford et al. 2019), by OpenAI's `tiktoken`, which is an extra."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from engine.errors import TokenizerError
from engine.folders import cache_dir
from engine.tokenizers.base import END_OF_TEXT, Ids, Material, Tokenizer
from engine.tokenizers.bpe import Merge, byte_alphabet, byte_level_backend, byte_names, merge_lines

if TYPE_CHECKING:
    import tokenizers

SIZE = 50_256  # without it
# How GPT-2 cuts text into words before it merges bytes.
_WORDS = r"""'(?:[sdmt]|ll|ve|re)| ?\p{L}++| ?\p{N}++| ?[^\s\p{L}\p{N}]++|\s++$|\s+(?!\S)|\s"""
_INSTEAD = "or train a vocabulary of your own: --set data.tokenizer=bpe"


class Gpt2Tokenizer(Tokenizer):
    """50,256 byte-level tokens and `<|endoftext|>`. A saved one holds its vocabulary, and needs no download again."""

    kind: ClassVar[str] = "gpt2"
    bytes_per_token: ClassVar[float] = 3.9
    least_vocab: ClassVar[int] = SIZE + 1
    made_by: ClassVar[str | None] = None

    def __init__(self, tokens: Sequence[bytes]) -> None:
        if len(set(tokens)) < len(tokens) or {len(token) for token in tokens[:256]} != {1}:
            raise ValueError("a vocabulary of byte-level BPE begins with the 256 bytes and has no token twice")
        super().__init__(tokens, [END_OF_TEXT])
        self.tokens = list(tokens)

    @classmethod
    def from_corpus(cls, material: Material) -> Gpt2Tokenizer:
        return load_gpt2()

    @property
    def backend(self) -> tokenizers.Tokenizer:
        return byte_level_backend(byte_names(self.tokens), _merges(self.tokens), list(self.special))

    @cached_property
    def _encoding(self) -> Any:
        tiktoken = _tiktoken()
        ranks = {token: rank for rank, token in enumerate(self.tokens)}
        return tiktoken.Encoding("gpt2", pat_str=_WORDS, mergeable_ranks=ranks, special_tokens={})

    def _encode(self, text: str) -> Ids:
        text.encode()  # half of a surrogate pair is an error here; tiktoken would put U+FFFD in its place
        return np.array(self._encoding.encode_ordinary(text), self.dtype)

    def to_dict(self) -> dict[str, Any]:
        data = b"".join(bytes([len(token)]) + token for token in self.tokens)
        return {"kind": self.kind, "tokens": base64.b64encode(data).decode()}

    @classmethod
    def from_dict(cls, tree: Mapping[str, Any]) -> Gpt2Tokenizer:
        data, tokens, place = base64.b64decode(tree["tokens"], validate=True), [], 0
        while place < len(data):
            end = place + 1 + data[place]
            tokens.append(data[place + 1 : end])
            place = end
        if place != len(data):
            raise ValueError("the vocabulary is cut short")
        return cls(tokens)


def load_gpt2() -> Gpt2Tokenizer:
    """GPT-2's tokenizer from a copy of its merges, gpt2/vocab.bpe in the cache, else through tiktoken's download.

    Raises TokenizerError in one line when neither can be had.
    """
    own = cache_dir() / "gpt2" / "vocab.bpe"
    if own.is_file():
        tokens = read_merges(own)
        if len(tokens) != SIZE:
            raise TokenizerError(f"{own} makes {len(tokens):,} tokens, GPT-2 has {SIZE:,}; fetch it again, {_INSTEAD}")
        return Gpt2Tokenizer(tokens)
    tiktoken = _tiktoken()
    try:
        encoding = tiktoken.get_encoding("gpt2")
        return Gpt2Tokenizer([encoding.decode_single_token_bytes(id) for id in range(encoding.n_vocab - 1)])
    except (
        Exception
    ) as error:  # the download fails in as many ways as there are networks; all mean the same to the user
        why = re.sub(r"\s+", " ", str(error))[:100] or type(error).__name__
        raise TokenizerError(
            f"GPT-2's vocabulary cannot be had ({why}); put its vocab.bpe at {own}, {_INSTEAD}"
        ) from None


def _merges(tokens: Sequence[bytes]) -> Iterator[Merge]:
    """The merge that makes each token of a vocabulary whose order is that of its merges, as `tiktoken` finds it."""
    ranks = {token: rank for rank, token in enumerate(tokens)}
    for rank, token in enumerate(tokens):
        parts = [bytes([byte]) for byte in token]
        while len(parts) > 2:
            joined = [ranks.get(left + right, rank) for left, right in pairwise(parts)]
            at = joined.index(min(joined))
            parts[at : at + 2] = [parts[at] + parts[at + 1]]
        if len(parts) == 2:
            yield ranks[parts[0]], ranks[parts[1]]


def read_merges(path: Path) -> list[bytes]:
    """The tokens, by rank, of a merges file: the bytes in GPT-2's order, then one token a line `left right`."""
    letters = byte_alphabet()
    value = {letter: bytes([byte]) for byte, letter in enumerate(letters)}
    # The bytes that are printable come first, then the others, both in order.
    tokens = [value[letter] for letter in sorted(letters, key=lambda letter: (ord(letter) >= 256, ord(letter)))]
    try:
        for line in merge_lines(path):
            left, right = line.split(" ")
            tokens.append(b"".join(value[letter] for letter in left + right))
        if len(set(tokens)) < len(tokens):
            raise ValueError("a token twice")
    except (ValueError, KeyError):
        raise TokenizerError(f"{path} is not a file of BPE merges; fetch GPT-2's vocab.bpe again, {_INSTEAD}") from None
    return tokens


def _tiktoken() -> Any:
    try:
        import tiktoken
    except ImportError:
        raise TokenizerError(
            f"GPT-2's tokenizer needs the tiktoken package: pip install tiktoken, {_INSTEAD}"
        ) from None
    return tiktoken
