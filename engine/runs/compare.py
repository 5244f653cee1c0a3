"""Several runs beside each other: the settings in which they differ, and how far each had come at the same step."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from engine.runs.layout import RunDir
from engine.runs.series import Series
from engine.runs.status import read_info

SMOOTHED = 0.02
"""Of the steps so far, the last ones that a smoothed loss is the mean of …"""
LEAST_SMOOTHED = 10
"""… and the fewest."""


def settings_of(run: RunDir) -> dict[str, Any]:
    """A run's settings by their full names, with its corpus, device and threads. Raises RunError."""
    info = read_info(run)
    flat: dict[str, Any] = {"corpus": (info.get("corpus") or {}).get("name")}
    for section, values in info["config"].items():
        flat.update({f"{section}.{name}": value for name, value in (values or {}).items()})
    environment = info.get("environment") or {}
    return flat | {key: environment.get(key) for key in ("device", "threads", "torch")}


def differences(runs: Sequence[Mapping[str, Any]]) -> dict[str, list[Any]]:
    """Settings in which not all runs are alike, each with the value of every run; None where a run has it not."""
    keys = dict.fromkeys(key for each in runs for key in each)
    values = {key: [each.get(key) for each in runs] for key in keys}
    return {key: row for key, row in values.items() if any(value != row[0] for value in row)}


@dataclass(frozen=True)
class Standing:
    """How far a run had come at a step; None is what was not measured by then.

    `val_loss` is of the last evaluation at or before it, at `val_step`. `loss` is the mean training loss of the last
    2 % of the steps, 10 at least. `val_behind` and `behind` are their distances to the lowest of all runs. In nats.
    """

    step: int
    val_step: int | None
    val_loss: float | None
    loss: float | None
    val_behind: float | None = None
    behind: float | None = None


def common_step(runs: Sequence[Series]) -> int:
    """The last step that all runs have come to; 0 where one has none."""
    return min((int(each.step[-1]) if len(each.step) else 0 for each in runs), default=0)


def at_step(runs: Sequence[Series], step: int | None = None) -> list[Standing]:
    """Where each run stood at `step`, by default the last that all have come to."""
    step = common_step(runs) if step is None else step
    found = [_standing(each, step) for each in runs]
    val = min((each.val_loss for each in found if each.val_loss is not None), default=None)
    loss = min((each.loss for each in found if each.loss is not None), default=None)
    return [
        replace(
            each,
            val_behind=None if each.val_loss is None or val is None else each.val_loss - val,
            behind=None if each.loss is None or loss is None else each.loss - loss,
        )
        for each in found
    ]


def _standing(series: Series, step: int) -> Standing:
    evaluated = int(np.searchsorted(series.val_step, step, side="right"))
    finite = np.flatnonzero(np.isfinite(series.val_loss[:evaluated]))
    last = int(finite[-1]) if len(finite) else None
    end = int(np.searchsorted(series.step, step, side="right"))
    losses = series.loss[max(0, end - max(LEAST_SMOOTHED, int(SMOOTHED * step))) : end]
    losses = losses[np.isfinite(losses)]
    return Standing(
        step,
        None if last is None else int(series.val_step[last]),
        None if last is None else float(series.val_loss[last]),
        float(losses.mean()) if len(losses) else None,
    )
