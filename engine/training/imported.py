"""A model that others trained, as a run: to sample, to chat with, to fine-tune (`tinytui train NEW --from RUN`)."""

from __future__ import annotations

from pathlib import Path

from engine.config import load_preset, make_config
from engine.errors import CheckpointError
from engine.interop.hf import import_gpt2
from engine.runs.layout import RunDir, create_run, new_name
from engine.runs.writer import RunWriter
from engine.text.gpt2 import load_gpt2
from engine.training.saving import Contents, fresh_state, write_checkpoint


def import_run(folder: Path, runs_dir: Path | None = None, *, name: str | None = None) -> RunDir:
    """A run whose checkpoint at step 0 is the GPT-2 in `folder`, as transformers saves it (config.json, safetensors).

    Its tokenizer comes from the folder's merges.txt, else as `load_gpt2` finds it. Raises UserError for a folder that
    holds no GPT-2, CheckpointError when its vocabulary is not the tokenizer's; then nothing is made.
    """
    model, weights = import_gpt2(folder)
    merges = folder / "merges.txt"
    tokenizer = load_gpt2(merges if merges.is_file() else None)
    rows = weights["wte.weight"].shape[0]
    if rows != tokenizer.vocab_size:
        raise CheckpointError(
            f"{folder} has weights for {rows:,} tokens, its tokenizer {tokenizer.vocab_size:,}; "
            "put the merges.txt that belongs to it beside them"
        )
    config = make_config({**load_preset("gpt2").model_dump(), "model": model.model_dump()})

    def fill(run: RunDir) -> None:
        write_checkpoint(run, Contents(0, config, weights, {}, fresh_state(), tokenizer.to_dict()))
        with RunWriter(run) as writer:
            writer.event("imported", 0, path=str(folder))
            params = sum(tensor.numel() for tensor in weights.values())
            writer.status(state="finished", step=0, steps=0, params=params)

    return create_run(
        runs_dir,
        name or new_name(runs_dir, folder.resolve().name, "imported"),
        config,
        corpus={"name": "unknown", "path": None, "sha256": ""},
        preset="imported",
        tokenizer={"kind": "gpt2", "vocab_size": tokenizer.vocab_size, "fingerprint": tokenizer.fingerprint},
        fill=fill,
    )
