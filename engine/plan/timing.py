"""The one clock: how long real steps, evaluations and texts take, warmed up, waited for, as medians."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from itertools import count
from statistics import median

import numpy as np
import torch

from engine.config import Config
from engine.machine import keep_freed_memory
from engine.model.gpt import GPT
from engine.sampling.generate import Done, generate
from engine.sampling.settings import SamplingSettings
from engine.tokenizers.char import CharTokenizer
from engine.tokenizers.dataset import TokenDataset
from engine.training.evaluate import TOKENS_PER_BATCH, evaluate
from engine.training.step import TrainStep

WARM_UPS = 3
EVAL_BATCHES = 16
"""Evaluated together on a GPU, which is waited for once; on a CPU it is one."""
TINY_RATE = 1e-3
"""Multiplier of the learning rates of a step that is only timed."""


def median_seconds(
    work: Callable[[], object], device: torch.device, seconds: float, report: Callable[[float], None] | None = None
) -> float:
    """Median seconds of `work`, the device's included, done for about `seconds` or at most twice that.

    The first `WARM_UPS` and a quarter of all do not count, as far as there are more. `report` is told the share done.
    """
    times: list[float] = []
    began = time.perf_counter()
    spent = 0.0
    while not times or (spent < 2 * seconds and (spent < seconds or len(times) <= 2 * WARM_UPS)):
        before = time.perf_counter()
        work()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        now = time.perf_counter()
        times.append(now - before)
        spent = now - began
        if report is not None:
            report(min(1.0, spent / seconds))
    return median(times[min(max(WARM_UPS, len(times) // 4), len(times) - 1) :])


def time_steps(take_step: TrainStep, seconds: float, report: Callable[[float], None] | None = None) -> float:
    """Median seconds of a step as the trainer makes it; the model is trained by it, hardly."""
    keep_freed_memory()
    steps = count()
    return median_seconds(lambda: take_step(next(steps), TINY_RATE), take_step.device, seconds, report)


def time_evaluation(take_step: TrainStep, dataset: TokenDataset, seconds: float) -> float:
    """Median seconds a token of validation takes, on the first tokens of the split."""
    config, device = take_step.config, take_step.device
    length = config.model.block_size
    tokens = max(1, TOKENS_PER_BATCH.get(device.type, 8192) // length) * length
    tokens = min(len(dataset.val) - 1, tokens * (EVAL_BATCHES if device.type == "cuda" else 1))
    part = replace(dataset, val=dataset.val[: tokens + 1])
    once = median_seconds(
        lambda: evaluate(take_step.model, part, length, device, config.train.precision), device, seconds
    )
    return once / tokens


def time_writing(model: GPT, dataset: TokenDataset, tokens: int, seconds: float) -> float:
    """Median seconds a token takes in texts of so many, written one after the other for about `seconds`."""
    began = time.perf_counter()

    def over() -> bool:
        return time.perf_counter() - began > seconds

    each: list[float] = []
    while not over() or not each:
        pieces = generate(model, dataset.tokenizer, [0], SamplingSettings(max_tokens=tokens, seed=0), cancelled=over)
        done = next(piece for piece in pieces if isinstance(piece, Done))
        if not over() or not each:  # of a text that was cut off the beginning weighs too much
            each.append(done.seconds / max(1, done.tokens))
    return median(each)


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
    return TokenDataset(train, val, tokenizer, len(val) - 1)
