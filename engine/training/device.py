"""The device to train on, and the arithmetic of the forward pass there: fp32, tf32, bf16, fp16 with a loss scaler."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import cache
from typing import Any

import numpy as np
import torch
from torch import Tensor

from engine.errors import ConfigError

SCALE_START, SCALE_GROWTH_STEPS = 65536.0, 2000
SCALE_LEAST = 1.0
"""A loss scale below this helps nobody: what overflows then is not finite by itself."""


def ready_device(name: str, precision: str) -> torch.device:
    """The device of that name, with products set to `precision`. Raises ConfigError where it cannot compute so."""
    device = choose_device(name)
    if device.type == "cuda":  # what names no device means this one: what it can compute, where a model is parted
        torch.cuda.set_device(device)
    check_precision(precision, device)
    set_matmul_precision(precision)
    return device


def choose_device(name: str = "auto") -> torch.device:
    """`auto` (a GPU when there is one), `cpu`, `cuda` or `cuda:1`. Raises ConfigError when it is not here."""
    if name == "auto":
        return torch.device("cuda", 0) if torch.cuda.is_available() else torch.device("cpu")
    if name == "cpu":
        return torch.device("cpu")
    kind, _, index = name.partition(":")
    if kind != "cuda" or (index and not index.isdigit()):
        raise ConfigError(f"no device {name!r}; use auto, cpu, cuda or cuda:0")
    if not torch.cuda.is_available():
        raise ConfigError("no CUDA device here; use --device cpu, and see tinytui doctor")
    if int(index or 0) >= torch.cuda.device_count():
        raise ConfigError(f"there is no {name}; this machine has {torch.cuda.device_count()} CUDA device(s)")
    return torch.device("cuda", int(index or 0))


def half(precision: str) -> torch.dtype | None:
    """What a product of that precision is of, where that is half of float32."""
    return {"bf16": torch.bfloat16, "fp16": torch.float16}.get(precision)


def moved(array: np.ndarray, device: torch.device) -> Tensor:
    """The array on the device. Only from pinned memory does a copy not wait for what the device has yet to do."""
    tensor = torch.from_numpy(array)
    return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor.to(device)


@cache
def _stream_beside(device: torch.device) -> torch.cuda.Stream:
    return torch.cuda.Stream(device, priority=-1)  # type: ignore[no-untyped-call]


def beside(device: torch.device) -> Callable[[], AbstractContextManager[object]]:
    """Makes contexts whose work on a GPU goes beside the training's and before it, after all launched until now.

    In the training's own stream each token of a text would wait for all the steps that are launched already.
    """
    if device.type != "cuda":
        return nullcontext
    stream = _stream_beside(device)
    stream.wait_stream(torch.cuda.current_stream(device))
    return lambda: torch.cuda.stream(stream)


def moment(device: torch.device) -> Any:
    """When all that is launched until now is done: a GPU computes later than the host asks for it."""
    if device.type != "cuda":
        return time.perf_counter()
    event = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
    event.record(torch.cuda.current_stream(device))
    return event


def seconds_between(one: Any, other: Any) -> float:
    """Between two moments of a device that have come."""
    return float(other - one if isinstance(one, float) else one.elapsed_time(other) / 1000)


def autocast(precision: str, device: torch.device) -> AbstractContextManager[object]:
    """The context in which the model's forward pass runs."""
    dtype = half(precision)
    return nullcontext() if dtype is None else torch.autocast(device.type, dtype)


def set_matmul_precision(precision: str) -> None:
    """TF32 where asked for; full fp32 products otherwise. A process-wide setting of PyTorch."""
    torch.set_float32_matmul_precision("high" if precision == "tf32" else "highest")


def check_precision(precision: str, device: torch.device) -> None:
    """Raise ConfigError when `device` cannot compute so."""
    if precision == "fp16" and device.type == "cpu":
        raise ConfigError("precision fp16 needs a GPU; on a CPU use --set train.precision=bf16 or fp32")
    if precision == "bf16" and device.type == "cuda" and not torch.cuda.is_bf16_supported(including_emulation=False):
        raise ConfigError("this GPU has no bf16; use --set train.precision=fp16")


class LossScaler:
    """Dynamic loss scale for fp16 (Micikevicius et al. 2018): halved on overflow, doubled after 2,000 good steps."""

    def __init__(self, enabled: bool) -> None:
        self.enabled = enabled
        self.scale, self.good = SCALE_START if enabled else 1.0, 0

    @property
    def may_help(self) -> bool:
        """Whether a step that was not finite may be with the scale as it is now."""
        return self.enabled and self.scale >= SCALE_LEAST

    def update(self, finite: bool) -> None:
        """Note a step, and whether its gradient was finite."""
        if not self.enabled:
            return
        self.good = self.good + 1 if finite else 0
        if not finite:
            self.scale /= 2.0
        elif self.good == SCALE_GROWTH_STEPS:
            self.scale, self.good = 2.0 * self.scale, 0

    def tensors(self) -> dict[str, Tensor]:
        if not self.enabled:
            return {}
        return {"scaler.scale": torch.tensor(self.scale), "scaler.good": torch.tensor(float(self.good))}

    def load(self, tensors: dict[str, Tensor]) -> None:
        """Take back what `tensors` gave; a state without a scale, of another precision, leaves the scale fresh."""
        if self.enabled and "scaler.scale" in tensors:
            self.scale, self.good = float(tensors["scaler.scale"]), int(tensors["scaler.good"])
