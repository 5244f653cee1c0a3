"""Measuring the pace of a run: its own step, evaluation and sampling, for two or three seconds. Nothing is written.

As a program (`python -m engine.plan.measure JOB`) it measures on random tokens and prints the pace as JSON; see
`engine.plan.pace`, which starts it.
"""

from __future__ import annotations

import json
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, replace
from functools import partial
from statistics import median
from typing import Any

import numpy as np
import torch

from engine.config import Config, make_config
from engine.errors import UserError, is_out_of_memory
from engine.machine import keep_freed_memory
from engine.plan.pace import LIMIT_SECONDS, Pace
from engine.sampling.generate import Done, generate
from engine.sampling.settings import SamplingSettings
from engine.tokenizers.char import CharTokenizer
from engine.tokenizers.dataset import TokenDataset
from engine.training.device import choose_device
from engine.training.evaluate import TOKENS_PER_BATCH, evaluate
from engine.training.precision import check_precision, set_matmul_precision
from engine.training.step import TrainStep, make_step

STEP_SECONDS = 1.5
"""Time given to steps: at least `WARM_UP` + 1 of them, or as many as end within twice this."""
EVAL_SECONDS, SAMPLE_SECONDS = 0.4, 0.6
WARM_UP = 3
EVAL_BATCHES = 16
GROUP = 20
"""On a GPU, groups of steps in the time given to steps, and the most steps in one."""
OUT_OF_MEMORY = "out of memory; lower train.batch_size (and raise train.grad_accum), or model.block_size"


def timed(work: Callable[[], Any], device: torch.device) -> float:
    """Seconds of `work`, the device's included."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    began = time.perf_counter()
    work()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - began


def measure_pace(take_step: TrainStep, dataset: TokenDataset) -> Pace:
    """The pace of training with this step on this text; the model is trained by it, with a tiny learning rate."""
    return Pace(
        step_seconds=time_steps(take_step),
        eval_token_seconds=time_evaluation(take_step, dataset),
        sample_token_seconds=time_sampling(take_step, dataset),
        device=str(take_step.device),
        threads=torch.get_num_threads(),
    )


def time_steps(take_step: TrainStep) -> float:
    """Median seconds of a step as the trainer makes it."""
    keep_freed_memory()
    device = take_step.device
    times: list[float] = []
    began = time.perf_counter()
    while True:
        times.append(timed(partial(take_step, len(times), 1e-3), device))
        spent = time.perf_counter() - began
        if spent >= 2 * STEP_SECONDS or (spent >= STEP_SECONDS and len(times) > 2 * WARM_UP):
            break
    warm = min(max(WARM_UP, len(times) // 4), len(times) - 1)
    return median(times[warm:])


def time_evaluation(take_step: TrainStep, dataset: TokenDataset) -> float:
    """Seconds a token of validation takes, on the first tokens of the split."""
    config, device = take_step.config, take_step.device
    length = config.model.block_size
    batch = max(1, TOKENS_PER_BATCH.get(device.type, 8192) // length) * length

    def of(batches: int) -> float:
        part = replace(dataset, val=dataset.val[: batches * batch + 1])
        found = evaluate(take_step.model, part, length, device, config.train.precision)
        return found.seconds / found.tokens

    each = of(1)
    if each * batch >= EVAL_SECONDS:  # so slow that a warm-up makes no difference
        return each
    each = of(1)
    return of(max(1, min(EVAL_BATCHES, int(EVAL_SECONDS / max(1e-9, each * batch)))))


def time_sampling(take_step: TrainStep, dataset: TokenDataset) -> float:
    """Seconds a token of the sample at a checkpoint takes; 0 when the run writes none."""
    tokens = take_step.config.train.sample_tokens
    if not tokens:
        return 0.0
    began = time.perf_counter()
    stream = generate(
        take_step.model,
        dataset.tokenizer,
        [0],
        SamplingSettings(max_tokens=tokens, seed=0),
        cancelled=lambda: time.perf_counter() - began > SAMPLE_SECONDS,
    )
    return next(piece.seconds / piece.tokens for piece in stream if isinstance(piece, Done))


def made_up(config: Config, vocab_size: int, device: torch.device) -> TokenDataset:
    """Random tokens of a vocabulary of that size, the same each time; enough for every batch and to evaluate."""
    codes = (code for code in range(32, 0x110000) if not 0xD800 <= code < 0xE000)
    tokenizer = CharTokenizer("".join(chr(next(codes)) for _ in range(vocab_size)))
    length = config.model.block_size
    random = np.random.default_rng(0)
    batch = max(TOKENS_PER_BATCH.get(device.type, 8192), length)
    train, val = (
        random.integers(vocab_size, size=size + 1, dtype=tokenizer.dtype)
        for size in (max(1 << 18, 2 * length), EVAL_BATCHES * batch)
    )
    return TokenDataset(train, val, tokenizer, len(train) - 1, len(val) - 1, "")


def measure(config: Config, vocab_size: int, device: str = "auto") -> Pace:
    """The pace of `config` on random tokens. Raises ConfigError when the device is not here or cannot compute so."""
    where = choose_device(device)
    check_precision(config.train.precision, where)
    set_matmul_precision(config.train.precision)
    dataset = made_up(config, vocab_size, where)
    return measure_pace(make_step(config, dataset, where), dataset)


def problem(error: Exception) -> str:
    """The error in one line; for want of memory, what to do about it."""
    if isinstance(error, UserError):
        return str(error)
    text = " ".join(str(error).split())
    if is_out_of_memory(error):
        return OUT_OF_MEMORY
    return f"not measured: {type(error).__name__}: {text[:200]}"


def main(job: str) -> int:
    """Do a job that `pace.Measuring` wrote."""
    signal.alarm(int(2 * LIMIT_SECONDS))  # also when nobody is left to give it up
    tree = json.loads(job)
    try:
        answer = asdict(measure(make_config(tree["config"]), tree["vocab_size"], tree["device"]))
    except Exception as error:
        answer = {"problem": problem(error)}
    sys.stdout.write(f"\n{json.dumps(answer)}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
