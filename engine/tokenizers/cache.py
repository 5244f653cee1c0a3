"""Tokenizers and tokens kept in the cache, made again when they are missing or damaged."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from engine.errors import CorpusError, TokenizerError
from engine.files import FORGOTTEN, make_folder, reason, sweep, sync_folder
from engine.tokenizers.base import Tokenizer
from engine.tokenizers.encoding import encode_stream
from engine.tokenizers.mapped import Mapped, checksum
from engine.tokenizers.table import load_tokenizer, save_tokenizer, tokenizer_class, train_tokenizer

if TYPE_CHECKING:
    from engine.config import DataConfig
    from engine.text.check import Progress
    from engine.text.corpus import Text

FORMAT = 1  # goes up when the same text and settings would give other tokens or other files
_SPLITS = ("train", "val")


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
    sweep(make_folder(path.parent, TokenizerError), older_than=FORGOTTEN)
    save_tokenizer(tokenizer, path)
    return tokenizer


def cached_tokens(
    text: Text, tokenizer: Tokenizer, cut: int, cache: Path, progress: Progress | None = None
) -> tuple[Mapped, Mapped]:
    """The training tokens, of the bytes [0, cut) of `text`, and the validation tokens, of the rest.

    Written to a folder of another name, synced, then renamed: the folder is there whole or not at all. Raises
    CorpusError when it cannot be written.
    """
    folder = cache / "tokens" / f"{text.sha256[:16]}-{tokenizer.fingerprint[:16]}-{cut}"
    found = _opened(folder, text, tokenizer, cut)
    if found is not None:
        return found
    temporary: Path | None = None
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        sweep(folder.parent, older_than=FORGOTTEN)
        temporary = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", suffix=".partial", dir=folder.parent))
        _write(temporary, text, tokenizer, cut, progress)
        for _ in range(10):  # another process may put its own there, or take a damaged one away, between two steps
            try:
                temporary.rename(folder)
                sync_folder(folder.parent)
            except OSError as error:
                if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                    raise
            found = _opened(folder, text, tokenizer, cut)
            if found is not None:
                return found
            _remove(folder)
            if not temporary.exists():  # it was our own
                break
    except OSError as error:
        raise CorpusError(
            f"cannot keep the tokens in {folder.parent}: {reason(error)}; "
            "make room there, or set TINYTUI_CACHE to another folder"
        ) from None
    finally:
        if temporary is not None:
            shutil.rmtree(temporary, ignore_errors=True)
    raise CorpusError(
        f"the tokens written to {folder} come back damaged; set TINYTUI_CACHE to a folder on another disk"
    )


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
            file.flush()
            os.fsync(file.fileno())
        meta[name] = {"tokens": tokens, "bytes": n_bytes, "checksum": checksum(path)}
    with (folder / "meta.json").open("w", encoding="utf-8") as file:
        json.dump(meta, file, indent=1)
        file.flush()
        os.fsync(file.fileno())
    sync_folder(folder)
    folder.chmod(0o755)


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
            if len(mapped.ids) != told["tokens"] or checksum(path) != told["checksum"]:
                return None
            found.append(mapped)
        return found[0], found[1]
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _remove(folder: Path) -> None:
    """Takes a damaged folder away in one step, so that no other process sees a part of it."""
    away = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", suffix=".partial", dir=folder.parent))
    with contextlib.suppress(FileNotFoundError):  # another process did
        folder.rename(away)
    shutil.rmtree(away, ignore_errors=True)
