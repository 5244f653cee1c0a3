"""What a careful person would watch for in a run: overfitting, no progress, a spike. Small states, saved exactly."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Self

NOISE_ERRORS, NOISE_SHARE = 4.0, 0.02
"""A validation loss has risen when it is above the best by this many standard errors and by this share of it."""

SPIKE_MEMORY = 0.98
"""Decay of the running loss a spike is compared with (about 50 steps)."""


@dataclass
class Watch:
    """Running facts about the losses; pure arithmetic."""

    best_loss: float | None = None
    best_step: int | None = None
    since_best: int = 0
    train_at_best: float | None = None
    """Mean training loss of the steps up to the best evaluation, since the one before it."""
    running_at_best: float | None = None
    running: float | None = None
    train_sum: float = 0.0
    train_count: int = 0
    overfits: bool = False
    """Whether validation is worse than at its best by more than noise while training is better."""
    alarmed: bool = False

    @classmethod
    def from_dict(cls, saved: Mapping[str, Any]) -> Self:
        """What `to_dict` gave, also an older program's: a best loss that is not finite was never one."""
        known = {field.name for field in fields(cls)}
        watch = cls(**{name: value for name, value in saved.items() if name in known})
        if watch.best_loss is not None and not math.isfinite(watch.best_loss):
            watch.best_loss, watch.best_step, watch.since_best = None, None, 0
        return watch

    def trained(self, loss: float) -> None:
        """Note the loss of one step, if it has one."""
        if not math.isfinite(loss):  # nothing was learned from it
            return
        self.running = loss if self.running is None else SPIKE_MEMORY * self.running + (1.0 - SPIKE_MEMORY) * loss
        self.train_sum += loss
        self.train_count += 1

    def is_spike(self, loss: float, factor: float) -> bool:
        """Whether `loss` is over `factor` times the running loss; factor 0 is off."""
        return factor > 0 and self.running is not None and loss > factor * self.running

    def evaluated(self, step: int, loss: float, tokens: int) -> bool:
        """Note a validation loss, the mean over that many tokens; True when it is the best so far.

        One that is not finite is never the best, and neither is one that only equals it.
        """
        train = self.train_sum / self.train_count if self.train_count else None
        self.train_sum, self.train_count, self.overfits = 0.0, 0, False
        if math.isfinite(loss) and (self.best_loss is None or loss < self.best_loss):
            self.best_loss, self.best_step, self.since_best, self.alarmed = loss, step, 0, False
            self.train_at_best, self.running_at_best = train, self.running
            return True
        self.since_best += 1
        if self.best_loss is not None and math.isfinite(loss):
            # a token's loss spreads about as much as its mean is
            noise = max(NOISE_ERRORS * loss / math.sqrt(tokens), NOISE_SHARE * self.best_loss)
            fell = _below(train, self.train_at_best) and _below(self.running, self.running_at_best)
            self.overfits = fell and loss - self.best_loss > noise
        return False

    def alarm(self) -> bool:
        """Whether to say now that the run overfits: once, until validation is better than ever."""
        say = self.overfits and not self.alarmed
        self.alarmed = self.alarmed or say
        return say

    def should_stop(self, patience: int) -> bool:
        """Whether `patience` evaluations passed without a better loss; 0 is never."""
        return 0 < patience <= self.since_best

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def _below(now: float | None, then: float | None) -> bool:
    return now is not None and then is not None and now < then
