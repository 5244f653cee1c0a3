"""What each step leaves in the run's log: read from the device in batches, written a line a step."""

from __future__ import annotations

import time
from dataclasses import dataclass

import torch
from torch import Tensor

from engine.config import Config
from engine.errors import is_out_of_memory
from engine.runs.writer import RunWriter
from engine.training.memory import memory_now

MEMORY_EVERY_SECONDS = 0.5
READ_EVERY_SECONDS = 0.25  # `log_every` 0 on a GPU: often enough for who looks and for who wants it to stop
MOST_UNREAD = 100  # steps, however quick they are


@dataclass(frozen=True)
class StepRecord:
    """One step as the host knows it. `time_s` are seconds of training up to its end."""

    step: int
    lr: float
    loss: float
    grad_norm: float
    time_s: float


class StepLog:
    """Steps whose losses are still on the device, and the metrics file they go to.

    Every step gets its line, however seldom the device is read: no spike falls between two records.
    """

    def __init__(self, writer: RunWriter, config: Config, device: torch.device) -> None:
        self.writer, self.config, self.device = writer, config, device
        self.tokens_per_s = 0.0
        self.read_up_to = 0.0
        """Seconds of training up to the last step that was read."""
        self.every = config.train.log_every or 1
        """Steps that are read together; with `log_every` 0 on a GPU as many as it makes in READ_EVERY_SECONDS."""
        self.counted = (0, 0)
        """A step and the tokens trained on up to it; from there on each step has as many as the settings say."""
        self._adapts = config.train.log_every == 0 and device.type != "cpu"
        self._waiting: list[tuple[int, float, Tensor]] = []
        self._memory, self._memory_read = 0, 0.0

    def __len__(self) -> int:
        return len(self._waiting)

    @property
    def due(self) -> bool:
        """Whether it is time to read: `every` steps are waiting."""
        return len(self._waiting) >= self.every

    def tokens(self, step: int) -> int:
        """Tokens trained on up to the end of `step`: counted, since a fork may go on with another batch size."""
        begun, before = self.counted
        return before + (step - begun) * self.config.tokens_per_step

    def add(self, step: int, lr: float, result: Tensor) -> None:
        """Note step `step`; `result` is (loss, gradient norm), still on the device."""
        self._waiting.append((step, lr, result))

    def read(self, train_seconds: float) -> list[StepRecord]:
        """The steps noted since the last read; the one place that waits for the device.

        `train_seconds` are those in which steps were launched; the wait, which is the steps' too, is added to them and
        `read_up_to` is the sum. Only the current stream is waited for: a prompt has one of its own.
        """
        waiting, self._waiting = self._waiting, []
        if not waiting:
            return []
        called = time.perf_counter()
        try:
            values = torch.stack([result for *_, result in waiting]).tolist()
        except Exception as error:
            if not is_out_of_memory(error):
                raise
            values = [result.tolist() for *_, result in waiting]
        train_seconds += time.perf_counter() - called
        each = (train_seconds - self.read_up_to) / len(waiting)
        began, self.read_up_to = self.read_up_to, train_seconds
        self.tokens_per_s = self.config.tokens_per_step / each if each > 0 else 0.0
        if self._adapts and each > 0:
            self.every = min(MOST_UNREAD, max(1, int(READ_EVERY_SECONDS / each)))
        now = time.monotonic()
        if now - self._memory_read > MEMORY_EVERY_SECONDS:
            self._memory, self._memory_read = memory_now(self.device), now
        return [
            StepRecord(step, lr, loss, norm, began + each * (index + 1))
            for index, ((step, lr, _), (loss, norm)) in enumerate(zip(waiting, values, strict=True))
        ]

    def write(self, record: StepRecord) -> None:
        """The step's line in metrics.jsonl."""
        self.writer.metric(
            step=record.step,
            tokens=self.tokens(record.step),
            time_s=record.time_s,
            loss=record.loss,
            lr=record.lr,
            grad_norm=record.grad_norm,
            tokens_per_s=self.tokens_per_s,
            mem_bytes=self._memory,
        )
