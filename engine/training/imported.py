"""A model that others trained, as a run: to sample, to chat with, to fine-tune (`tinytui train NEW --from RUN`)."""

from __future__ import annotations

from pathlib import Path

from engine.config import make_config
from engine.errors import CheckpointError, TokenizerError
from engine.interop.imports import import_model
from engine.interop.tokenizers import read_tokenizer
from engine.preset_files import load_preset
from engine.runs.layout import RunDir, create_run, new_name
from engine.runs.status import IMPORTED
from engine.runs.writer import RunWriter
from engine.tokenizers.gpt2 import Gpt2Tokenizer, load_gpt2
from engine.training.saving import Contents, fresh_state, write_checkpoint


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
        write_checkpoint(run, Contents(0, config, weights, {}, fresh_state(), tokenizer.to_dict()))
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
