"""Writing checkpoints, and clearing away old ones.

A checkpoint is a folder: `model.safetensors`, `optimizer.safetensors`, `state.json`, `config.json`, `tokenizer.json`
and `manifest.json` with the SHA-256 of each; of a sharded model a file of each rank has the tensors. It is written
beside its place, synced, and renamed, so that under its name it is always whole. The sums are of what was handed to the
disk, not of what it gives back; of a rank's file they are of what lies there.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, cast

import torch
from torch import Tensor

from engine.config import Config
from engine.errors import CheckpointError
from engine.files import beside, cannot, sync_folder
from engine.runs.layout import RunDir
from engine.tokenizers.base import Tokenizer
from engine.training.verify import AVERAGED, FORMAT, SHARDED
from engine.training.watch import Watch

_REPLACED = re.compile(r"\.old-(step-\d{8,})-.*")
"""A checkpoint of a step that is being written again: it goes back when its successor does not stand."""
_LEFT = re.compile(r"\..*|removed-\d+")
"""All else that is nobody's; `removed-N` is what older programs made of checkpoints they were removing."""


@dataclass(frozen=True)
class Contents:
    """All that goes into a checkpoint."""

    step: int
    config: Config
    weights: dict[str, Tensor]
    optimizer: dict[str, Tensor]
    state: dict[str, Any]
    tokenizer: Tokenizer
    averaged: dict[str, Tensor] = field(default_factory=dict)
    """Averaged weights by name, where the run keeps them."""


def fresh_state() -> dict[str, Any]:
    """`state.json` of a checkpoint at step 0."""
    return {
        "tokens": 0,
        "train_seconds": 0.0,
        "eval_seconds": 0.0,
        "lr_scale": 1.0,
        "rollbacks": 0,
        "val_loss": None,
        "watch": Watch().to_dict(),
        "environment": {},
    }


def write_checkpoint(run: RunDir, contents: Contents) -> Path:
    """Write, sync, rename. Raises CheckpointError in one line, and then leaves nothing behind.

    The run's own folder is not made: where it is gone, a checkpoint alone would be no run.
    """
    folder = begin_checkpoint(run, contents.step)
    return finish_checkpoint(run, folder, contents)


def begin_checkpoint(run: RunDir, step: int) -> Path:
    """The folder, beside its place, that a checkpoint is written in. Raises CheckpointError."""
    folder = beside(run.checkpoint(step))
    try:
        if not run.checkpoints.is_dir():
            run.checkpoints.mkdir()
            sync_folder(run.path)
        folder.mkdir()
    except OSError as error:
        raise cannot("write", run.checkpoint(step), error, CheckpointError) from None
    return folder


def finish_checkpoint(run: RunDir, folder: Path, contents: Contents, shards: Mapping[str, str] | None = None) -> Path:
    """Write what is not there yet and give the folder its name; on an error it is removed. Raises CheckpointError.

    `shards` are the tensors' files where they stand in the folder already, and the SHA-256 of each.
    """
    final = run.checkpoint(contents.step)
    try:
        _write(folder, contents, shards)
        sync_folder(folder)
        _put(folder, final)
        sync_folder(run.checkpoints)
    except OSError as error:
        raise cannot("write", final, error, CheckpointError) from None
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return final


def _write(folder: Path, contents: Contents, shards: Mapping[str, str] | None) -> None:
    sums: dict[str, str] = dict(shards or {})
    tensors = {"model.safetensors": contents.weights, "optimizer.safetensors": contents.optimizer}
    if contents.averaged:
        tensors[AVERAGED] = contents.averaged
    if shards is not None:
        tensors = {}
    trees = {
        "state.json": {"step": contents.step, **contents.state},
        "config.json": contents.config.model_dump(),
        "tokenizer.json": contents.tokenizer.to_dict(),
    }
    for name, group in tensors.items():
        with _summed(folder / name, sums) as file:
            write_tensors(file, group)
    for name, tree in trees.items():
        with _summed(folder / name, sums) as file:
            file.write(_json(tree))
    with _summed(folder / "manifest.json", {}) as file:
        written = FORMAT if shards is None else SHARDED
        file.write(_json({"step": contents.step, "format": written, "sha256": sums}))


