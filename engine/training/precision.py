"""`train.precision = auto`: a few real steps at the start choose between fp32 and bf16, and the run records it.

What was measured is kept for this machine, so that the same run has the same arithmetic, and the same bits, when it is
started again. The steps are made on a model, an optimizer and with random numbers of their own.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, NamedTuple

from engine.config import Config
from engine.errors import is_out_of_memory
from engine.machine import keep_freed_memory
from engine.model.sizes import flops_per_token
from engine.telemetry import available_memory
from engine.training.memory import memory_estimate
from engine.training.trials import Trials, cpu_seconds, key_of

if TYPE_CHECKING:
    import torch

    from engine.tokenizers.dataset import TokenDataset
    from engine.training.step import TrainStep

WORTH = 1.1
"""Times as fast as fp32 that bf16 must be to be taken: less is within what a machine's speed varies by."""
LEAST_FLOPS = 1e12
"""Of a whole run, some ten seconds on two cores: one that is smaller is over before a trial has paid."""
LEAST_STEP = 2e8
"""Operations of a step, some milliseconds: in one that is smaller it is not the products that take the time."""
TRIAL_TOKENS = 1024
"""In a step that is tried, at most, or one sequence."""
TRIAL_SECONDS, TRIAL_SHARE = 1.0, 0.01
"""What a trial may take: so long, or so much of the run where that is more."""
ROUNDS = 3
SLOWLY = 1e-3
"""Times the learning rates: nobody wants what is learned here."""
CANDIDATES = ("fp32", "bf16")
TRIALS = Trials("precision.json", CANDIDATES)


class Choice(NamedTuple):
    """The arithmetic of a run, why in one line, and seconds of a step in each where they were measured."""

    precision: str
    why: str
    seconds: dict[str, float]


def too_small(config: Config, vocab_size: int) -> bool:
    """Whether the run, or its step, is too small for a trial to pay. Needs no torch."""
    flops = flops_per_token(config.model, vocab_size) * config.tokens_per_step
    return flops < LEAST_STEP or flops * config.train.max_steps < LEAST_FLOPS


def settled(config: Config, dataset: TokenDataset, device: torch.device) -> tuple[Config, Choice | None]:
    """`config` with an arithmetic in the place of `auto`, and how that was chosen; as it is where it names one."""
    if config.train.precision != "auto":
        return config, None
    choice = choose(config, dataset, device)
    return config.replace({"train.precision": choice.precision}), choice


def choose(config: Config, dataset: TokenDataset, device: torch.device, *, small: bool | None = None) -> Choice:
    """The arithmetic for `config` here; `small` says whether the run is too small for a trial, where that is known."""
    import torch

    if device.type == "cuda":
        if torch.cuda.is_bf16_supported(including_emulation=False):
            return Choice("bf16", "this GPU multiplies bf16", {})
        return Choice("fp32", "this GPU does not multiply bf16", {})
    if not torch.cpu._is_avx512_bf16_supported():
        return Choice("fp32", "this CPU does not multiply bf16", {})
    if small or (small is None and too_small(config, dataset.tokenizer.vocab_size)):
        return Choice("fp32", "the run is too small to try others", {})
    key = kept_key(config, dataset.tokenizer.vocab_size)
    known = TRIALS.kept().get(key)
    if known is None:
        known = _tried(config, dataset, device)
        if len(known) == len(CANDIDATES):
            TRIALS.keep(key, known)
    return decided(known)


def decided(seconds: dict[str, float]) -> Choice:
    """bf16 where it is clearly faster; fp32 where it is not, or could not be tried."""
    if not all(seconds.get(name, 0.0) > 0.0 for name in CANDIDATES):
        return Choice("fp32", "there was no memory or no time to try others", {})
    fp32, bf16 = (seconds[name] for name in CANDIDATES)
    said = f"a step tried on this machine takes {1000 * fp32:.3g} ms in fp32, {1000 * bf16:.3g} in bf16"
    return Choice("bf16" if fp32 >= WORTH * bf16 else "fp32", said, seconds)


def _tried(config: Config, dataset: TokenDataset, device: torch.device) -> dict[str, float]:
    """Least seconds of a step in each arithmetic, taken in turn; without those that could not be made."""
    import torch

    from engine.training.step import TrainStep, make_step

    small = trial_config(config)
    room, _ = available_memory()
    if room is not None and sum(memory_estimate(small, dataset.tokenizer.vocab_size).values()) > room / 2:
        return {}
    keep_freed_memory()
    began = time.perf_counter()
    with torch.random.fork_rng(devices=[]):
        try:
            first = make_step(small.replace({"train.precision": CANDIDATES[0]}), dataset, device)
            half = small.replace({"train.precision": CANDIDATES[1]})
            second = TrainStep(first.model, first.optimizer, first.batches, half)
            steps = dict(zip(CANDIDATES, (first, second), strict=True))
            least = {name: _seconds(take_step, 0) for name, take_step in steps.items()}  # the first is slower
            share = TRIAL_SHARE * least["fp32"] * config.tokens_per_step / small.tokens_per_step
            most = max(TRIAL_SECONDS, share * config.train.max_steps)
            rounds = 0
            while rounds < ROUNDS or time.perf_counter() - began < TRIAL_SECONDS:
                for name, take_step in steps.items():
                    took = _seconds(take_step, rounds + 1)
                    least[name] = took if rounds == 0 else min(least[name], took)
                rounds += 1
                if time.perf_counter() - began > most:
                    break
        except Exception as error:
            if not is_out_of_memory(error):
                raise
            return {}
    return least


def trial_config(config: Config) -> Config:
    """The run's step with fewer sequences: what it tells of the arithmetics is the same, and it is over sooner."""
    sequences = max(1, min(config.train.batch_size, TRIAL_TOKENS // config.model.block_size))
    return config.replace({"train.batch_size": sequences, "train.grad_accum": 1, "train.compile": False})


def _seconds(take_step: TrainStep, step: int) -> float:
    return cpu_seconds(lambda: take_step(step, SLOWLY))


def kept_key(config: Config, vocab_size: int) -> str:
    """What a trial for `config` depends on."""
    train = trial_config(config).train
    return key_of(config, vocab_size, (train.batch_size, train.optimizer, train.recompute, train.lora_r))
