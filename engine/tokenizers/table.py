"""From a kind's name to its tokenizer: what the settings ask for, and what was saved."""

from __future__ import annotations

import json
import reprlib
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from engine.errors import TokenizerError
from engine.files import make_folder, read_small, write_output
from engine.tokenizers import KINDS
from engine.tokenizers.base import MOST_BYTES, Material, Tokenizer

if TYPE_CHECKING:
    from engine.config import DataConfig
    from engine.text.corpus import Text
    from engine.text.scan import Progress


def tokenizer_class(kind: str) -> type[Tokenizer]:
    """The class of a kind; its file is loaded when it is first asked for. KeyError for what is none."""
    return cast(type[Tokenizer], getattr(import_module(f"engine.tokenizers.{kind}"), KINDS[kind]))


def train_tokenizer(data: DataConfig, text: Text, end: int, progress: Progress | None = None) -> Tokenizer:
    """The tokenizer that `data` asks for, made from the training split, the bytes [0, end) of `text`.

    Raises TokenizerError when the wanted vocabulary is too small, or GPT-2's cannot be had.
    """
    return tokenizer_class(data.tokenizer).from_corpus(Material(data, text, end, progress))


def expected_vocab(data: DataConfig) -> int:
    """The vocabulary to expect before a corpus is read: exact for byte and gpt2, wanted for bpe, word; 65 for char."""
    return tokenizer_class(data.tokenizer).expected_vocab(data)


def least_vocab(data: DataConfig) -> int:
    """The fewest tokens a vocabulary of that kind has, whatever the corpus."""
    return tokenizer_class(data.tokenizer).least_vocab


def expected_tokens(size: int, data: DataConfig) -> tuple[int, int]:
    """Training and validation tokens of a text of `size` bytes before it is tokenized; exact for bytes alone."""
    each = tokenizer_class(data.tokenizer).bytes_per_token
    val = size * data.val_fraction
    return int((size - val) / each), int(val / each)


def tokenizer_from_dict(tree: Mapping[str, Any]) -> Tokenizer:
    """The tokenizer that `to_dict` described. Raises TokenizerError when the tree does not describe one."""
    kind = tree.get("kind") if isinstance(tree, Mapping) else None
    if not isinstance(kind, str) or kind not in KINDS:
        known = " or ".join(KINDS)
        raise TokenizerError(f"this is not a tokenizer of ours: its kind is {reprlib.repr(kind)}, not {known}")
    try:
        return tokenizer_class(kind).from_dict(tree)
    except (ValueError, KeyError, TypeError, IndexError) as error:
        raise TokenizerError(f"the description of a {kind} tokenizer is damaged ({error!r}); train it again") from None


def save_tokenizer(tokenizer: Tokenizer, path: Path) -> None:
    """Writes the tokenizer as JSON to what a person named (`files.open_output`). Raises TokenizerError in one line."""
    make_folder(path.parent, TokenizerError)
    write_output(path, tokenizer.canonical(), TokenizerError)


def load_tokenizer(path: Path) -> Tokenizer:
    """What `save_tokenizer` wrote. Raises TokenizerError that names the file when it is missing or damaged."""
    try:
        tree = json.loads(read_small(path, MOST_BYTES, TokenizerError))
    except (ValueError, RecursionError):
        raise TokenizerError(f"{path} is damaged: it is not JSON; use another file, or checkpoint") from None
    try:
        return tokenizer_from_dict(tree)
    except TokenizerError as error:
        raise TokenizerError(f"{path}: {error}") from None
