"""What a run will need, before it starts: from its settings alone, and its time from a measured pace.

Needs no torch: the form asks it at every key.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

from engine.config import Config, TrainConfig
from engine.model.sizes import count_parameters, flops_per_token
from engine.plan.pace import Pace
from engine.training.memory import memory_estimate, micro_batch
from engine.training.schedule import first_evaluation

EVAL_SHARE = 0.1
"""Of a run's time that evaluations may take before fewer tokens are proposed for them."""
LEAST_EVALUATED = 4096
"""Tokens: the mean of fewer says little."""


@dataclass(frozen=True)
class Forecast:
    """Memory in bytes, floating-point operations, how often the corpus is read, and seconds where `pace` is known.

    `evaluations` and `samples` count what the whole run makes: every evaluation is taken for the best so far, which
    writes a checkpoint and a sample, so `samples` is the most there can be. `val_tokens` are those of the whole split,
    `evaluated` those of them in an evaluation. Of several `processes`, that train as `parallel` says (ddp or fsdp),
    memory is of one.
    """

    params: int
    weights: int
    gradients: int
    optimizer: int
    activations: int
    tokens_per_step: int
    total_tokens: int
    flops_per_step: int
    epochs: float | None
    available: int | None
    max_steps: int
    evaluations: int
    samples: int
    sample_tokens: int
    val_tokens: int | None
    evaluated: int | None
    pace: Pace | None
    processes: int = 1
    parallel: str = ""

    @property
    def memory(self) -> int:
        """Bytes that training, or each process of it, holds at the end of the forward pass."""
        return self.weights + self.gradients + self.optimizer + self.activations

    @property
    def fits(self) -> bool | None:
        """Whether `memory` fits into what is there, with a tenth to spare; None when that is not known."""
        return None if self.available is None else self.memory < 0.9 * self.available

    @property
    def train_seconds(self) -> float | None:
        """Time of all steps; None before the pace is known, as with the other times."""
        return None if self.pace is None else self.max_steps * self.pace.step_seconds

    @property
    def eval_seconds(self) -> float | None:
        """Time of all evaluations; None also when the length of the validation split is not known."""
        if self.pace is None or self.evaluated is None:
            return None
        return self.evaluations * self.evaluated * self.pace.eval_token_seconds

    @property
    def enough(self) -> int | None:
        """A power of two for `data.val_tokens`, where evaluations would take over a tenth of the run without it."""
        if self.pace is None or self.train_seconds is None or not self.eval_seconds:
            return None
        rest = self.train_seconds + (self.sample_seconds or 0.0)
        if self.eval_seconds <= EVAL_SHARE * (rest + self.eval_seconds):
            return None
        room = EVAL_SHARE / (1.0 - EVAL_SHARE) * rest / (self.evaluations * self.pace.eval_token_seconds)
        return 1 << int(math.log2(max(LEAST_EVALUATED, room)))

    @property
    def sample_seconds(self) -> float | None:
        """Time of the samples at the checkpoints."""
        return None if self.pace is None else self.samples * self.sample_tokens * self.pace.sample_token_seconds

    @property
    def run_seconds(self) -> float | None:
        """Time of the whole run: steps, samples, and the evaluations where their time is known."""
        if self.train_seconds is None:
            return None
        return self.train_seconds + (self.eval_seconds or 0.0) + (self.sample_seconds or 0.0)

    def to_dict(self) -> dict[str, Any]:
        """Everything, for JSON."""
        told = ("memory", "fits", "train_seconds", "eval_seconds", "sample_seconds", "run_seconds", "enough")
        return asdict(self) | {name: getattr(self, name) for name in told}


def forecast(
    config: Config,
    vocab_size: int,
    train_tokens: int | None = None,
    available: int | None = None,
    gpu: bool = False,
    *,
    val_tokens: int | None = None,
    pace: Pace | None = None,
    processes: int = 1,
    parallel: str = "",
) -> Forecast:
    """The forecast of a run on a corpus of so many tokens, on a GPU or CPU with `available` bytes of memory.

    Of several processes, that train as `choose_parallel` says, each has a GPU with so much, or all share the CPU's.
    """
    if pace is not None and pace.precision:
        config = config.replace({"train.precision": pace.precision})
    model, train = config.model, config.train
    params = count_parameters(model, vocab_size)
    total = config.tokens_per_step * train.max_steps
    evaluations, samples = occasions(train)
    memory = memory_estimate(config, vocab_size, gpu)
    if processes > 1:
        size = micro_batch(train.batch_size, max(1, train.batch_size * train.grad_accum // processes))
        parted = processes if parallel == "fsdp" else 1
        memory = memory_estimate(config.replace({"train.batch_size": size}), vocab_size, gpu, parted)
        available = available if gpu or available is None else available // processes
    return Forecast(
        params=params,
        **memory,
        tokens_per_step=config.tokens_per_step,
        total_tokens=total,
        flops_per_step=flops_per_token(model, vocab_size) * config.tokens_per_step,
        epochs=total / train_tokens if train_tokens else None,
        available=available,
        max_steps=train.max_steps,
        evaluations=evaluations,
        samples=samples,
        sample_tokens=train.sample_tokens,
        val_tokens=val_tokens,
        evaluated=None if val_tokens is None else min(val_tokens, config.data.val_tokens or val_tokens),
        pace=pace,
        processes=processes,
        parallel=parallel,
    )


def occasions(train: TrainConfig) -> tuple[int, int]:
    """(evaluations, samples) of a run to its last step; samples come with every checkpoint and evaluation."""
    before = train.max_steps - 1  # the last step has an evaluation and a sample whatever its number
    evaluations = before // train.eval_every + 1
    both = math.lcm(train.eval_every, train.checkpoint_every)
    samples = before // train.eval_every + before // train.checkpoint_every - before // both + 1
    first = first_evaluation(train)
    if first <= before and first % train.eval_every:
        evaluations += 1
        samples += first % train.checkpoint_every != 0
    return evaluations, samples * len(train.prompts) if train.sample_tokens else 0
