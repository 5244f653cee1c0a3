"""Checkpoints that come back exactly, or say why not; `saving.py` writes them.

On load every byte is checked against the manifest: safetensors itself does not notice a flipped bit.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from engine.config import make_config
from engine.errors import CheckpointError, UserError
from engine.model import build_for
from engine.model.gpt import GPT
from engine.model.lora import merge_lora
from engine.runs.layout import RunDir
from engine.runs.schema import DamagedError
from engine.sampling.decode import for_decoding
from engine.tokenizers.base import Tokenizer
from engine.tokenizers.table import tokenizer_from_dict
from engine.training.saving import Contents
from engine.training.sharded import read_sharded
from engine.training.verify import (
    AVERAGED,
    OPTIMIZER,
    SHARDED,
    problem_of,
    read_config,
    read_loss,
    read_state,
    read_tokenizer,
    verify_checkpoint,
)


@dataclass(frozen=True, kw_only=True)
class Checkpoint(Contents):
    """A verified checkpoint in memory."""

    path: Path
    format: int

    @property
    def to_be_read(self) -> bool:
        """Whether its tensors are still on disk, for each rank to read its own part."""
        return not self.weights


def load_checkpoint(path: Path, optimizer: bool = True, *, in_parts: bool = False) -> Checkpoint:
    """A verified checkpoint. Raises CheckpointError that names the file and the damage.

    Without `optimizer` its state, twice as large as the weights, is neither read nor verified, nor in the result; of
    a sharded checkpoint it is not read. With `in_parts` the tensors of a sharded one are left on disk.
    """
    if not path.is_dir():
        raise CheckpointError(f"no checkpoint at {path}")
    found = verify_checkpoint(path, "" if optimizer else OPTIMIZER)
    if not found.ok:
        raise CheckpointError(f"checkpoint {path} cannot be used: {found.problem}")
    try:
        state = read_state(path)
        config = make_config(read_config(path))
        tokenizer = tokenizer_from_dict(read_tokenizer(path))
        if found.format == SHARDED:
            weights, tensors, averaged = ({}, {}, {}) if in_parts else _read_sharded(path, optimizer)
        else:
            weights = load_file(path / "model.safetensors")
            tensors = load_file(path / OPTIMIZER) if optimizer else {}
            averaged = load_file(path / AVERAGED) if (path / AVERAGED).is_file() else {}
    except (OSError, ValueError, SafetensorError, UserError) as error:
        raise CheckpointError(f"checkpoint {path} cannot be used: {' '.join(str(error).split())}") from None
    step = int(state["step"])
    return Checkpoint(step, config, weights, tensors, state, tokenizer, averaged, path=path, format=found.format)


def _read_sharded(path: Path, optimizer: bool) -> tuple[dict[str, Tensor], ...]:
    """Weights, optimizer's state and averaged weights of a sharded checkpoint, whole."""
    kinds = ("model.", "optimizer.", "averaged.") if optimizer else ("model.", "averaged.")
    found = read_sharded(path, lambda name: name.startswith(kinds))
    return tuple(
        {name.removeprefix(kind): each for name, each in found.items() if name.startswith(kind)}
        for kind in ("model.", "optimizer.", "averaged.")
    )


def choose_checkpoint(run: RunDir, which: str | int = "last") -> Path:
    """The path of `best`, `last` or a step. Raises CheckpointError that lists what there is."""
    return _in_order(run, str(which))[0][0]


def _in_order(run: RunDir, which: str) -> tuple[list[Path], list[str]]:
    """The checkpoints that `which` may mean, the one it does mean first; and those whose loss cannot be known."""
    steps = run.checkpoint_steps()
    if not steps:
        raise CheckpointError(f"run {run.name} has no checkpoint yet; press c while it trains, or wait for the first")
    if which == "last":
        return [run.checkpoint(step) for step in reversed(steps)], []
    if which == "best":
        losses, problems = known_losses(run, steps)
        unknown = [step for step in reversed(steps) if step not in losses]
        return [run.checkpoint(step) for step in (*sorted(losses, key=losses.__getitem__), *unknown)], problems
    if which.isdecimal() and int(which) in steps:
        return [run.checkpoint(int(which))], []
    raise CheckpointError(
        f"run {run.name} has no checkpoint {which!r:.60}; there are best, last, {', '.join(map(str, steps))}"
    )


