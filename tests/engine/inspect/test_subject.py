from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from engine.errors import CheckpointError, CorpusError, UserError
from engine.inspect.layers import attention_maps, logit_lens
from engine.inspect.losses import joined, text_losses, worst_passages
from engine.inspect.subject import open_held_out, open_subject, run_tokenizer
from engine.runs.layout import RunDir
from engine.runs.reader import RunReader
from engine.training.checkpoint import load_checkpoint, load_model

from .conftest import KEPT

every_run = pytest.mark.parametrize("kept_run", sorted(path.name for path in (KEPT / "runs").iterdir()), indirect=True)
one_run = pytest.mark.parametrize("kept_run", ["muon-bpe"], indirect=True)


@every_run
def test_a_runs_own_validation_loss_comes_out_of_its_held_out_text(kept_run: RunDir) -> None:
    subject = open_subject(kept_run, "last")
    model, tokenizer, step = load_model(kept_run, "last")
    assert (subject.step, subject.tokenizer, subject.run) == (step, tokenizer, kept_run) and not subject.model.training
    for name, weight in subject.model.named_parameters():
        assert torch.equal(weight, dict(model.named_parameters())[name])
    held_out = open_held_out(kept_run, subject.tokenizer)
    found = joined(list(text_losses(subject.model, held_out.ids)))
    reader = RunReader(kept_run)
    reader.poll()
    assert found.mean == pytest.approx(float(reader.series.val_loss[-1]), abs=1e-4)
    *_, worst = worst_passages(subject.model, held_out.ids, length=6)
    assert worst.passages[0].loss > found.mean
    assert attention_maps(subject.model, held_out.passage(0, 12)).weights.shape[-1] == 13
    assert logit_lens(subject.model, held_out.passage(1, 12)) is not None


@one_run
def test_every_token_of_the_held_out_text_is_in_one_passage(kept_run: RunDir) -> None:
    held_out = open_held_out(kept_run, run_tokenizer(kept_run))
    for length in (1, 7, 64, 10_000):
        parts = [held_out.passage(number, length) for number in range(held_out.passages(length))]
        assert np.array_equal(np.concatenate([part[1:] for part in parts]), held_out.ids[1:])
        assert all(len(part) == length + 1 for part in parts[:-1])
    with pytest.raises(UserError, match=r"has 1 passages; there is no number 2"):
        held_out.passage(1, 10_000)


@one_run
def test_the_optimizers_state_is_not_needed_and_damage_of_the_rest_is_told(kept_run: RunDir) -> None:
    folder = kept_run.checkpoint(20)
    data = (folder / "optimizer.safetensors").read_bytes()
    (folder / "optimizer.safetensors").write_bytes(b"damaged")
    assert open_subject(kept_run, "best", say=pytest.fail).step == 20
    assert load_checkpoint(folder, optimizer=False).optimizer == {}
    with pytest.raises(CheckpointError, match="optimizer"):
        load_checkpoint(folder)
    (folder / "optimizer.safetensors").write_bytes(data)
    weights = bytearray((folder / "model.safetensors").read_bytes())
    weights[-1] ^= 1
    (folder / "model.safetensors").write_bytes(weights)
    with pytest.raises(CheckpointError, match=r"model\.safetensors is damaged"):
        open_subject(kept_run, 20)


@one_run
def test_a_run_without_a_checkpoint_has_a_tokenizer(kept_run: RunDir) -> None:
    saved = run_tokenizer(kept_run)
    kept_run.checkpoints.rename(kept_run.path / "outputs")
    assert run_tokenizer(kept_run) == saved
    with pytest.raises(CheckpointError, match="has no checkpoint yet"):
        open_subject(kept_run)


@one_run
def test_a_corpus_that_is_gone_is_said(kept_run: RunDir, tmp_path: Path) -> None:
    kept_run.run_json.write_text(kept_run.run_json.read_text().replace("kept.txt", "gone.txt"))
    with pytest.raises(CorpusError, match="corpus"):
        open_held_out(kept_run, run_tokenizer(kept_run), tmp_path)
