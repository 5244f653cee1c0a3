"""What a careful person would watch for in a run: overfitting, no progress, a spike. Small states, saved exactly."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

RISES = 3
"""Evaluations in a row with rising validation and falling training loss before the overfit alarm."""

SPIKE_MEMORY = 0.98
"""Decay of the running loss a spike is compared with (about 50 steps)."""


@dataclass
class Watch:
    """Running facts about the losses; pure arithmetic."""

    best_loss: float | None = None
    best_step: int | None = None
    since_best: int = 0
    rises: int = 0
    last_val: float | None = None
    last_train: float | None = None
    running: float | None = None
    train_sum: float = 0.0
    train_count: int = 0
    alarmed: bool = False

    def trained(self, loss: float) -> None:
        """Note the loss of one step."""
        self.running = loss if self.running is None else SPIKE_MEMORY * self.running + (1.0 - SPIKE_MEMORY) * loss
        self.train_sum += loss
        self.train_count += 1

    def is_spike(self, loss: float, factor: float) -> bool:
        """Whether `loss` is over `factor` times the running loss; factor 0 is off."""
        return factor > 0 and self.running is not None and loss > factor * self.running

    def evaluated(self, step: int, loss: float) -> bool:
        """Note a validation loss; True when it is the best so far."""
        train = self.train_sum / self.train_count if self.train_count else None
        rising = self.last_val is not None and loss > self.last_val
        falling = train is not None and self.last_train is not None and train < self.last_train
        self.rises = self.rises + 1 if rising and falling else 0
        self.last_val, self.train_sum, self.train_count = loss, 0.0, 0
        self.last_train = train if train is not None else self.last_train
        if self.best_loss is None or loss < self.best_loss:
            self.best_loss, self.best_step, self.since_best, self.alarmed = loss, step, 0, False
            return True
        self.since_best += 1
        return False

    def overfits(self) -> bool:
        """True once when validation has risen RISES times in a row while training fell."""
        if self.rises >= RISES and not self.alarmed:
            self.alarmed = True
            return True
        return False

    def should_stop(self, patience: int) -> bool:
        """Whether `patience` evaluations passed without a better loss; 0 is never."""
        return 0 < patience <= self.since_best

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)
