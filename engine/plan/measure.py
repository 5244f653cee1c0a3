"""The one clock: how long real steps, evaluations and texts take, warmed up, waited for; and the pace of a run.

As a program (`python -m engine.plan.measure KEY`) it measures a pace on random tokens, for two or three seconds, and
prints it as JSON; see `engine.plan.pace`, which starts it. Nothing is written.
"""

from __future__ import annotations

import json
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, replace
from itertools import count
from statistics import median

import numpy as np
import torch

from engine.config import Config, make_config
from engine.errors import UserError, is_out_of_memory
from engine.machine import keep_freed_memory
from engine.model.gpt import GPT
from engine.plan.pace import LIMIT_SECONDS, Pace
from engine.sampling.generate import Done, generate
from engine.sampling.settings import SamplingSettings
from engine.tokenizers.char import CharTokenizer
from engine.tokenizers.dataset import TokenDataset
from engine.training.device import ready_device
from engine.training.evaluate import TOKENS_PER_BATCH, evaluate
from engine.training.precision import choose
from engine.training.step import TrainStep, make_step

WARM_UPS = 3
EVAL_BATCHES = 16
"""Evaluated together on a GPU, which is waited for once; on a CPU it is one."""
TINY_RATE = 1e-3
"""Multiplier of the learning rates of a step that is only timed."""
STEP_SECONDS, EVAL_SECONDS, SAMPLE_SECONDS = 1.5, 0.4, 0.6
"""Time given to each; what is slow may take twice that."""
OUT_OF_MEMORY = "out of memory; lower train.batch_size (and raise train.grad_accum), or model.block_size"


def median_seconds(
    work: Callable[[], object], device: torch.device, seconds: float, report: Callable[[float], None] | None = None
) -> float:
    """Median seconds of `work`, the device's included, done for about `seconds` or at most twice that.

    The first `WARM_UPS` and a quarter of all do not count, as far as there are more. `report` is told the share done.
    """
    times: list[float] = []
    began = time.perf_counter()
    while True:
        before = time.perf_counter()
        work()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        now = time.perf_counter()
        times.append(now - before)
        spent = now - began
        if report is not None:
            report(min(1.0, spent / seconds))
        if spent >= 2 * seconds or (spent >= seconds and len(times) > 2 * WARM_UPS):
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
    tokens = max(1, TOKENS_PER_BATCH[device.type] // length) * length
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
    while True:
        pieces = generate(model, dataset.tokenizer, [0], SamplingSettings(max_tokens=tokens, seed=0), cancelled=over)
        done = next(piece for piece in pieces if isinstance(piece, Done))
        each.append(done.seconds / done.tokens)
        if over():
            return median(each[:-1] or each)  # of the last, which was cut off, the beginning weighs too much


def made_up(config: Config, vocab_size: int, device: torch.device) -> TokenDataset:
    """Random tokens of a vocabulary of that size, the same each time; enough for every batch and to evaluate."""
    codes = (code for code in range(32, 0x110000) if not 0xD800 <= code < 0xE000)
    tokenizer = CharTokenizer("".join(chr(next(codes)) for _ in range(vocab_size)))
    length = config.model.block_size
    random = np.random.default_rng(0)
    batch = max(TOKENS_PER_BATCH[device.type], length)
    train, val = (
        random.integers(vocab_size, size=size + 1, dtype=tokenizer.dtype)
        for size in (max(1 << 18, 2 * length), EVAL_BATCHES * batch)
    )
    return TokenDataset(train, val, tokenizer, len(val) - 1)


def pace_of(take_step: TrainStep, dataset: TokenDataset) -> Pace:
    """The pace of training with this step on this text; the model is trained by it, hardly."""
    tokens = take_step.config.train.sample_tokens
    return Pace(
        step_seconds=time_steps(take_step, STEP_SECONDS),
        eval_token_seconds=time_evaluation(take_step, dataset, EVAL_SECONDS),
        sample_token_seconds=time_writing(take_step.model, dataset, tokens, SAMPLE_SECONDS) if tokens else 0.0,
        device=str(take_step.device),
        threads=torch.get_num_threads(),
    )


def measure_pace(config: Config, vocab_size: int, device: str = "auto") -> Pace:
    """The pace of `config` on random tokens. Raises ConfigError when the device is not here or cannot compute so."""
    where = ready_device(device, config.train.precision)
    dataset = made_up(config, vocab_size, where)
    if config.train.precision != "auto":
        return pace_of(make_step(config, dataset, where), dataset)
    precision = choose(config, dataset, where, small=False).precision
    pace = pace_of(make_step(config.replace({"train.precision": precision}), dataset, where), dataset)
    return replace(pace, precision=precision)


def problem(error: Exception) -> str:
    """The error in one line; for want of memory, what to do about it."""
    if isinstance(error, UserError):
        return str(error)
    if is_out_of_memory(error):
        return OUT_OF_MEMORY
    return f"not measured: {type(error).__name__}: {' '.join(str(error).split())[:200]}"


def main(key: str) -> int:
    """Measure the pace that is known by this key (`pace.pace_key`)."""
    signal.alarm(int(2 * LIMIT_SECONDS))  # also when nobody is left to give it up
    tree, vocab_size, device, _ = json.loads(key)
    try:
        answer = asdict(measure_pace(make_config(tree), vocab_size, device))
    except Exception as error:
        answer = {"problem": problem(error)}
    sys.stdout.write(f"\n{json.dumps(answer)}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
