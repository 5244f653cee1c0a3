"""How fast a device trains and writes: the real training step and the real decoder, on random tokens."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from engine.config import Config
from engine.machine import cpu_model, memory_peak
from engine.plan.measure import made_up, time_steps, time_writing
from engine.text.scan import Progress
from engine.tokenizers.table import expected_vocab
from engine.training.compile import compile_step
from engine.training.device import ready_device
from engine.training.precision import settled
from engine.training.step import make_step

TEXT_TOKENS = 100


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


def bench_devices() -> list[torch.device]:
    """The CPU, and the first GPU where there is one."""
    return [torch.device("cpu"), *([torch.device("cuda", 0)] if torch.cuda.is_available() else [])]


def bench_device(config: Config, device: torch.device, seconds: float, progress: Progress | None = None) -> Speed:
    """Train `config`'s model for about `seconds`, then let it write for as long; nothing is kept.

    Raises ConfigError when the device cannot compute as the config asks.
    """
    ready_device(str(device), config.train.precision)
    report = progress or (lambda what, done: None)
    report(f"making the step for {device}", 0.0)
    dataset = made_up(config, expected_vocab(config.data), device)
    config, _ = settled(config, dataset, device)
    take_step = make_step(config, dataset, device)
    made = "one operation after the other"
    if config.train.compile:
        found = compile_step(take_step, 0)
        made = "compiled" if found.on else f"not compiled ({found.why})"
    step_seconds = time_steps(take_step, seconds, lambda done: report(f"training on {device}", done))
    report(f"writing on {device}", 0.0)
    token_seconds = time_writing(take_step.model.eval(), dataset, TEXT_TOKENS, seconds)
    return Speed(
        device=str(device),
        name=device_name(device),
        precision=config.train.precision,
        step=made,
        params=sum(parameter.numel() for parameter in take_step.model.parameters()),
        tokens_per_step=config.tokens_per_step,
        step_ms=1000.0 * step_seconds,
        train_tokens_per_second=config.tokens_per_step / step_seconds,
        decode_tokens_per_second=1.0 / token_seconds,
        peak_memory_bytes=memory_peak(device),
    )


def device_name(device: torch.device) -> str:
    """What the device calls itself, with the threads of a CPU."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{cpu_model()}, {torch.get_num_threads()} threads"