def _json(tree: object) -> bytes:
    return (json.dumps(tree, indent=1, sort_keys=True) + "\n").encode()


class _Summed:
    """A file to write whose bytes are summed as they go by."""

    def __init__(self, file: BinaryIO) -> None:
        self._file, self.sum = file, hashlib.sha256()

    def write(self, data: bytes) -> int:
        self.sum.update(data)
        return self._file.write(data)


@contextmanager
def _summed(path: Path, sums: dict[str, str]) -> Iterator[BinaryIO]:
    """A new file to write, synced at the end; its SHA-256 goes into `sums` under its name."""
    with path.open("xb") as file:
        summed = _Summed(file)
        yield cast(BinaryIO, summed)
        file.flush()
        os.fsync(file.fileno())
    sums[path.name] = summed.sum.hexdigest()


def _put(temporary: Path, final: Path) -> None:
    """Renames; the same step's older checkpoint (of a resumed run: equal or damaged) goes only then."""
    if not final.exists():
        temporary.rename(final)
        return
    old = final.with_name(f".old-{final.name}-{os.getpid()}")
    shutil.rmtree(old, ignore_errors=True)
    final.rename(old)
    try:
        temporary.rename(final)
    except OSError:
        old.rename(final)
        raise
    shutil.rmtree(old, ignore_errors=True)


def remove_orphans(run: RunDir) -> None:
    """Clear away what killed writers left; the old checkpoint of a step that has no new one goes back to its place.

    Only who holds the run's lock may. What cannot be removed now stays for the next time.
    """
    with suppress(OSError):
        for path in sorted(run.checkpoints.iterdir()):
            replaced = _REPLACED.fullmatch(path.name)
            if replaced and not (final := run.checkpoints / replaced[1]).exists():
                path.rename(final)
            elif _LEFT.fullmatch(path.name):
                shutil.rmtree(path, ignore_errors=True)
                if not path.is_dir() or path.is_symlink():
                    path.unlink(missing_ok=True)


def prune(run: RunDir, step: int, keep: set[int], keep_last: int) -> list[int]:
    """Remove all checkpoints up to `step`, which stands, but for the newest `keep_last` and those in `keep`.

    Returns the steps removed. Later ones are of a time that was taken back, and count for nothing: what training comes
    to again replaces them. What cannot be removed is tried again the next time.
    """
    steps = [each for each in run.checkpoint_steps() if each <= step]
    gone = [each for each in steps[:-keep_last] if each not in keep]
    for each in gone:
        path = run.checkpoint(each)
        with suppress(OSError):
            path.rename(beside(path))  # at once out of sight: no half of it is ever a checkpoint
    remove_orphans(run)
    return gone


# -- safetensors, a tensor at a time: no second copy of all of them, and failures are the system's ---------------------

_KINDS = {
    torch.bool: "BOOL",
    torch.uint8: "U8",
    torch.int8: "I8",
    torch.int16: "I16",
    torch.float16: "F16",
    torch.bfloat16: "BF16",
    torch.int32: "I32",
    torch.float32: "F32",
    torch.float64: "F64",
    torch.int64: "I64",
}
"""In the order of the library `safetensors`, which puts the widest first."""


def write_tensors(file: BinaryIO, tensors: Mapping[str, Tensor]) -> None:
    """Writes what `safetensors.torch.save` gives for contiguous copies of `tensors`, byte for byte. Raises OSError."""
    order = list(_KINDS)
    names = sorted(tensors, key=lambda name: (-order.index(tensors[name].dtype), name))
    header, end = {}, 0
    for name in names:
        tensor = tensors[name]
        start, end = end, end + tensor.numel() * tensor.element_size()
        header[name] = {"dtype": _KINDS[tensor.dtype], "shape": list(tensor.shape), "data_offsets": [start, end]}
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    file.write(len(text).to_bytes(8, "little") + text)
    for name in names:
        tensor = tensors[name].detach().cpu().contiguous()
        if tensor.numel():
            file.write(tensor.reshape(-1).view(torch.uint8).numpy().data)
