"""Whether a checkpoint on disk is what was written: all bytes against its manifest, small files against a schema."""

from __future__ import annotations

import hashlib
import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engine.runs.layout import RunDir
from engine.runs.schema import DamagedError, Manifest, Settings, State, TokenizerTree, load, read_bytes

OPTIMIZER = "optimizer.safetensors"
FILES = ("model.safetensors", OPTIMIZER, "state.json", "config.json", "tokenizer.json")
AVERAGED = "averaged.safetensors"
"""There only where the run averages its weights."""

FORMAT, SHARDED = 2, 3
"""Checkpoints are written in: with the tensors in a file by kind, or, of a sharded model, by rank.

Earlier ones are read too: 1 had the optimizer's state in one row by role.
"""
SHARD = re.compile(r"shard-\d{5}-model-\d{5}-of-\d{5}\.safetensors")

MOST_STATE = 16 << 20
"""Bytes of state.json; a generator's state is 7 KB for a CPU, less for a GPU."""
MOST_TOKENIZER = 1 << 29
"""Bytes of tokenizer.json; a vocabulary of a million words is about 50 MB."""


@dataclass(frozen=True)
class Verified:
    """What `runs verify` says of one checkpoint."""

    step: int
    path: Path
    ok: bool
    weights_sha256: str
    problem: str = ""
    format: int = 1


def verify_checkpoint(path: Path, but: str = "") -> Verified:
    """Check every byte against the manifest, and what the small files say against their schemas.

    The file `but` need only be there.
    """
    step = _step_of(path)
    weights = ""
    try:
        manifest, written = read_manifest(path)
        weights = weights_sum(manifest)
        for name, expected in manifest.items():
            if not (path / name).is_file():
                raise DamagedError(f"{name} is missing")
            if name != but and sha256_of(path / name) != expected:
                raise DamagedError(f"{name} is damaged: its SHA-256 is not the manifest's")
        read_state(path)
        read_config(path)
        read_tokenizer(path)
    except (FileNotFoundError, DamagedError) as error:
        return Verified(step, path, False, weights, problem_of(path, error))
    except OSError as error:
        return Verified(step, path, False, weights, f"it cannot be read: {error.strerror}")
    return Verified(step, path, True, weights, "", written)


def problem_of(path: Path, error: FileNotFoundError | DamagedError) -> str:
    """What is wrong with the checkpoint at `path`, by what reading one of its files raised."""
    if isinstance(error, FileNotFoundError):
        return f"{Path(str(error)).name} is missing"
    return str(error).removeprefix(f"{path}/")


def read_manifest(path: Path) -> tuple[dict[str, str], int]:
    """SHA-256 of each file by its name, and the format they are in.

    Raises DamagedError when a file is not named, the step is another, or the format is of a later program.
    """
    told = load(path / "manifest.json", Manifest)
    written = told.get("format", 1)
    if written > SHARDED:
        raise DamagedError(f"manifest.json: format {written} is of a newer tinytui than this one; update it")
    _check_step(path, "manifest.json", told["step"])
    hashes: dict[str, str] = told["sha256"]
    if written == SHARDED:
        wanted = [*FILES[2:], *(each.name for each in path.iterdir() if each.name.endswith(".safetensors"))]
        if not any(SHARD.fullmatch(name) for name in hashes):
            raise DamagedError("manifest.json: it names no shard")
    else:
        wanted = [*FILES, *([AVERAGED] if (path / AVERAGED).exists() else [])]
    for name in wanted:
        if name not in hashes:
            raise DamagedError(f"manifest.json: it does not name {name}")
    return hashes, written


def weights_sum(manifest: dict[str, str]) -> str:
    """What tells the weights from others: the file's SHA-256; of shards that of all their sums."""
    if "model.safetensors" in manifest:
        return manifest["model.safetensors"]
    sums = "".join(f"{name} {each}\n" for name, each in sorted(manifest.items()) if SHARD.fullmatch(name))
    return hashlib.sha256(sums.encode()).hexdigest()


def read_state(path: Path) -> dict[str, Any]:
    """`state.json`. Raises DamagedError naming the field, and FileNotFoundError."""
    state = load(path / "state.json", State, MOST_STATE, not_finite=True)
    _check_step(path, "state.json", state["step"])
    return state


def read_config(path: Path) -> dict[str, Any]:
    """`config.json`, not yet checked setting by setting. Raises as `read_state` does."""
    return load(path / "config.json", Settings)


def read_tokenizer(path: Path) -> dict[str, Any]:
    """`tokenizer.json`, of whose kind the tokenizer itself judges. Raises as `read_state` does."""
    return load(path / "tokenizer.json", TokenizerTree, MOST_TOKENIZER)


def read_loss(path: Path) -> float | None:
    """The validation loss measured at the checkpoint; None when there was none, or it is no number.

    Raises DamagedError, and FileNotFoundError, when it cannot be known.
    """
    check_bytes(path, "state.json", MOST_STATE)
    loss = read_state(path).get("val_loss")
    return float(loss) if loss is not None and math.isfinite(loss) else None


def check_bytes(path: Path, name: str, limit: int) -> None:
    """Raises DamagedError when a file of at most `limit` bytes is not the manifest's, FileNotFoundError for none."""
    if hashlib.sha256(read_bytes(path / name, limit)).hexdigest() != read_manifest(path)[0][name]:
        raise DamagedError(f"{name} is damaged: its SHA-256 is not the manifest's")


def newest_tokenizer(run: RunDir) -> tuple[Path | None, list[str]]:
    """The `tokenizer.json` of the newest checkpoint where it is whole, and what was wrong with those passed over."""
    problems: list[str] = []
    for step in reversed(run.checkpoint_steps()):
        path = run.checkpoint(step)
        try:
            check_bytes(path, "tokenizer.json", MOST_TOKENIZER)
            return path / "tokenizer.json", problems
        except (FileNotFoundError, DamagedError) as error:
            problems.append(f"checkpoint {path} cannot be used: {problem_of(path, error)}")
    return None, problems


def _step_of(path: Path) -> int:
    digits = path.name.removeprefix("step-")
    return int(digits) if digits.isdecimal() else -1


def _check_step(path: Path, name: str, step: int) -> None:
    if step != _step_of(path) >= 0:
        raise DamagedError(f"{name}: it is of step {step}, not of {path.name}")


def sha256_of(path: Path) -> str:
    """SHA-256 of a file's bytes, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
