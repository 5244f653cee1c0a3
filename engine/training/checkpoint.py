"""Checkpoints that come back exactly, or say why not.

A checkpoint is a folder: `model.safetensors`, `optimizer.safetensors`, `state.json`, `config.json`, `tokenizer.json`
and `manifest.json` with the SHA-256 of each. It is written beside its place, synced, and renamed, so that under its
name it is always whole. On load every byte is checked: safetensors itself does not notice a flipped bit.
"""

from __future__ import annotations

import base64
import errno
import hashlib
import json
import os
import re
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from engine.config import Config, make_config
from engine.errors import CheckpointError, NoRoomError
from engine.model.gpt import GPT
from engine.model.lora import merge_lora
from engine.runs.layout import RunDir
from engine.sampling.columns import for_decoding
from engine.text.tokenizer import Tokenizer, tokenizer_from_dict
from engine.training.build import build_for
from engine.training.watch import Watch

FILES = ("model.safetensors", "optimizer.safetensors", "state.json", "config.json", "tokenizer.json")


@dataclass
class Checkpoint:
    """A verified checkpoint in memory."""

    path: Path
    step: int
    config: Config
    weights: dict[str, Tensor]
    optimizer: dict[str, Tensor]
    state: dict[str, Any]
    tokenizer: Tokenizer


@dataclass(frozen=True)
class Verified:
    """What `runs verify` says of one checkpoint."""

    step: int
    path: Path
    ok: bool
    weights_sha256: str
    problem: str = ""


@dataclass(frozen=True)
class Contents:
    """All that goes into a checkpoint."""

    step: int
    config: Config
    weights: dict[str, Tensor]
    optimizer: dict[str, Tensor]
    state: dict[str, Any]
    tokenizer: dict[str, Any]
    averaged: dict[str, Tensor] = field(default_factory=dict)


def rng_states() -> dict[str, str]:
    """State of the global generator of every device, as text."""
    states = {"cpu": torch.get_rng_state()}
    if torch.cuda.is_available():
        states.update({f"cuda:{i}": state for i, state in enumerate(torch.cuda.get_rng_state_all())})
    return {device: base64.b64encode(state.numpy().tobytes()).decode() for device, state in states.items()}


def restore_rng(states: dict[str, str]) -> None:
    """Put back what `rng_states` gave, for the devices that are here."""
    for device, text in states.items():
        state = torch.frombuffer(bytearray(base64.b64decode(text)), dtype=torch.uint8)
        if device == "cpu":
            torch.set_rng_state(state)
        elif torch.cuda.is_available() and int(device.removeprefix("cuda:")) < torch.cuda.device_count():
            torch.cuda.set_rng_state(state, device)


def write_checkpoint(run: RunDir, contents: Contents) -> Path:
    """Write, sync, rename. Raises NoRoomError, or CheckpointError (no permission), and then leaves nothing behind."""
    final = run.checkpoint(contents.step)
    temporary = run.checkpoints / f".writing-{final.name}-{os.getpid()}"
    try:
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir(parents=True)
        _save_tensors(temporary / "model.safetensors", contents.weights)
        _save_tensors(temporary / "optimizer.safetensors", contents.optimizer)
        if contents.averaged:
            _save_tensors(temporary / "averaged.safetensors", contents.averaged)
        _save_json(temporary / "state.json", {"step": contents.step, **contents.state})
        _save_json(temporary / "config.json", contents.config.model_dump())
        _save_json(temporary / "tokenizer.json", contents.tokenizer)
        manifest = {path.name: _sha256(path) for path in sorted(temporary.iterdir())}
        _save_json(temporary / "manifest.json", {"step": contents.step, "sha256": manifest})
        for path in temporary.iterdir():
            _sync(path)
        _sync(temporary)
        if final.exists():  # the same step again (a resumed run): what stands there is equal or damaged
            old = run.checkpoints / f".old-{final.name}-{os.getpid()}"
            final.rename(old)
            temporary.rename(final)
            shutil.rmtree(old, ignore_errors=True)
        else:
            temporary.rename(final)
        _sync(run.checkpoints)
    except (OSError, SafetensorError) as error:
        shutil.rmtree(temporary, ignore_errors=True)
        raise _cannot_write(final, run, error) from None
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    return final


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
        "rng": rng_states(),
        "environment": {},
    }


