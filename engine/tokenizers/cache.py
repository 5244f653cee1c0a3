"""Tokenizers, tokens and places in them, kept in the cache and made again when they are missing or damaged."""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from engine.errors import CorpusError, TokenizerError
from engine.files import FORGOTTEN, open_folder, reason, remove_folder, sweep, write_cached
from engine.tokenizers.base import Tokenizer
from engine.tokenizers.encoding import encode_stream
from engine.tokenizers.shards import Mapped, checksum
from engine.tokenizers.table import load_tokenizer, tokenizer_class, train_tokenizer

if TYPE_CHECKING:
    from engine.config import DataConfig
    from engine.text.corpus import Text
    from engine.text.scan import Progress

FORMAT = 1  # goes up when the same text and settings would give other tokens or other files
_SPLITS = ("train", "val")
_SAMPLE = {"block": 1 << 16, "blocks": 512}  # what is read of a file each time it is used


def cached_tokenizer(
    text: Text, data: DataConfig, cut: int, cache: Path, progress: Progress | None = None
) -> Tokenizer:
    """`train_tokenizer(data, text, cut)`, remembered for this text, split and these settings."""
    setting = tokenizer_class(data.tokenizer).made_by
    if setting is None:
        return train_tokenizer(data, text, cut, progress)
    recipe = [FORMAT, text.sha256, text.boundary, cut, data.tokenizer, getattr(data, setting)]
    path = cache / "tokenizers" / f"{hashlib.sha256(json.dumps(recipe).encode()).hexdigest()[:32]}.json"
    if path.is_file():
        with contextlib.suppress(TokenizerError):  # damaged: made again
            return load_tokenizer(path)
    tokenizer = train_tokenizer(data, text, cut, progress)
    write_cached(path, tokenizer.canonical(), TokenizerError)
    return tokenizer


def cached_tokens(
    text: Text, tokenizer: Tokenizer, cut: int, cache: Path, progress: Progress | None = None
) -> tuple[Mapped, Mapped]:
    """The training tokens, of the bytes [0, cut) of `text`, and the validation tokens, of the rest.

    Their folder is there whole or not at all. Raises CorpusError when it cannot be written.
    """
    folder = _folder(text, tokenizer, cut, cache)
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        for _ in range(2):  # another process may put its own there, or take a damaged one away
            if (found := _opened(folder, text, tokenizer, cut)) is not None:
                return found
            with contextlib.suppress(FileNotFoundError):
                remove_folder(folder)
            sweep(folder.parent, older_than=FORGOTTEN)
            with contextlib.suppress(FileExistsError), open_folder(folder) as made:
                _write(made, text, tokenizer, cut, progress)
        found = _opened(folder, text, tokenizer, cut)
    except OSError as error:
        raise CorpusError(
            f"cannot keep the tokens in {folder.parent}: {reason(error)}; "
            "make room there, or set TINYTUI_CACHE to another folder"
        ) from None
    if found is None:
        raise CorpusError(
            f"the tokens written to {folder} come back damaged; set TINYTUI_CACHE to a folder on another disk"
        )
    return found


def _folder(text: Text, tokenizer: Tokenizer, cut: int, cache: Path) -> Path:
    return cache / "tokens" / f"{text.sha256[:16]}-{tokenizer.fingerprint[:16]}-{cut}"


def cached_places(
    text: Text,
    tokenizer: Tokenizer,
    cut: int,
    cache: Path,
    wanted: Sequence[str],
    find: Callable[[], Sequence[NDArray[np.int64]]],
) -> list[NDArray[np.int64]]:
    """What `find` gives: numbers that follow from `cached_tokens` and what is `wanted` in them, kept beside them.

    One file a wish: a line of JSON (of what, how many numbers each, the SHA-256 of that and of all numbers), then the
    numbers, int64, little-endian. One that is not whole, or of anything else, is made again.
    """
    of = [FORMAT, text.sha256, tokenizer.fingerprint, cut, *wanted]
    key = hashlib.sha256(json.dumps(of).encode()).hexdigest()
    path = _folder(text, tokenizer, cut, cache) / f"{wanted[0]}-{key[:16]}.bin"
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError, RecursionError), path.open("rb") as file:
        told, data = json.loads(file.readline()), file.read()
        if told["of"] == of and told["sha256"] == _sum(of, told["lengths"], data):
            return np.split(np.frombuffer(data, "<i8").astype(np.int64), np.cumsum(told["lengths"]))[:-1]
    found = list(find())
    data, lengths = b"".join(each.astype("<i8").tobytes() for each in found), [len(each) for each in found]
    line = json.dumps({"of": of, "lengths": lengths, "sha256": _sum(of, lengths, data)})
    with contextlib.suppress(CorpusError):  # a cache that cannot be written costs the next time, not the run
        write_cached(path, line.encode() + b"\n" + data, CorpusError)
    return found


def _sum(of: object, lengths: object, data: bytes) -> str:
    digest = hashlib.sha256(json.dumps([of, lengths]).encode())
    digest.update(data)
    return digest.hexdigest()


def _write(folder: Path, text: Text, tokenizer: Tokenizer, cut: int, progress: Progress | None) -> None:
    meta: dict[str, Any] = _identity(text, tokenizer, cut)
    little = tokenizer.dtype.newbyteorder("<")
    for name, start, end in (("train", 0, cut), ("val", cut, text.n_bytes)):
        path = folder / f"{name}.bin"
        tokens = n_bytes = 0
        with path.open("wb") as file:
            for ids, done in encode_stream(tokenizer, text, start, end):
                targets = ids[1:] if tokens == 0 else ids
                n_bytes += int(tokenizer.byte_lengths[targets].sum())
                tokens += len(ids)
                file.write(ids.astype(little, copy=False).data)
                if progress is not None:
                    progress("encoding", (start + done) / max(1, text.n_bytes))
        meta[name] = {"tokens": tokens, "bytes": n_bytes, "checksum": checksum(path, **_SAMPLE)}
    (folder / "meta.json").write_text(json.dumps(meta, indent=1), encoding="utf-8")


def _identity(text: Text, tokenizer: Tokenizer, cut: int) -> dict[str, Any]:
    return {
        "format": FORMAT,
        "corpus": text.sha256,
        "tokenizer": tokenizer.fingerprint,
        "kind": tokenizer.kind,
        "vocab_size": tokenizer.vocab_size,
        "dtype": tokenizer.dtype.name,
        "split": cut,
    }


def _opened(folder: Path, text: Text, tokenizer: Tokenizer, cut: int) -> tuple[Mapped, Mapped] | None:
    """The tokens in `folder`; None when they are missing, of something else, short or damaged."""
    try:
        meta = json.loads((folder / "meta.json").read_bytes())
        if any(meta[key] != value for key, value in _identity(text, tokenizer, cut).items()):
            return None
        found = []
        for name in _SPLITS:
            path, told = folder / f"{name}.bin", meta[name]
            mapped = Mapped(path, np.dtype(meta["dtype"]).newbyteorder("<"), int(told["bytes"]))
            if len(mapped.ids) != told["tokens"] or checksum(path, **_SAMPLE) != told["checksum"]:
                return None
            found.append(mapped)
        return found[0], found[1]
    except (OSError, ValueError, KeyError, TypeError):
        return None
