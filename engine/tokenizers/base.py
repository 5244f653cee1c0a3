"""One interface for every way to cut text into tokens.

Whatever the kind, the bytes of a text are the bytes of its tokens, one after the other. So decoding is concatenation,
a token can be shown alone, and a stream of tokens is decoded as it comes.
"""

from __future__ import annotations

import codecs
import hashlib
import json
import re
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from engine.errors import TokenizerError

if TYPE_CHECKING:
    import tokenizers

    from engine.config import DataConfig
    from engine.text.corpus import Text
    from engine.text.scan import Progress

Ids = NDArray[np.unsignedinteger[Any]]
MOST_BYTES = 1 << 27
"""Of a tokenizer's file; Gemma's quarter of a million tokens are 33 MB."""
END_OF_TEXT = "<|endoftext|>"
"""GPT-2's token between documents."""
Unknown = Literal["error", "skip", "unk"]
"""What becomes of a character that is not in the vocabulary: `data.unknown`."""


class Material(NamedTuple):
    """What a tokenizer is made from: the settings, and the training split, the bytes [0, end) of `text`."""

    data: DataConfig
    text: Text
    end: int
    progress: Progress | None = None


class Tokenizer(ABC):
    """Text to token ids and back.

    Ids count from 0: first the ordinary tokens, then the special ones (an imported vocabulary has them anywhere).
    `special` maps a special token's text to its id; `encode` turns that text into that id wherever it stands.
    `dtype` is uint16 up to 65,536 tokens, else uint32.
    """

    kind: ClassVar[str]
    bytes_per_token: ClassVar[float]
    """Of a text that is not read yet: exact for bytes, near for characters."""
    least_vocab: ClassVar[int] = 256
    """The fewest tokens there are, whatever the corpus."""
    made_by: ClassVar[str | None] = "vocab_size"
    """The setting of `data.` that with the corpus decides the vocabulary; None where neither has a part in it."""
    of_all: ClassVar[bool] = False
    """Whether all of a text decides it, however large: no sample will do."""
    quick: ClassVar[bool] = False
    """Whether it encodes at the speed of memory, so that other processes are of no help."""

    def __init__(self, tokens: Sequence[bytes], special: Sequence[str] | Mapping[str, int] = ()) -> None:
        """Special tokens come after `tokens`; a mapping says which of `tokens` they are."""
        if any(not text or re.search(r"\s", text) for text in special) or len(set(special)) < len(special):
            raise TokenizerError(
                f"special tokens must be distinct, not empty and without spaces, not {list(special)!r}"
            )
        if isinstance(special, Mapping):
            self._bytes, self.special = list(tokens), dict(special)
        else:
            self._bytes = [*tokens, *(text.encode() for text in special)]
            self.special = {text: len(tokens) + i for i, text in enumerate(special)}
        self.vocab_size = len(self._bytes)
        self.dtype: np.dtype[Any] = np.dtype(np.uint16 if self.vocab_size <= 1 << 16 else np.uint32)
        longest_first = sorted(special, key=len, reverse=True)
        self._special_pattern = re.compile("(" + "|".join(map(re.escape, longest_first)) + ")")

    @classmethod
    @abstractmethod
    def from_corpus(cls, material: Material) -> Tokenizer:
        """The one that the settings ask for.

        Vocabularies of bpe and words see nothing else, and of a large split an even sample. TokenizerError when it
        cannot be made.
        """

    @classmethod
    def expected_vocab(cls, data: DataConfig) -> int:
        """How many tokens to expect before a corpus is read: as many as are wanted, or as there always are."""
        return data.vocab_size if cls.made_by == "vocab_size" else cls.least_vocab

    @property
    def settings(self) -> dict[str, str | int]:
        """The settings of `data.` nearest to it."""
        return {"tokenizer": self.kind, "vocab_size": min(self.vocab_size, 1_000_000), "unknown": "error"}

    def with_unknown(self, unknown: Unknown) -> Tokenizer:
        """The same ids with another way with what it does not know; most kinds know all there is."""
        return self

    @property
    def backend(self) -> tokenizers.Tokenizer | None:
        """Its equal in Hugging Face's `tokenizers`, which saves as tokenizer.json; None where there is none."""
        return None

    @property
    def backend_is_whole(self) -> bool:
        """Whether `backend`, where there is one, does all that it does."""
        return True

    @abstractmethod
    def _encode(self, text: str) -> Ids:
        """The ids of text in which special tokens mean nothing."""

    @abstractmethod
    def to_dict(self) -> dict[str, Any]:
        """Everything that is needed to build it again, for JSON; `tokenizer_from_dict` gives an equal one."""

    @classmethod
    @abstractmethod
    def from_dict(cls, tree: Mapping[str, Any]) -> Tokenizer:
        """From `to_dict`; ValueError, KeyError or TypeError when the tree is not one."""

    def encode(self, text: str) -> Ids:
        """The ids of `text`, 1-D, of `dtype`.

        Raises TokenizerError for a character that a character tokenizer does not know, and for half of a surrogate pair
        (which no UTF-8 text holds).
        """
        try:
            if not any(mark in text for mark in self.special):
                return self._encode(text)
            parts = [
                np.array([self.special[part]], self.dtype) if i % 2 else self._encode(part)
                for i, part in enumerate(self._special_pattern.split(text))
                if part
            ]
            return np.concatenate(parts)
        except UnicodeEncodeError:
            half = next(char for char in text if "\ud800" <= char <= "\udfff")
            raise TokenizerError(
                f"{character_name(half)} is half of a surrogate pair, not a character; remove it from the text"
            ) from None

    def without_special(self, text: str) -> list[str]:
        """The text between its special tokens."""
        return self._special_pattern.split(text)[::2] if self.special else [text]

    def token_bytes(self, id: int) -> bytes:
        """The UTF-8 bytes one token stands for, which may be part of a character. TokenizerError for an unknown id."""
        if not 0 <= id < self.vocab_size:
            raise TokenizerError(f"there is no token {id} in a vocabulary of {self.vocab_size:,}")
        return self._bytes[id]

    def decode_bytes(self, ids: Iterable[int]) -> bytes:
        """The bytes of all tokens, one after the other."""
        listed: list[int] = ids.tolist() if isinstance(ids, np.ndarray) else [int(id) for id in ids]
        if listed and not (min(listed) >= 0 and max(listed) < self.vocab_size):
            self.token_bytes(min(listed) if min(listed) < 0 else max(listed))
        return b"".join(map(self._bytes.__getitem__, listed))

    def decode(self, ids: Iterable[int]) -> str:
        """The text of the tokens; bytes that are no whole character become U+FFFD."""
        return self.decode_bytes(ids).decode("utf-8", "replace")

    def token_label(self, id: int) -> str:
        """A token for display, one line, nothing invisible: `␣the`, `\\n`, `<0xE2>` for part of a character."""
        data, label = self.token_bytes(id), ""
        while data:
            try:
                good, bad, data = data.decode(), b"", b""
            except UnicodeDecodeError as error:
                good, bad, data = data[: error.start].decode(), data[error.start : error.end], data[error.end :]
            label += "".join(map(_visible, good)) + "".join(f"<0x{byte:02X}>" for byte in bad)
        return label

    @cached_property
    def byte_lengths(self) -> NDArray[np.int64]:
        """(vocab_size,) how many bytes of text each token stands for."""
        return np.array([len(data) for data in self._bytes], np.int64)

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of the canonical JSON of `to_dict`: equal for tokenizers that do the same."""
        return hashlib.sha256(self.canonical()).hexdigest()

    @property
    def identity(self) -> dict[str, str | int]:
        """By what it is known elsewhere."""
        return {"kind": self.kind, "vocab_size": self.vocab_size, "fingerprint": self.fingerprint}

    def canonical(self) -> bytes:
        """`to_dict` as JSON, always the same bytes for the same tokenizer."""
        return json.dumps(self.to_dict(), sort_keys=True, separators=(",", ":")).encode()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Tokenizer) and self.fingerprint == other.fingerprint

    def __hash__(self) -> int:
        return hash(self.fingerprint)


class StreamDecoder:
    """Decodes tokens one at a time, giving out only whole characters; all of it together is `tokenizer.decode(ids)`."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def push(self, id: int) -> str:
        """The characters that `id` completes; "" while one is still incomplete."""
        return self._decoder.decode(self._tokenizer.token_bytes(id))

    def flush(self) -> str:
        """U+FFFD for a character left incomplete, else ""; the decoder is then as new."""
        rest = self._decoder.decode(b"", final=True)
        self._decoder.reset()
        return rest


def _visible(character: str) -> str:
    if character == " ":
        return "␣"
    return character if character.isprintable() else character.encode("unicode_escape").decode()


def character_name(character: str) -> str:
    """`U+00E9 'é'`; for what cannot be printed, `U+D800 '\\ud800'`."""
    return f"U+{ord(character):04X} {character!r}"
