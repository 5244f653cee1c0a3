"""Every preset trains end to end: its own kind, tokenizer, optimizer and schedule, at a reduced size."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from engine.preset_files import load_preset, preset_names
from engine.runs.reader import RunReader
from engine.training.checkpoint import load_model
from engine.training.start import start_run

from .conftest import tiny_text, train


@pytest.mark.parametrize("preset", preset_names())
def test_every_preset_trains(preset: str, tmp_path: Path) -> None:
    plain = load_preset(preset)
    heads = min(plain.model.n_head, 2)
    config = plain.replace(
        {
            "model.n_layer": min(plain.model.n_layer, 2),
            "model.n_head": heads,
            "model.n_embd": 8 * heads,
            "model.block_size": 16,
            "data.vocab_size": min(plain.data.vocab_size, 300),
            # GPT-2's vocabulary is a download; its shape is not what is tested here
            "data.tokenizer": "byte" if plain.data.tokenizer == "gpt2" else plain.data.tokenizer,
            "train.batch_size": 4,
            "train.grad_accum": min(plain.train.grad_accum, 2),
            "train.max_steps": 6,
            "train.eval_every": 3,
            "train.checkpoint_every": 3,
            "train.sample_tokens": 4,
            "train.compile": False,
        }
    )
    text = tmp_path / "text.txt"
    text.write_text(tiny_text(sentences=600))
    run = start_run(str(text), config, tmp_path / "runs", name="run", preset=preset, device="cpu")
    host = train(run)
    assert host.state == "finished", host.error
    reader = RunReader(run)
    reader.poll()
    assert reader.series.step.tolist() == [1, 2, 3, 4, 5, 6]
    assert all(math.isfinite(loss) for loss in reader.series.val_loss)
    assert len(reader.samples) == 2
    _, _, step = load_model(run, "last")
    assert step == 6
