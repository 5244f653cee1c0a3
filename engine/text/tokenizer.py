"""One interface for every way to cut text into tokens, and saving, loading, training and streaming through it.

The kinds live beside this file: `chars` (one token a character), `bytelevel` (one a byte), `bpe` (byte-level BPE
trained on the corpus), `words` (words with a fallback to characters and bytes), `gpt2` (GPT-2's vocabulary, an extra),
`imported` (byte-level BPE of an imported model).

Whatever the kind, the bytes of a text are the bytes of its tokens, one after the other. So decoding is concatenation,
a token can be shown alone, and a stream of tokens is decoded as it comes.
"""

from __future__ import annotations

import codecs
import hashlib
import json
import re
import reprlib
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from engine.errors import TokenizerError
from engine.files import make_folder, reason, write_output

if TYPE_CHECKING:
    from engine.config import DataConfig
    from engine.text.check import Progress
    from engine.text.corpus import Text

Ids = NDArray[np.unsignedinteger[Any]]

# What a corpus may use to end a record; one that occurs in the training split becomes one token (word and bpe).
USUAL_SPECIAL = ("<END>", "<|endoftext|>")
_TAG = re.compile(r"<[^\s<>]+>")


class Tokenizer(ABC):
    """Text to token ids and back.

    Ids count from 0: first the ordinary tokens, then the special ones (an imported vocabulary has them anywhere).
    `special` maps a special token's text to its id; `encode` turns that text into that id wherever it stands.
    `dtype` is uint16 up to 65,536 tokens, else uint32.
    """

    kind: ClassVar[str]

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
        return hashlib.sha256(_canonical(self.to_dict())).hexdigest()

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


def _canonical(tree: Mapping[str, Any]) -> bytes:
    return json.dumps(tree, sort_keys=True, separators=(",", ":")).encode()


def tokenizer_from_dict(tree: Mapping[str, Any]) -> Tokenizer:
    """The tokenizer that `to_dict` described. Raises TokenizerError when the tree does not describe one."""
    kind = tree.get("kind") if isinstance(tree, Mapping) else None
    cls = _classes().get(str(kind))
    if cls is None:
        known = " or ".join(_classes())
        raise TokenizerError(f"this is not a tokenizer of ours: its kind is {reprlib.repr(kind)}, not {known}")
    try:
        return cls.from_dict(tree)
    except (ValueError, KeyError, TypeError, IndexError) as error:
        raise TokenizerError(f"the description of a {kind} tokenizer is damaged ({error!r}); train it again") from None


def _classes() -> dict[str, type[Tokenizer]]:
    from engine.text.bpe import BpeTokenizer
    from engine.text.bytelevel import ByteTokenizer
    from engine.text.chars import CharTokenizer
    from engine.text.gpt2 import Gpt2Tokenizer
    from engine.text.imported import ImportedTokenizer
    from engine.text.words import WordTokenizer

    kinds = (CharTokenizer, ByteTokenizer, BpeTokenizer, WordTokenizer, Gpt2Tokenizer, ImportedTokenizer)
    return {cls.kind: cls for cls in kinds}


def save_tokenizer(tokenizer: Tokenizer, path: Path) -> None:
    """Writes the tokenizer as JSON to what a person named (`files.open_output`). Raises TokenizerError in one line."""
    make_folder(path.parent, TokenizerError)
    write_output(path, _canonical(tokenizer.to_dict()), TokenizerError)


def load_tokenizer(path: Path) -> Tokenizer:
    """What `save_tokenizer` wrote. Raises TokenizerError that names the file when it is missing or damaged."""
    try:
        tree = json.loads(path.read_bytes())
    except OSError as error:
        raise TokenizerError(f"cannot read the tokenizer {path}: {reason(error)}") from None
    except (ValueError, RecursionError):
        raise TokenizerError(f"{path} is damaged: it is not JSON; use another checkpoint") from None
    try:
        return tokenizer_from_dict(tree)
    except TokenizerError as error:
        raise TokenizerError(f"{path}: {error}") from None


def train_tokenizer(data: DataConfig, text: Text, end: int, progress: Progress | None = None) -> Tokenizer:
    """The tokenizer that `data` asks for, made from the training split, the bytes [0, end) of `text`.

    BPE and word vocabularies see nothing else, and of a large split an even sample (`sampled`). Which characters exist
    is no statistic, so a character tokenizer takes them from the whole text: any text can then be used, as in nanoGPT.
    Raises TokenizerError when the wanted vocabulary is too small, or GPT-2's cannot be had.
    """
    if data.tokenizer == "byte":
        from engine.text.bytelevel import ByteTokenizer

        return ByteTokenizer()
    if data.tokenizer == "gpt2":
        from engine.text.gpt2 import load_gpt2

        return load_gpt2()
    if data.tokenizer == "char":
        from engine.text.chars import CharTokenizer

        whole = _reporting(text.chunks(0, text.n_bytes, 1 << 20), text.n_bytes, "reading characters", progress)
        return CharTokenizer.train(whole, data.unknown)
    from engine.text.sample import sampled, sampled_bytes

    total = sampled_bytes(text, end)
    special = _special_in(sampled(text, end), text.boundary)
    chunks = _reporting(sampled(text, end), total, "training tokenizer", progress)
    if data.tokenizer == "bpe":
        from engine.text.bpe import BpeTokenizer

        return BpeTokenizer.train(chunks, data.vocab_size, special)
    from engine.text.words import WordTokenizer

    return WordTokenizer.train(chunks, data.vocab_size, special)


def _special_in(chunks: Iterable[str], boundary: str | None) -> list[str]:
    """Which usual record ends, or the text's own boundary where it looks like a tag, occur in the chunks."""
    own = (boundary or "").strip()
    wanted = list(dict.fromkeys([*USUAL_SPECIAL, *([own] if _TAG.fullmatch(own) else [])]))
    found: set[str] = set()
    for chunk in chunks:
        found.update(mark for mark in wanted if mark not in found and mark in chunk)
        if len(found) == len(wanted):
            break
    return [mark for mark in wanted if mark in found]


def _reporting(chunks: Iterable[str], total: int, what: str, progress: Progress | None) -> Iterator[str]:
    done = 0
    for chunk in chunks:
        yield chunk
        if progress is not None:
            done += len(chunk) if chunk.isascii() else len(chunk.encode())
            progress(what, min(1.0, done / max(1, total)))
