"""What each step leaves in the run's log."""

from __future__ import annotations

import math
import time

import torch

from engine.config import Config
from engine.machine import memory_now
from engine.runs.writer import RunWriter
from engine.training.step import Result

MEMORY_EVERY_SECONDS = 0.5


class StepLog:
    """Every step's line in metrics.jsonl, and the tokens and the speed that go with it."""

    def __init__(self, writer: RunWriter, config: Config, device: torch.device) -> None:
        self.writer, self.config, self.device = writer, config, device
        self.tokens_per_s = 0.0
        self.counted = (0, 0)
        """A step and the tokens trained on up to it; from there on each step has as many as the settings say."""
        self._memory, self._memory_read = 0, -math.inf

    def tokens(self, step: int) -> int:
        """Tokens trained on up to the end of `step`: counted, since a fork may go on with another batch size."""
        begun, before = self.counted
        return before + (step - begun) * self.config.tokens_per_step

    def write(self, step: int, lr: float, result: Result, seconds: float, time_s: float) -> None:
        """Step `step`, which took `seconds`; `time_s` are those of training up to its end."""
        self.tokens_per_s = self.config.tokens_per_step / seconds if seconds > 0 else 0.0
        now = time.monotonic()
        if now - self._memory_read > MEMORY_EVERY_SECONDS:
            self._memory, self._memory_read = memory_now(self.device), now
        self.writer.metric(
            step=step,
            tokens=self.tokens(step),
            time_s=time_s,
            loss=result.loss,
            lr=lr,
            grad_norm=result.grad_norm,
            tokens_per_s=self.tokens_per_s,
            mem_bytes=self._memory,
        )
