"""The range test, the choice of a micro-batch and the profile, term by term, on steps that are made up."""

from __future__ import annotations

import math
from collections import defaultdict
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from engine.config import Config
from engine.model import build_model
from engine.plan import profile, tune
from engine.plan.tune import Rate, batch_sizes, learning_rate_range, suggest
from engine.training.memory import part_of
from engine.training.optim import Optimizer

from .conftest import tiny_config

CPU = torch.device("cpu")
DATA: Any = SimpleNamespace(tokenizer=SimpleNamespace(vocab_size=20))


def ranged(monkeypatch: pytest.MonkeyPatch, losses: list[float], norms: list[float] | None = None, **more: Any) -> Any:
    """The rates of a range test whose steps have these losses, and the scales its steps were made with."""
    scales: list[float] = []

    def step(number: int, scale: float) -> tuple[float, float, None]:
        assert number == len(scales)
        scales.append(scale)
        return losses[number], (norms or [1.0] * len(losses))[number], None

    monkeypatch.setattr(tune, "make_step", lambda config, dataset, device: step)
    return list(learning_rate_range(tiny_config(), DATA, CPU, **more)), scales


def test_a_range_test_rises_by_a_factor_and_smooths_without_bias(monkeypatch: pytest.MonkeyPatch) -> None:
    losses = [3.0, 2.0, 2.5, 1.0, 4.0]
    rates, scales = ranged(monkeypatch, losses, steps=5, low=0.01, high=100.0)
    assert scales == [rate.scale for rate in rates] == pytest.approx([0.01, 0.1, 1.0, 10.0, 100.0])
    learning_rate = tiny_config().train.learning_rate
    assert [rate.learning_rate for rate in rates] == pytest.approx([scale * learning_rate for scale in scales])
    for number, rate in enumerate(rates):
        shares = [0.9 ** (number - each) for each in range(number + 1)]
        mean = sum(share * loss for share, loss in zip(shares, losses, strict=False)) / sum(shares)
        assert rate.loss == pytest.approx(mean)
    assert ranged(monkeypatch, [2.0], steps=1, low=0.5)[1] == [0.5]


def test_a_range_test_has_a_hundred_steps_over_four_and_a_half_decades(monkeypatch: pytest.MonkeyPatch) -> None:
    rates, scales = ranged(monkeypatch, [2.0] * 200)
    assert len(rates) == 100 and scales[0] == pytest.approx(1e-3) and scales[-1] == pytest.approx(30.0)


def test_a_range_test_ends_where_the_loss_does(monkeypatch: pytest.MonkeyPatch) -> None:
    for bad in (math.nan, math.inf):
        assert len(ranged(monkeypatch, [1.0, 1.0, bad, 1.0])[0]) == 2
        assert len(ranged(monkeypatch, [1.0] * 4, [1.0, bad, 1.0, 1.0])[0]) == 1
    # smoothed: 1, then (0.9 + loss) / 1.9
    assert len(ranged(monkeypatch, [1.0, 4 * 1.9 - 0.9 - 1e-6, 1e3, 1.0])[0]) == 3
    assert len(ranged(monkeypatch, [1.0, 4 * 1.9 - 0.9 + 1e-6, 1e3, 1.0])[0]) == 2


def test_a_third_of_the_best_rate_is_suggested() -> None:
    rates = [Rate(2.0**number, 0.0, abs(number - 8)) for number in range(12)]
    assert suggest(rates) == rates[6]  # 256 / 3 is nearer to 64 than to 128, in factors
    assert suggest(rates[:10]) == rates[6] and suggest(rates[:9]) is None


@pytest.mark.parametrize(
    ("room", "breaks", "ends"),
    [
        (None, None, [(1, 8, ""), (2, 4, ""), (4, 2, ""), (8, 1, "")]),
        (4, None, [(1, 8, ""), (2, 4, ""), (4, 2, ""), (8, 1, "does not fit in memory")]),
        (3, None, [(1, 8, ""), (2, 4, ""), (4, 2, "does not fit in memory")]),
        (None, 2, [(1, 8, ""), (2, 4, "out of memory")]),
    ],
)
def test_micro_batches_are_tried_from_one_up_until_one_does_not_fit(
    monkeypatch: pytest.MonkeyPatch, room: int | None, breaks: int | None, ends: list[tuple[int, int, str]]
) -> None:
    made: list[Config] = []

    def make(config: Config, dataset: Any, device: torch.device) -> Config:
        made.append(config)
        if config.train.batch_size == breaks:
            raise MemoryError
        return config

    monkeypatch.setattr(tune, "available_memory", lambda: (room, False))
    monkeypatch.setattr(tune, "forecast", lambda config, vocab, gpu: SimpleNamespace(memory=config.train.batch_size))
    monkeypatch.setattr(tune, "make_step", make)
    monkeypatch.setattr(tune, "time_steps", lambda config, seconds: 0.5 * config.train.batch_size)
    trials = list(batch_sizes(tiny_config("train.batch_size=4", "train.grad_accum=2"), DATA, CPU))
    assert [(trial.batch_size, trial.grad_accum, trial.problem) for trial in trials] == ends
    for trial in trials:
        assert trial.tokens_per_second == (0.0 if trial.problem else 16 / 0.5)
    assert {config.train.grad_accum for config in made} == {1}


