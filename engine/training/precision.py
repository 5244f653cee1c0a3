"""Arithmetic of the forward pass: fp32, tf32, bf16 and fp16 with a loss scaler."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor

from engine.errors import ConfigError

SCALE_START, SCALE_GROWTH_STEPS = 65536.0, 2000
SCALE_LEAST = 1.0
"""A loss scale below this helps nobody: what overflows then is not finite by itself."""


def autocast(precision: str, device: torch.device) -> AbstractContextManager[object]:
    """The context in which the model's forward pass runs."""
    if precision in ("bf16", "fp16"):
        return torch.autocast(device.type, torch.bfloat16 if precision == "bf16" else torch.float16)
    return nullcontext()


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
    """Dynamic loss scale for fp16 (Micikevicius et al. 2018): halved on overflow, doubled after 2,000 good steps.

    All on the device, so that no step waits for the host.
    """

    def __init__(self, enabled: bool, device: torch.device) -> None:
        self.enabled = enabled
        self.scale = torch.tensor(SCALE_START if enabled else 1.0, device=device)
        self.good = torch.tensor(0.0, device=device)

    def scaled(self, loss: Tensor) -> Tensor:
        return loss * self.scale if self.enabled else loss

    def update(self, finite: Tensor) -> None:
        """`finite` is 1.0 when the step's gradients were, else 0.0."""
        if not self.enabled:
            return
        self.good.add_(1.0).mul_(finite)
        grow = (self.good >= SCALE_GROWTH_STEPS).float()
        self.good.mul_(1.0 - grow)
        self.scale.mul_((1.0 + grow) * (0.5 + 0.5 * finite))

    def tensors(self) -> dict[str, Tensor]:
        return {"scaler.scale": self.scale, "scaler.good": self.good} if self.enabled else {}

    def load(self, tensors: dict[str, Tensor]) -> None:
        """Take back what `tensors` gave; a state without a scale, of another precision, leaves the scale fresh."""
        if self.enabled and "scaler.scale" in tensors:
            self.scale.copy_(tensors["scaler.scale"])
            self.good.copy_(tensors["scaler.good"])