def known_losses(run: RunDir, steps: list[int]) -> tuple[dict[int, float], list[str]]:
    """The checkpoints' validation losses by step, and what is damaged where one cannot be known."""
    losses: dict[int, float] = {}
    problems: list[str] = []
    for step in steps:
        path = run.checkpoint(step)
        try:
            loss = read_loss(path)
        except (FileNotFoundError, DamagedError) as error:
            problems.append(f"checkpoint {path} cannot be used: {problem_of(path, error)}")
        else:
            if loss is not None:
                losses[step] = loss
    return losses, problems


def fill_model(model: nn.Module, weights: dict[str, Tensor], source: Path) -> None:
    """Copy weights into the model. Raises CheckpointError naming the first that differs, and then changes nothing."""
    check_model(model, weights, source)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.copy_(weights[name])


def check_model(model: nn.Module, weights: Mapping[str, Tensor], source: Path) -> None:
    """Raises CheckpointError naming the first of `weights` that is not the model's, by name or shape."""
    own = dict(model.named_parameters())
    if missing := sorted(own.keys() - weights.keys()):
        raise CheckpointError(f"checkpoint {source} has no weights for {missing[0]}; it is of another model")
    if extra := sorted(weights.keys() - own.keys()):
        raise CheckpointError(f"checkpoint {source} has weights {extra[0]} that this model has not")
    for name, parameter in own.items():
        if parameter.shape != weights[name].shape:
            theirs, ours = tuple(weights[name].shape), tuple(parameter.shape)
            raise CheckpointError(f"checkpoint {source}: {name} is {theirs}, the model's is {ours}")


def load_model(
    run: RunDir,
    which: str | int = "best",
    device: str | torch.device = "cpu",
    *,
    say: Callable[[str], None] = warnings.warn,
    to_write: bool = True,
) -> tuple[GPT, Tokenizer, int]:
    """(model, its tokenizer, step): the averaged weights where the run keeps them; `to_write` with, or to read text.

    A damaged "best" or "last" is passed over for the next one that is whole, which `say` is told in one line each.
    Of the checkpoint's files all but the optimizer's are read. Raises CheckpointError when there is none, or the one
    asked for by its step is damaged.
    """
    paths, unknown = _in_order(run, str(which))
    problems: list[str] = []
    for path in paths:
        try:
            checkpoint = load_checkpoint(path, optimizer=False)
            model = checkpoint_model(checkpoint).to(device)
        except CheckpointError as error:
            problems.append(str(error))
            continue
        for problem in dict.fromkeys([*problems, *unknown]):
            say(f"{problem}; {path.name} is used")
        return for_decoding(model) if to_write else model.eval(), checkpoint.tokenizer, checkpoint.step
    raise CheckpointError(problems[0])


def checkpoint_model(checkpoint: Checkpoint) -> GPT:
    """The checkpoint's model: its averaged weights where it has them, its adapters merged."""
    model = build_for(checkpoint.config, checkpoint.tokenizer.vocab_size, drawn=False)
    fill_model(model, checkpoint.weights | checkpoint.averaged, checkpoint.path)
    return merge_lora(model) if checkpoint.config.train.lora_r else model


def newest_good(run: RunDir, *, in_parts: bool = False) -> tuple[Checkpoint | None, list[str]]:
    """The newest checkpoint that verifies, and what was wrong with those passed over; see `load_checkpoint`."""
    problems: list[str] = []
    for step in reversed(run.checkpoint_steps()):
        try:
            return load_checkpoint(run.checkpoint(step), in_parts=in_parts), problems
        except CheckpointError as error:
            problems.append(str(error))
    return None, problems
