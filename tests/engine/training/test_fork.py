"""Runs that begin from another run's checkpoint."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from engine.errors import ConfigError, TokenizerError
from engine.runs.layout import RunDir
from engine.runs.reader import RunReader
from engine.training.checkpoint import load_checkpoint, load_model
from engine.training.fork import fine_tuning_config, fork_run
from engine.training.start import start_run

from .conftest import tiny_text, train
from .test_resume import hashes


def test_a_fork_goes_on_as_the_run_did(start: Callable[..., RunDir], tmp_path: Path) -> None:
    run = start("origin", "model.dropout=0.1")
    train(run)
    forked = fork_run(run, 4, tmp_path / "runs", name="fork")
    assert train(forked).state == "finished"
    assert hashes(forked)[12] == hashes(run)[12]
    a, b = RunReader(run), RunReader(forked)
    a.poll(), b.poll()
    assert a.series.loss.tolist() == b.series.loss.tolist()
    assert b.info["parent"]["run"] == "origin" and b.info["parent"]["step"] == 4


def fine_tune(run: RunDir, tmp_path: Path, name: str, *sets: str, text: str | None = None) -> RunDir:
    from engine.preset_files import override

    other = tmp_path / f"{name}.txt"
    other.write_text(text or tiny_text(seed=7))
    config = override(fine_tuning_config(run, "last"), sets=sets)
    return start_run(str(other), config, tmp_path / "runs", name=name, device="cpu", base=(run, "last"))


def test_fine_tuning_begins_with_the_parents_weights_and_a_fresh_optimizer(
    start: Callable[..., RunDir], tmp_path: Path
) -> None:
    run = start("parent")
    train(run)
    tuned = fine_tune(run, tmp_path, "tuned")
    before, first = load_checkpoint(run.checkpoint(12)), load_checkpoint(tuned.checkpoint(0))
    assert all(torch.equal(before.weights[name], first.weights[name]) for name in before.weights)
    assert first.optimizer == {}
    assert train(tuned).state == "finished"
    assert not torch.equal(load_checkpoint(tuned.checkpoint(12)).weights["wte.weight"], before.weights["wte.weight"])


def test_lora_trains_only_its_adapters_and_merges_for_use(start: Callable[..., RunDir], tmp_path: Path) -> None:
    run = start("parent")
    train(run)
    tuned = fine_tune(run, tmp_path, "lora", "train.lora_r=2", "train.lora_alpha=4", "train.optimizer=adamw")
    assert train(tuned).state == "finished"
    before, after = load_checkpoint(run.checkpoint(12)), load_checkpoint(tuned.checkpoint(12))
    for name, weight in before.weights.items():
        assert torch.equal(after.weights[name], weight), name
    assert any(name.endswith("lora_b") and float(value.abs().sum()) > 0 for name, value in after.weights.items())
    merged, _, step = load_model(tuned, "last")
    assert step == 12
    assert {name for name, _ in merged.named_parameters()} == set(before.weights)
    plain, _, _ = load_model(run, "last")
    ids = torch.arange(8)[None]
    assert not torch.allclose(merged(ids), plain(ids))


def test_another_model_or_vocabulary_is_refused_naming_both_sides(start: Callable[..., RunDir], tmp_path: Path) -> None:
    run = start("parent")
    train(run)
    with pytest.raises(ConfigError, match=r"data\.tokenizer is char in run parent \(vocabulary \d+\), not bpe"):
        fine_tune(run, tmp_path, "a", "data.tokenizer=bpe")
    with pytest.raises(ConfigError, match=r"model\.n_layer is 2 in run parent .* not 3"):
        fine_tune(run, tmp_path, "b", "model.n_layer=3")
    with pytest.raises(TokenizerError, match=r"U\+00E9"):
        fine_tune(run, tmp_path, "c", text=tiny_text() + "café " * 40)
    assert not (tmp_path / "runs" / "c").exists()


def test_lora_without_a_parent_is_refused(start: Callable[..., RunDir]) -> None:
    with pytest.raises(ConfigError, match="--from"):
        start("orphan", "train.lora_r=4")


def test_an_added_table_is_found_again_by_its_card(tmp_path: Path) -> None:
    from engine.text.catalog import add_corpus

    from .conftest import tiny_config

    table = tmp_path / "pairs.csv"
    table.write_text("q,a\n" + "".join(f"is {n} odd,{'yes' if n % 2 else 'no'} it is\n" for n in range(200)))
    own = tmp_path / "corpora"
    add_corpus(table, "mine", own, prompt_column="q", response_column="a")
    run = start_run("mine", tiny_config(), tmp_path / "runs", name="tabled", device="cpu", corpora_dir=own)
    from engine.training.host import TrainingHost

    host = TrainingHost(run, device="cpu", corpora_dir=own)
    host.start()
    host.join(60)
    assert host.state == "finished", host.error
