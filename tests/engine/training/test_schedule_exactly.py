"""The rate of every step and the steps of every evaluation, at their bounds."""

from __future__ import annotations

import math

import pytest

from engine.config import TrainConfig
from engine.training.schedule import first_evaluation, is_evaluated, lr_multiplier

PEAK = {"learning_rate": 1.0, "min_learning_rate": 0.1, "max_steps": 100, "warmup_steps": 4}


@pytest.mark.parametrize(
    ("sets", "step", "multiplier"),
    [
        ({"schedule": "linear"}, 0, 0.2),
        ({"schedule": "linear"}, 3, 0.8),
        ({"schedule": "linear"}, 4, 1.0),
        ({"schedule": "linear"}, 28, 0.1 + 0.9 * 0.75),
        ({"schedule": "linear"}, 52, 0.1 + 0.9 * 0.5),
        ({"schedule": "linear"}, 100, 0.1),
        ({"schedule": "linear"}, 500, 0.1),
        ({"schedule": "cosine"}, 28, 0.1 + 0.9 * (0.5 + 0.25 * math.sqrt(2))),
        ({"schedule": "cosine"}, 52, 0.1 + 0.9 * 0.5),
        ({"schedule": "cosine"}, 76, 0.1 + 0.9 * (0.5 - 0.25 * math.sqrt(2))),
        ({"schedule": "cosine"}, 300, 0.1),
        ({"schedule": "constant"}, 2, 0.6),
        ({"schedule": "constant"}, 99, 1.0),
        ({"schedule": "wsd", "decay_fraction": 0.205}, 78, 1.0),  # 21 steps of decay: rounded up
        ({"schedule": "wsd", "decay_fraction": 0.205}, 79, 1.0),
        ({"schedule": "wsd", "decay_fraction": 0.205}, 80, 0.1 + 0.9 * 20 / 21),
        ({"schedule": "wsd", "decay_fraction": 0.205}, 100, 0.1),
        ({"schedule": "wsd", "decay_fraction": 1.0}, 52, 0.1 + 0.9 * 0.5),  # not before the warm-up is over
        ({"schedule": "linear", "min_learning_rate": 2.0}, 90, 1.0),  # never above the peak
        ({"schedule": "linear", "max_steps": 4}, 4, 1.0),
        ({"schedule": "linear", "max_steps": 4}, 5, 0.1),
        ({"schedule": "linear", "warmup_steps": 0}, 0, 1.0),
    ],
)
def test_the_rate_of_a_step(sets: dict[str, float], step: int, multiplier: float) -> None:
    train = TrainConfig.model_construct(**{**TrainConfig().model_dump(), **PEAK, **sets})
    assert lr_multiplier(step, train) == pytest.approx(multiplier)


@pytest.mark.parametrize(
    ("max_steps", "every", "asked", "first"),
    [
        (199, 100, 0, 100),
        (200, 100, 0, 20),
        (999, 100, 0, 99),
        (1000, 100, 0, 100),
        (1001, 101, 0, 100),
        (5000, 100, 0, 100),
        (200, 20, 0, 20),
        (200, 100, 7, 7),
        (50, 100, 1, 1),
    ],
)
def test_the_first_evaluation_comes_early_where_it_says_something(
    max_steps: int, every: int, asked: int, first: int
) -> None:
    train = TrainConfig(max_steps=max_steps, eval_every=every, eval_first=asked)
    assert first_evaluation(train) == first
    found = [step for step in range(1, max_steps + 2) if is_evaluated(step, train)]
    wanted = {*range(every, max_steps + 1, every), max_steps, max_steps + 1, *([first] if first <= max_steps else [])}
    assert found == sorted(wanted)