def remove_orphans(run: RunDir) -> None:
    """Clear away what a killed writer left: unfinished folders, and an old one whose successor stands."""
    if not run.checkpoints.is_dir():
        return
    for path in run.checkpoints.iterdir():
        if path.name.startswith(".old-"):
            final = run.checkpoints / path.name.removeprefix(".old-").rsplit("-", 1)[0]
            if not final.exists():  # killed between the two renames
                path.rename(final)
                continue
        if path.name.startswith((".writing-", ".old-")):
            shutil.rmtree(path, ignore_errors=True)


def prune(run: RunDir, keep: set[int], keep_last: int) -> list[int]:
    """Remove all but the newest `keep_last` and those in `keep`; returns the steps removed.

    Called only after a newer checkpoint stands: the old is never removed before the new is safe.
    """
    steps = run.checkpoint_steps()
    gone = [step for step in steps[:-keep_last] if step not in keep]
    for step in gone:
        path = run.checkpoint(step)
        doomed = path.with_name(f".old-removed-{step}-{os.getpid()}")
        path.rename(doomed)
        shutil.rmtree(doomed, ignore_errors=True)
    return gone


def verify_checkpoint(path: Path) -> Verified:
    """Check every byte against the manifest."""
    step = int(path.name.removeprefix("step-")) if path.name.removeprefix("step-").isdigit() else -1
    try:
        manifest = json.loads((path / "manifest.json").read_text(encoding="utf-8"))["sha256"]
        weights = str(manifest["model.safetensors"])
        for name in FILES:
            if name not in manifest:
                raise KeyError(name)
        for name, expected in manifest.items():
            if not (path / name).is_file():
                return Verified(step, path, False, weights, f"{name} is missing")
            if _sha256(path / name) != expected:
                return Verified(step, path, False, weights, f"{name} is damaged: its SHA-256 is not the manifest's")
    except FileNotFoundError:
        return Verified(step, path, False, "", "manifest.json is missing")
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        return Verified(step, path, False, "", f"manifest.json cannot be read: {error}")
    return Verified(step, path, True, weights)


def load_checkpoint(path: Path) -> Checkpoint:
    """A verified checkpoint. Raises CheckpointError that names the file and the damage."""
    if not path.is_dir():
        raise CheckpointError(f"no checkpoint at {path}")
    found = verify_checkpoint(path)
    if not found.ok:
        raise CheckpointError(f"checkpoint {path} cannot be used: {found.problem}")
    try:
        state = json.loads((path / "state.json").read_text(encoding="utf-8"))
        config = make_config(json.loads((path / "config.json").read_text(encoding="utf-8")))
        tokenizer = tokenizer_from_dict(json.loads((path / "tokenizer.json").read_text(encoding="utf-8")))
        weights = load_file(path / "model.safetensors")
        optimizer = load_file(path / "optimizer.safetensors")
        if (path / "averaged.safetensors").is_file():
            optimizer.update({f"ema.{k}": v for k, v in load_file(path / "averaged.safetensors").items()})
    except (OSError, ValueError, KeyError) as error:
        raise CheckpointError(f"checkpoint {path} cannot be read: {error}") from None
    return Checkpoint(path, int(state["step"]), config, weights, optimizer, state, tokenizer)


def choose_checkpoint(run: RunDir, which: str | int = "last") -> Path:
    """The path of `best`, `last` or a step. Raises CheckpointError that lists what there is."""
    steps = run.checkpoint_steps()
    if not steps:
        raise CheckpointError(f"run {run.name} has no checkpoint yet; press c while it trains, or wait for the first")
    text = str(which)
    if text == "last":
        return run.checkpoint(steps[-1])
    if text == "best":
        return run.checkpoint(best_step(run, steps))
    if text.isdigit() and int(text) in steps:
        return run.checkpoint(int(text))
    raise CheckpointError(
        f"run {run.name} has no checkpoint {text!r}; there are best, last, {', '.join(map(str, steps))}"
    )