def test_what_is_no_want_of_memory_is_not_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    def make(*_: Any) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(tune, "available_memory", lambda: (None, False))
    monkeypatch.setattr(tune, "forecast", lambda *_, **__: None)
    monkeypatch.setattr(tune, "make_step", make)
    with pytest.raises(ZeroDivisionError):
        list(batch_sizes(tiny_config(), DATA, CPU))


# -- profile -----------------------------------------------------------------------------------------------------------

PARTS = {
    "blocks.0.attn.qkv.weight": "attention",
    "blocks.11.mlp.up.weight": "mlp",
    "blocks.0.norm1.weight": "norms",
    "norm_f.weight": "norms",
    "blocks.0.attn": "attention",
    "wte.weight": "embedding",
    "wpe.weight": "embedding",
    "before.weight": "embedding",
    "head.weight": "head",
    "head": "head",
    "": "other",
    "blocks.0": "other",
}


@pytest.mark.parametrize("name", PARTS)
def test_every_parameter_belongs_to_its_part(name: str) -> None:
    assert part_of(name) == PARTS[name]


@pytest.mark.parametrize("sets", [("train.optimizer=adamw",), ("train.optimizer=muon", "model.tie_embeddings=false")])
def test_a_profile_counts_each_tensor_once_in_its_part(sets: tuple[str, ...]) -> None:
    config = tiny_config(*sets)
    model = build_model(config.model, 20)
    optimizer = Optimizer(model, config.train)
    model.get_parameter("wte.weight").requires_grad_(False)
    rows = profile._rows(optimizer, {"attention": 10**9, "head": 7})
    weights: dict[str, int] = defaultdict(int)
    for name, parameter in model.named_parameters():
        weights[part_of(name)] += parameter.nbytes
    assert {row.part: row.weights for row in rows if row.weights} == weights
    assert {row.part: row.activations for row in rows if row.activations} == {"attention": 10**9, "head": 7}
    assert sum(row.optimizer for row in rows) == sum(
        tensor.nbytes for name, tensor in optimizer.tensors().items() if name != "adamw.step"
    )
    assert sum(row.gradients for row in rows) == sum(weights.values()) - model.get_parameter("wte.weight").nbytes
    held = [row.weights + row.activations for row in rows]
    assert held == sorted(held, reverse=True) and rows[0].part == "attention"
    assert all(row.total == row.weights + row.gradients + row.optimizer + row.activations for row in rows)


@pytest.mark.parametrize(("both", "backward", "update"), [(0.5, 3 * 0.3, 2.0 - 3 * 0.5), (0.1, 0.0, 2.0 - 3 * 0.1)])
def test_a_step_is_its_passes_and_the_rest(
    monkeypatch: pytest.MonkeyPatch, both: float, backward: float, update: float
) -> None:
    times = iter([0.2, both])
    seconds: list[float] = []

    def timed(work: Any, device: torch.device, given: float) -> float:
        seconds.append(given)
        work()
        return next(times)

    config = tiny_config("train.grad_accum=3")
    model = build_model(config.model, 20)
    x = torch.zeros(4, 16, dtype=torch.int64)
    step = SimpleNamespace(
        model=model, optimizer=Optimizer(model, config.train), batches=SimpleNamespace(get=lambda step, micro: (x, x))
    )
    monkeypatch.setattr(profile, "make_step", lambda *_: step)
    monkeypatch.setattr(profile, "pace_of", lambda *_: SimpleNamespace(step_seconds=2.0))
    monkeypatch.setattr(profile, "median_seconds", timed)
    found = profile.profile_run(config, DATA, CPU)
    assert found.forward_seconds == pytest.approx(3 * 0.2)
    assert (found.backward_seconds, found.update_seconds) == pytest.approx((backward, update))
    assert found.step_seconds == 2.0 and found.tokens_per_step == 3 * 4 * 16 and len(seconds) == 2
