"""`train.compile`: the loss through torch.compile, forward and backward, once before the first step.

Compiled code rounds otherwise than PyTorch's own operations and has other random numbers for dropout: a run repeats
bit by bit, resumed or not, only without it. On a CPU it seldom pays.
"""

from __future__ import annotations

import logging
import math
import os

import torch
from torch.nn.utils import get_total_norm

from engine.errors import TrainingError
from engine.folders import cache_dir
from engine.model.gpt import GPT
from engine.training.optim import gradients
from engine.training.step import LossFunction, TrainStep, step_seed

CLOSE, CLOSE_WITH_DROPOUT = (0.05, 0.05), (0.25, 0.75)
"""How far, relatively, compiled loss and gradient norm may be from PyTorch's own on the same batch."""


def compile_loss(model: GPT) -> LossFunction:
    """The model's loss, compiled for the shapes it is first called with; what is made is kept on disk."""
    os.environ["TORCHINDUCTOR_CACHE_DIR"] = str(cache_dir() / "compiled")  # PyTorch sets its own when imported
    torch._logging.set_logs(all=logging.ERROR)  # type: ignore[attr-defined]  # the compiler's warnings would be written over a screen
    compiled: LossFunction = torch.compile(model.loss, dynamic=False)
    return compiled


def compile_step(take_step: TrainStep, step: int) -> str:
    """From here on `take_step` computes its loss compiled, as far as that can be; why not, in one line, or nothing.

    Waits for the compiler. Tried on the batch of `step` and compared with what PyTorch makes of it; what goes wrong
    leaves `take_step` as it was. The next step clears the gradients and seeds dropout anew.
    """
    try:
        expected = _tried(take_step, step)
        take_step.loss_function = compile_loss(take_step.model)
        _compare(take_step, expected, _tried(take_step, step))
    except Exception as error:  # a compiler has many ways to fail; none of them is worth a run
        take_step.loss_function = take_step.model.loss
        return in_one_line(error)
    return ""


def _tried(take_step: TrainStep, step: int) -> tuple[float, float]:
    """Loss and gradient norm of a micro-batch."""
    torch.manual_seed(step_seed(take_step.config.train.seed, step))
    take_step.clear()
    loss = take_step.micro_batch(*take_step.batches.get(step, 0), take_step.batches.micros)
    return float(loss), float(get_total_norm(gradients(take_step.trained)))


def _compare(take_step: TrainStep, expected: tuple[float, float], found: tuple[float, float]) -> None:
    close = CLOSE_WITH_DROPOUT if take_step.config.model.dropout else CLOSE
    for what, limit, ours, theirs in zip(("loss", "gradient norm"), close, expected, found, strict=True):
        if math.isfinite(ours) and not math.isclose(ours, theirs, rel_tol=limit, abs_tol=1e-6):
            raise TrainingError(f"compiled, the {what} of a batch is {theirs:.6g} and not {ours:.6g}")


def in_one_line(error: BaseException) -> str:
    """The first line of what an error says; of a compiler's error, that of its cause."""
    cause = getattr(error, "inner_exception", None)
    if isinstance(cause, BaseException):
        return in_one_line(cause)
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    said = lines[0] if lines else type(error).__name__
    return said if len(said) <= 200 else said[:199] + "…"
