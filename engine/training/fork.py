"""Runs that begin with weights: a fork goes on as it was, a fine-tuning starts anew on other text; and a model that
others trained, to sample, to chat with, to fine-tune (`tinytui train NEW --from RUN`).
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch

from engine.config import FREE_IN_A_FORK, Config, make_config, split_key
from engine.errors import CheckpointError, ConfigError, TokenizerError
from engine.files import open_atomic
from engine.interop.imports import import_model
from engine.interop.tokenizers import read_tokenizer
from engine.model import build_for
from engine.preset_files import load_preset
from engine.runs.layout import RunDir, create_run, new_name
from engine.runs.schema import decode
from engine.runs.status import IMPORTED, check_trained_here, read_config, read_info
from engine.runs.tail import Tail, split_lines
from engine.runs.writer import RunWriter
from engine.tokenizers.dataset import TokenDataset
from engine.tokenizers.gpt2 import Gpt2Tokenizer, load_gpt2
from engine.training.checkpoint import (
    Checkpoint,
    checkpoint_model,
    choose_checkpoint,
    load_checkpoint,
)
from engine.training.memory import check_memory
from engine.training.saving import Contents, fresh_state, write_checkpoint


def fork_run(
    run: RunDir,
    step: str | int,
    runs_dir: Path | None = None,
    *,
    name: str | None = None,
    changes: Mapping[str, Any] | None = None,
    ranks: int | None = None,
) -> RunDir:
    """A new run with all of `run` up to its checkpoint at `step` (or "best", "last"), to go on exactly from there.

    `changes` are settings (`{"train.learning_rate": 1e-4}`) that differ from there on. `ranks` is how many processes
    are to train it; as many as `run` where it is not given. Raises CheckpointError when there is no such checkpoint or
    it is damaged, ConfigError for settings that cannot change in the middle of a run.
    """
    for key in changes or ():
        section, setting = split_key(key)
        if section != "train" or setting not in FREE_IN_A_FORK:
            raise ConfigError(
                f"{key} cannot change in a fork; start a new run, or fine-tune with train --from {run.name}"
            )
    check_trained_here(run)
    checkpoint = load_checkpoint(choose_checkpoint(run, step))
    info = read_info(run)
    config = read_config(run).replace(changes or {})
    if "train.max_steps" in (changes or {}) and config.train.max_steps <= checkpoint.step:
        raise ConfigError(
            f"the fork begins at step {checkpoint.step:,}; give it more steps than {config.train.max_steps:,}"
        )
    begun = info.get("environment") or {}
    size = begun.get("ranks") if ranks is None else ranks
    several = size if isinstance(size, int) and size > 0 else 1
    check_memory(config, checkpoint.tokenizer.vocab_size, str(begun.get("device", "auto")), several)

    def fill(fork: RunDir) -> None:
        for source, target in ((run.metrics, fork.metrics), (run.samples, fork.samples)):
            with open_atomic(target) as file:
                file.writelines(_up_to(source, checkpoint.step))
        target = fork.checkpoint(checkpoint.step)
        target.mkdir(parents=True)
        for path in checkpoint.path.iterdir():  # `copytree` goes on after a failure, and tells all of them
            shutil.copyfile(path, target / path.name)
        with RunWriter(fork) as writer:
            writer.status(state="stopped", step=checkpoint.step, steps=config.train.max_steps)

    return create_run(
        runs_dir,
        name or new_name(runs_dir, run.name, f"at-{checkpoint.step}"),
        config,
        corpus=info.get("corpus") or {},
        preset=info.get("preset") or "",
        template=info.get("template"),
        tokenizer=info.get("tokenizer"),
        parent={
            "run": run.name,
            "path": str(run.path),
            "step": checkpoint.step,
            "how": "fork",
            "changes": dict(changes or {}),
        },
        environment={**(info.get("environment") or {}), **({} if ranks is None else {"ranks": ranks})},
        fill=fill,
    )


def _up_to(path: Path, step: int) -> Iterator[bytes]:
    """The records of a JSONL file up to `step`, marks of earlier resumes included; damaged lines are left behind."""
    for block in Tail(path).blocks():
        for line in split_lines(block):
            try:
                record = decode(line)
            except ValueError:
                continue
            at = record.get("step", record.get("resumed")) if isinstance(record, dict) else None
            if isinstance(at, int) and at <= step:
                yield line + b"\n"


def fine_tuning_config(parent: RunDir, which: str | int = "best") -> Config:
    """The settings to begin a fine-tuning from: the parent's, with a tenth of its learning rates and no warm-up."""
    config = load_checkpoint(choose_checkpoint(parent, which)).config
    rates = ("learning_rate", "min_learning_rate", "muon_learning_rate")
    changes: dict[str, Any] = {f"train.{rate}": getattr(config.train, rate) / 10 for rate in rates}
    changes |= {"train.warmup_steps": 0, "train.lora_r": 0}
    changes |= {"train.sample_prompt": "\n", "train.sample_prompts": None, "train.sample_stop": ""}
    changes |= {"data.record_starts": False, "data.loss": "all"}  # which hang on the corpus as well
    return config.replace(changes)


