"""A run's figures and weights for other programs: which ways there are, and each of them as one call."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from engine.errors import UserError

if TYPE_CHECKING:
    from engine.runs.layout import RunDir


@dataclass(frozen=True)
class Export:
    """One way: `kind` as `export_run` knows it, `about` for a person, and what stands after the run's name in that of
    the file or folder."""

    kind: str
    about: str
    suffix: str
    weights: bool = False
    """Whether it is of one checkpoint."""


@dataclass(frozen=True)
class Weights:
    """A checkpoint to export: `name` is best, last or a step."""

    name: str
    step: int
    val_loss: float | None


CSV = Export("csv", "figures, a line a step, as CSV", ".csv")
TENSORBOARD = Export("tensorboard", "figures for TensorBoard, a folder", "-tensorboard")
HF = Export("hf", "the model for transformers, a folder", "-hf", weights=True)
ADAPTER = Export("adapter", "the LoRA adapter for PEFT, a folder", "-adapter", weights=True)


def exports_of(run: RunDir) -> list[Export]:
    """What can be exported of a run as it stands. Reads its files; raises RunError for what is no run."""
    from engine.runs.status import read_config

    if not run.checkpoint_steps():
        return [CSV, TENSORBOARD]
    return [CSV, TENSORBOARD, HF, *([ADAPTER] if read_config(run).train.lora_r else [])]


def weights_of(run: RunDir) -> list[Weights]:
    """The checkpoints of the run as one may ask for them: the best, the last, then all from the newest on. Raises
    CheckpointError where there is none."""
    from engine.training.checkpoint import choose_checkpoint, known_losses

    best, steps = choose_checkpoint(run, "best"), run.checkpoint_steps()
    losses, _ = known_losses(run, steps)
    named = [("best", step) for step in steps if run.checkpoint(step) == best]
    named += [("last", steps[-1]), *((str(step), step) for step in reversed(steps))]
    return [Weights(name, step, losses.get(step)) for name, step in named]


def export_new(run: RunDir, kind: str, target: Path, checkpoint: str = "best") -> str:
    """`export_run` to where nothing is yet; what was damaged and left out is told, too."""
    if os.path.lexists(target):
        raise UserError(f"{target} is there already; choose another name")
    told: list[str] = []
    return "; ".join([export_run(run, kind, target, told.append, checkpoint=checkpoint), *told])


def export_run(
    run: RunDir,
    kind: str,
    target: Path,
    say: Callable[[str], None],
    *,
    checkpoint: str = "best",
    force: bool = False,
) -> str:
    """Write the run as `kind` to a file or folder; says what was written, and how it is used.

    `say` is told what is damaged and was left out. With `force` same names in a folder are replaced. Raises UserError.
    """
    from engine.files import check_output_folder
    from engine.runs.summary import export_csv

    if kind == CSV.kind:
        return f"{target}: {export_csv(run, target, say):,} steps"
    check_output_folder(target, force=force)
    if kind == TENSORBOARD.kind:
        from engine.interop.exports import export_tensorboard

        steps = export_tensorboard(run, target, force=force)
        return f"{target}: {steps:,} steps; look at them with tensorboard --logdir {target}"
    if kind == ADAPTER.kind:
        return _adapter(run, checkpoint, target, force)
    return _model(run, checkpoint, target, say, force)


def _model(run: RunDir, checkpoint: str, folder: Path, say: Callable[[str], None], force: bool) -> str:
    """The model as transformers reads it."""
    from engine.interop.exports import export
    from engine.training.checkpoint import load_model

    model, tokenizer, step = load_model(run, checkpoint, say=say)
    to = export(model, tokenizer, folder, force=force)
    trust = ", trust_remote_code=True" if to.code is not None else ""
    load = f"AutoModelForCausalLM.from_pretrained({str(folder)!r}{trust})"
    return f"{folder}: {to.name} at step {step:,}; load it with {load}"


def _adapter(run: RunDir, checkpoint: str, folder: Path, force: bool) -> str:
    """The adapter as PEFT reads it."""
    from engine.interop.exports import export_adapter
    from engine.model import build_for
    from engine.training.checkpoint import choose_checkpoint, fill_model, load_checkpoint

    loaded = load_checkpoint(choose_checkpoint(run, checkpoint))
    train = loaded.config.train
    if not train.lora_r:
        raise UserError(f"run {run.name} has no adapter: all its weights were trained; --hf writes them")
    model = build_for(loaded.config, loaded.tokenizer.vocab_size, drawn=False)
    fill_model(model, loaded.weights, loaded.path)
    export_adapter(model, train.lora_r, train.lora_alpha, folder, force=force)
    return f"{folder}: adapter of rank {train.lora_r} at step {loaded.step:,}"
