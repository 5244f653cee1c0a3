"""How fast a device trains and writes: the real training step and the real decoder, on made-up text."""

from __future__ import annotations

import random
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from engine.config import Config
from engine.model import build_model
from engine.sampling.generate import Done, generate
from engine.sampling.settings import SamplingSettings
from engine.text.catalog import find_corpus
from engine.text.dataset import TokenDataset
from engine.training.batches import make_batches
from engine.training.flat import FlatParameters
from engine.training.memory import memory_peak
from engine.training.optim import Optimizer
from engine.training.precision import check_precision, set_matmul_precision
from engine.training.schedule import lr_multiplier
from engine.training.step import TrainStep

Progress = Callable[[str, float], None]

LETTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ ,.;:!?'\n-&3$"
WARM_UP_STEPS = 3
LEAST_STEPS = 5


@dataclass(frozen=True)
class Speed:
    """What was measured on one device; times are medians."""

    device: str
    name: str
    precision: str
    params: int
    tokens_per_step: int
    step_ms: float
    train_tokens_per_second: float
    decode_tokens_per_second: float
    peak_memory_bytes: int

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def bench_devices() -> list[torch.device]:
    """The CPU, and the first GPU where there is one."""
    return [torch.device("cpu"), *([torch.device("cuda", 0)] if torch.cuda.is_available() else [])]


def measure(config: Config, device: torch.device, seconds: float, progress: Progress | None = None) -> Speed:
    """Train `config`'s model for about `seconds`, then let it write for as long; nothing is kept.

    Raises ConfigError when the device cannot compute as the config asks.
    """
    check_precision(config.train.precision, device)
    set_matmul_precision(config.train.precision)
    with tempfile.TemporaryDirectory(prefix="tinytui-bench-") as folder:
        dataset = made_up_dataset(config, Path(folder))
        vocab_size = dataset.tokenizer.vocab_size
        model = build_model(config.model, vocab_size).to(device).train()
        parameters = FlatParameters(model)
        optimizer = Optimizer(parameters, config.train)
        take_step = TrainStep(model, parameters, optimizer, make_batches(dataset, config, device), config)
        report = progress or (lambda what, done: None)
        step_seconds = time_steps(
            take_step, config, device, seconds, lambda done: report(f"training on {device}", done)
        )
        report(f"writing on {device}", 0.0)
        rate = time_decoding(model.eval(), dataset, seconds)
        return Speed(
            device=str(device),
            name=device_name(device),
            precision=config.train.precision,
            params=sum(parameter.numel() for parameter in model.parameters()),
            tokens_per_step=config.tokens_per_step,
            step_ms=1000.0 * step_seconds,
            train_tokens_per_second=config.tokens_per_step / step_seconds,
            decode_tokens_per_second=rate,
            peak_memory_bytes=memory_peak(device),
        )


def made_up_dataset(config: Config, folder: Path) -> TokenDataset:
    """Random letters, enough for a batch in both splits; the same each time."""
    length = max(200_000, 40 * config.model.block_size)
    text = folder / "letters.txt"
    text.write_text("".join(random.Random(0).choices(LETTERS, k=length)), encoding="utf-8")
    return TokenDataset.open(find_corpus(str(text)).prepare(folder), config.data, folder)


def time_steps(
    take_step: TrainStep, config: Config, device: torch.device, seconds: float, report: Callable[[float], None]
) -> float:
    """Median seconds of a training step, over about `seconds`, after a warm-up."""
    times: list[float] = []
    began = time.perf_counter()
    step = 0
    while len(times) < LEAST_STEPS or time.perf_counter() - began < seconds:
        before = time.perf_counter()
        take_step(step, lr_multiplier(min(step, config.train.max_steps - 1), config.train))
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        if step >= WARM_UP_STEPS:
            times.append(time.perf_counter() - before)
        step += 1
        report(min(1.0, (time.perf_counter() - began) / seconds))
    return statistics.median(times)


def time_decoding(model: Any, dataset: TokenDataset, seconds: float) -> float:
    """Tokens a second of one text at a time, median over texts written for about `seconds`."""
    settings = SamplingSettings(max_tokens=100, top_k=40, seed=0)
    rates: list[float] = []
    began = time.perf_counter()
    while len(rates) < 2 or time.perf_counter() - began < seconds:
        for piece in generate(model, dataset.tokenizer, "a", settings):
            if isinstance(piece, Done):
                rates.append(piece.tokens_per_second)
    return statistics.median(rates)


def device_name(device: torch.device) -> str:
    """What the device calls itself, with the threads of a CPU."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    from engine.runs.environment import cpu_model

    return f"{cpu_model()}, {torch.get_num_threads()} threads"