def check_base(parent: RunDir, checkpoint: Checkpoint, config: Config) -> None:
    """Raise ConfigError, naming both sides, when `config` is of another model or tokenizer than the checkpoint."""
    theirs, vocab = checkpoint.config, checkpoint.tokenizer.vocab_size
    free = ("dropout", "val_fraction", "val_tokens", "unknown", "record_starts", "loss")
    for section in ("model", "data"):
        for name, value in getattr(config, section).model_dump().items():
            before = getattr(getattr(theirs, section), name)
            if name not in free and value != before:
                raise ConfigError(
                    f"{section}.{name} is {before} in run {parent.name} (vocabulary {vocab:,}), "
                    f"not {value}; fine-tuning keeps it: leave it out, or train a new run"
                )


def write_base(run: RunDir, parent: Checkpoint, config: Config, dataset: TokenDataset) -> None:
    """Give a new run its checkpoint at step 0: the parent's weights, adapters merged, and a fresh optimizer."""
    weights = dict(checkpoint_model(parent).named_parameters())
    vocab = parent.tokenizer.vocab_size
    model = build_for(config, vocab, torch.Generator().manual_seed(config.train.seed))
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name in weights:
                if parameter.shape != weights[name].shape:
                    raise CheckpointError(
                        f"{name} is {tuple(weights[name].shape)} in {parent.path}, {tuple(parameter.shape)} here"
                    )
                parameter.copy_(weights[name])
    named: dict[str, torch.Tensor] = dict(model.named_parameters())
    write_checkpoint(run, Contents(0, config, named, {}, fresh_state(), dataset.tokenizer))


def import_run(folder: Path, runs_dir: Path | None = None, *, name: str | None = None) -> RunDir:
    """A run whose checkpoint at step 0 is the model in `folder`, as transformers saves it (config.json, safetensors).

    Its tokenizer is the folder's; a folder without one that has weights for GPT-2's 50,257 tokens takes that of
    `load_gpt2`. Raises UserError for a folder that holds no model of ours, TokenizerError for a tokenizer that cannot
    be ours, CheckpointError when the two do not belong together; then nothing is made.
    """
    tokenizer = read_tokenizer(folder)
    model, weights = import_model(folder)
    rows = weights["wte.weight"].shape[0]
    if tokenizer is None:
        if rows != Gpt2Tokenizer.least_vocab:
            raise TokenizerError(f"{folder} has no tokenizer; put its tokenizer.json beside the weights")
        tokenizer = load_gpt2()
    if rows != tokenizer.vocab_size:
        raise CheckpointError(
            f"{folder} has weights for {rows:,} tokens, its tokenizer {tokenizer.vocab_size:,}; "
            "put the tokenizer.json that belongs to it beside them"
        )
    tree = {**load_preset("gpt2").model_dump(), "model": model.model_dump()}
    tree["data"] |= tokenizer.settings
    config = make_config(tree)

    def fill(run: RunDir) -> None:
        write_checkpoint(run, Contents(0, config, weights, {}, fresh_state(), tokenizer))
        with RunWriter(run) as writer:
            writer.event("imported", 0, path=str(folder))
            params = sum(tensor.numel() for tensor in weights.values())
            writer.status(state="finished", step=0, steps=0, params=params)

    return create_run(
        runs_dir,
        name or new_name(runs_dir, folder.resolve().name, IMPORTED),
        config,
        corpus={"name": "unknown", "path": None, "sha256": ""},
        preset=IMPORTED,
        tokenizer=tokenizer.identity,
        fill=fill,
    )
