"""Learning rates over a run, as a multiplier of the peak: a pure function of the step."""

from __future__ import annotations

import math

from engine.config import TrainConfig

SCHEDULE = ("learning_rate", "min_learning_rate", "schedule", "warmup_steps", "decay_fraction")
"""The settings that the rates of a run follow from, beside `max_steps`."""

EARLY_LEAST = 20
"""A first evaluation before this step would say nothing."""


def lr_multiplier(step: int, train: TrainConfig) -> float:
    """Multiplier in [min/peak, 1] for the update that makes step `step` + 1 (so `step` counts from 0).

    Linear warm-up, then cosine (Loshchilov & Hutter 2017), linear, or warm-up-stable-decay (Hu et al. 2024) down to
    `min_learning_rate` at `max_steps`; `constant` stays at the peak. AdamW's and Muon's peaks share the multiplier.
    """
    floor = min(1.0, train.min_learning_rate / train.learning_rate)
    if step < train.warmup_steps:
        return (step + 1) / (train.warmup_steps + 1)
    if train.schedule == "constant":
        return 1.0
    start = train.warmup_steps
    if train.schedule == "wsd":
        start = max(start, train.max_steps - math.ceil(train.decay_fraction * train.max_steps))
    if step < start:
        return 1.0
    done = min(1.0, (step - start) / max(1, train.max_steps - start))
    left = 0.5 * (1.0 + math.cos(math.pi * done)) if train.schedule == "cosine" else 1.0 - done
    return floor + (1.0 - floor) * left


def first_evaluation(train: TrainConfig) -> int:
    """The step of the evaluation that is one more than those every `eval_every`; that, where there is none.

    A short run says so something about its validation loss early; of one under 200 steps the end comes soon enough.
    """
    early = train.max_steps // 10
    return train.eval_first or (early if EARLY_LEAST <= early < train.eval_every else train.eval_every)


def is_evaluated(step: int, train: TrainConfig) -> bool:
    """Whether there is an evaluation after `step`."""
    return step >= train.max_steps or step % train.eval_every == 0 or step == first_evaluation(train)