def best_step(run: RunDir, steps: list[int]) -> int:
    """The step, of those given, whose checkpoint has the lowest validation loss; the last when none was evaluated."""
    losses = {step: loss for step in steps if (loss := checkpoint_loss(run, step)) is not None}
    return min(losses, key=lambda step: losses[step]) if losses else steps[-1]


def checkpoint_loss(run: RunDir, step: int) -> float | None:
    """Validation loss measured at that checkpoint's step, if it was."""
    try:
        state = json.loads((run.checkpoint(step) / "state.json").read_text(encoding="utf-8"))
        return None if state.get("val_loss") is None else float(state["val_loss"])
    except (OSError, ValueError):
        return None


def list_checkpoints(run: RunDir) -> list[dict[str, Any]]:
    """`[{step, path, val_loss}]`, oldest first."""
    return [
        {"step": step, "path": str(run.checkpoint(step)), "val_loss": checkpoint_loss(run, step)}
        for step in run.checkpoint_steps()
    ]


def fill_model(model: nn.Module, weights: dict[str, Tensor], source: Path) -> None:
    """Copy weights into the model. Raises CheckpointError naming the first tensor whose shape differs."""
    own = dict(model.named_parameters())
    if missing := sorted(own.keys() - weights.keys()):
        raise CheckpointError(f"checkpoint {source} has no weights for {missing[0]}; it is of another model")
    if extra := sorted(weights.keys() - own.keys()):
        raise CheckpointError(f"checkpoint {source} has weights {extra[0]} that this model has not")
    with torch.no_grad():
        for name, parameter in own.items():
            if parameter.shape != weights[name].shape:
                theirs, ours = tuple(weights[name].shape), tuple(parameter.shape)
                raise CheckpointError(f"checkpoint {source}: {name} is {theirs}, the model's is {ours}")
            parameter.copy_(weights[name])


def load_model(
    run: RunDir, which: str | int = "best", device: str | torch.device = "cpu"
) -> tuple[GPT, Tokenizer, int]:
    """(model for writing with, its tokenizer, step): the averaged weights where the run keeps them."""
    checkpoint = load_checkpoint(choose_checkpoint(run, which))
    return for_decoding(checkpoint_model(checkpoint).to(device)), checkpoint.tokenizer, checkpoint.step


def checkpoint_model(checkpoint: Checkpoint) -> GPT:
    """The checkpoint's model: its averaged weights where it has them, its adapters merged."""
    model = build_for(checkpoint.config, checkpoint.tokenizer.vocab_size)
    averaged = {k.removeprefix("ema."): v for k, v in checkpoint.optimizer.items() if k.startswith("ema.")}
    fill_model(model, averaged or checkpoint.weights, checkpoint.path)
    return merge_lora(model) if checkpoint.config.train.lora_r else model


def newest_good(run: RunDir) -> tuple[Checkpoint | None, list[str]]:
    """The newest checkpoint that verifies, and what was wrong with those passed over."""
    problems: list[str] = []
    for step in reversed(run.checkpoint_steps()):
        try:
            return load_checkpoint(run.checkpoint(step)), problems
        except CheckpointError as error:
            problems.append(str(error))
    return None, problems


def _save_tensors(path: Path, tensors: dict[str, Tensor]) -> None:
    # views of one flat buffer share storage, which safetensors refuses; parameters are small enough to copy
    save_file({name: tensor.detach().cpu().clone().contiguous() for name, tensor in sorted(tensors.items())}, path)


def _cannot_write(final: Path, run: RunDir, error: OSError | SafetensorError) -> CheckpointError:
    """The failure in one line. Of a system's error safetensors gives only the number, at the end of its own words."""
    if isinstance(error, SafetensorError) and (told := re.search(r"\(os error (\d+)\)", str(error))):
        error = OSError(int(told[1]), os.strerror(int(told[1])))
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return NoRoomError(f"no room left on the disk of {run.path}")
    why = error.strerror if isinstance(error, OSError) and error.strerror else " ".join(str(error).split())
    return CheckpointError(f"cannot write the checkpoint {final}: {why}")


def _save_json(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value, indent=1, sort_keys=True) + "\n", encoding="utf-8")


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
