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
from engine.machine import cpu_model, memory_peak
from engine.sampling.generate import Done, generate
from engine.sampling.settings import SamplingSettings
from engine.text.catalog import find_corpus
from engine.tokenizers.dataset import TokenDataset
from engine.training.compile import compile_step
from engine.training.precision import check_precision, set_matmul_precision
from engine.training.schedule import lr_multiplier
from engine.training.step import TrainStep, make_step

Progress = Callable[[str, float], None]

LETTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ ,.;:!?'\n-&3$"
WARM_UPS = 3
LEAST = 5
TOGETHER = 10
"""Steps a GPU makes before it is waited for, as in training: then the host launches one while another is made."""


@dataclass(frozen=True)
class Speed:
    """What was measured on one device; times are medians. `step` is how the steps were made: compiled or not."""

    device: str
    name: str
    precision: str
    step: str
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
        report = progress or (lambda what, done: None)
        report(f"making the step for {device}", 0.0)
        take_step = make_step(config, dataset, device)
        made = "one operation after the other"
        if config.train.compile:
            why = compile_step(take_step, 0)
            made = f"not compiled ({why})" if why else "compiled"
        step_seconds = time_steps(take_step, seconds, lambda done: report(f"training on {device}", done))
        report(f"writing on {device}", 0.0)
        rate = time_decoding(take_step.model.eval(), dataset, seconds)
        return Speed(
            device=str(device),
            name=device_name(device),
            precision=config.train.precision,
            step=made,
            params=sum(parameter.numel() for parameter in take_step.model.parameters()),
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


def time_steps(take_step: TrainStep, seconds: float, report: Callable[[float], None]) -> float:
    """Median seconds of a training step, over about `seconds`, after a warm-up."""
    train, times = take_step.config.train, list[float]()
    together = 1 if take_step.host_sees else TOGETHER
    began = time.perf_counter()
    step = 0
    while len(times) < WARM_UPS + LEAST or time.perf_counter() - began < seconds:
        before = time.perf_counter()
        for _ in range(together):
            take_step(step, lr_multiplier(min(step, train.max_steps - 1), train))
            step += 1
        if take_step.device.type == "cuda":
            torch.cuda.synchronize(take_step.device)
        times.append((time.perf_counter() - before) / together)
        report(min(1.0, (time.perf_counter() - began) / seconds))
    return statistics.median(times[WARM_UPS:])


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
    return f"{cpu_model()}, {torch.get_num_threads()} threads"
