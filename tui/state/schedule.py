"""The rest of a run's learning rates, as they are planned and as they would become."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from engine.errors import ConfigError

POINTS = 200


def planned(info: Mapping[str, Any], step: int, rate: float | None) -> tuple[list[int], list[float]]:
    """Steps (N,) from `step` to the last, and the rates (N,) of a run (its run.json) with `rate` in force at `step`.

    Empty where the settings are not known or the schedule is at zero there, which nothing can scale.
    """
    from engine.config import make_config
    from engine.training.schedule import lr_multiplier

    try:
        train = make_config(info["config"]).train
    except (ConfigError, KeyError, TypeError):
        return [], []
    now = lr_multiplier(step, train)
    if rate is None or now <= 0 or step >= train.max_steps:
        return [], []
    stride = max(1, (train.max_steps - step) // POINTS)
    steps = [*range(step, train.max_steps, stride), train.max_steps]
    return steps, [rate * lr_multiplier(at, train) / now for at in steps]
