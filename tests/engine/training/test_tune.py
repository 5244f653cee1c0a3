"""Profile, range test, micro-batches, memory: the numbers add up and nothing is written."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from engine.errors import ConfigError
from engine.model import build_model
from engine.model.sizes import count_parameters
from engine.plan.forecast import forecast
from engine.plan.profile import profile_run
from engine.plan.tune import batch_sizes, learning_rate_range, suggest
from engine.runs.layout import RunDir
from engine.text.catalog import find_corpus
from engine.tokenizers.dataset import TokenDataset
from engine.training.fork import fork_run
from engine.training.memory import activations_by_part

from .conftest import tiny_config, train

CPU = torch.device("cpu")


@pytest.fixture
def dataset(corpus: Path) -> TokenDataset:
    return TokenDataset.open(find_corpus(str(corpus)).prepare(), tiny_config().data)


def test_profile_adds_up(dataset: TokenDataset) -> None:
    config = tiny_config()
    found = profile_run(config, dataset, CPU)
    params = count_parameters(config.model, dataset.tokenizer.vocab_size)
    assert sum(row.weights for row in found.rows) == sum(row.gradients for row in found.rows) == 4 * params
    model = build_model(config.model, dataset.tokenizer.vocab_size)
    x, y = (torch.zeros(4, 16, dtype=torch.long) for _ in range(2))
    assert sum(row.activations for row in found.rows) == sum(activations_by_part(model.train(), x, y, "fp32").values())
    assert {row.part for row in found.rows} >= {"attention", "mlp", "embedding", "head"}
    assert 0 < found.forward_seconds < found.step_seconds * 3


def test_range_test_finds_where_learning_breaks(dataset: TokenDataset) -> None:
    rates = list(learning_rate_range(tiny_config(), dataset, CPU, steps=40, high=1e4))
    assert 10 < len(rates) <= 40
    assert [rate.scale for rate in rates] == sorted(rate.scale for rate in rates)
    best = suggest(rates)
    assert best is not None and rates[0].scale < best.scale < rates[-1].scale
    assert suggest(rates[:3]) is None


def test_every_micro_batch_keeps_the_global_batch(dataset: TokenDataset) -> None:
    trials = list(batch_sizes(tiny_config(), dataset, CPU))
    assert [(trial.batch_size, trial.grad_accum) for trial in trials] == [(1, 4), (2, 2), (4, 1)]
    assert all(trial.tokens_per_second > 0 for trial in trials)


@pytest.mark.parametrize(
    ("preset", "sets"),
    [
        ("nano", ()),
        ("nano", ("train.precision=bf16",)),
        ("nanogpt-char-cpu", ()),
        ("nanogpt-char-cpu", ("model.dropout=0.1",)),
        ("nanogpt-char-cpu", ("model.mlp=swiglu", "model.position=rope")),
        ("nano", ("model.n_kv_head=1",)),
        ("gptiny", ("train.batch_size=2",)),
    ],
)
def test_the_forecast_of_memory_is_within_15_percent(preset: str, sets: tuple[str, ...]) -> None:

    from engine.preset_files import load_config
    from engine.training.memory import memory_split
    from engine.training.optim import Optimizer

    config = load_config(preset, sets=sets)
    model = build_model(config.model, 65).train()
    shape = (config.train.batch_size, config.model.block_size)
    x = torch.zeros(shape, dtype=torch.long)
    activations = sum(activations_by_part(model, x, x, config.train.precision).values())
    split = memory_split(Optimizer(model, config.train), activations)
    expected = forecast(config, 65)
    for name in ("weights", "gradients", "optimizer", "activations"):
        assert getattr(expected, name) == pytest.approx(split[name], rel=0.15, abs=2000), name


def test_a_fork_may_change_what_needs_no_other_state(start: Callable[..., RunDir], tmp_path: Path) -> None:
    run = start("origin")
    train(run)
    fork = fork_run(run, 8, tmp_path / "runs", name="cooler", changes={"train.learning_rate": 1e-3})
    assert train(fork).state == "finished"
    with pytest.raises(ConfigError, match=r"train\.optimizer cannot change in a fork"):
        fork_run(run, 8, tmp_path / "runs", name="other", changes={"train.optimizer": "adamw"})
