"""`train.compile`: the loss through torch.compile, forward and backward, once before the first step.

Compiled code rounds otherwise than PyTorch's own operations and has other random numbers for dropout: a run repeats
bit by bit, resumed or not, only without it. On a CPU a trial says whether it pays.
"""

from __future__ import annotations

import logging
import math
import os
import warnings
from collections.abc import Callable
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor
from torch.nn.utils import get_total_norm

from engine.errors import TrainingError, in_one_line, is_out_of_memory
from engine.folders import cache_dir
from engine.model.gpt import GPT
from engine.training.optim import gradients
from engine.training.step import LossFunction, TrainStep, step_seed
from engine.training.trials import Trials, cpu_seconds, key_of

WAYS = ("plain", "compiled")
TRIALS = Trials("compile.json", WAYS)
WORTH = 1.03
"""Times as fast on a CPU that it must be to be gone on with."""
LEAST_ROUNDS, MOST_ROUNDS, TRIAL_SECONDS = 3, 50, 1.0
CLOSE, CLOSE_WITH_DROPOUT = (0.05, 0.05), (0.25, 0.75)
"""How far, relatively, compiled loss and gradient norm may be from PyTorch's own on the same batch."""


class Compiler:
    """PyTorch's. What it fails at is computed as it stands, and `problem` says why, in one line.

    In the midst of a pass nothing may be raised: of a sharded model the others wait for this rank's part of a block.
    """

    def __init__(self) -> None:
        self.problem = ""

    def __call__(self, graph: torch.fx.GraphModule, inputs: list[Tensor]) -> Callable[..., Any]:
        if not self.problem:
            try:
                return self.make(graph, inputs)
            except Exception as error:  # it has many ways to fail; none of them is worth a run
                self.problem = in_one_line(error)
        return graph.forward

    def make(self, graph: torch.fx.GraphModule, inputs: list[Tensor]) -> Callable[..., Any]:
        """What computes the graph, forward and backward."""
        from torch._inductor.compile_fx import compile_fx

        return cast(Callable[..., Any], compile_fx(graph, inputs))


def compile_loss(model: GPT, compiler: Compiler) -> LossFunction:
    """The model's loss, compiled for the shapes it is first called with; what is made is kept on disk."""
    os.environ["TORCHINDUCTOR_CACHE_DIR"] = str(cache_dir() / "compiled")  # PyTorch sets its own when imported
    torch._logging.set_logs(all=logging.ERROR)  # type: ignore[attr-defined]  # the compiler's warnings would be written over a screen
    warnings.filterwarnings("ignore", "TensorFloat32 tensor cores")  # of every GPU that has them
    compiled: LossFunction = torch.compile(model.loss, backend=compiler, dynamic=False)
    return compiled


class Compiled(NamedTuple):
    """Whether the loss is compiled from here on; why not, or what it brings where that was measured, in one line."""

    on: bool
    why: str = ""


def compile_step(take_step: TrainStep, step: int) -> Compiled:
    """From here on `take_step` computes its loss compiled, on all ranks or on none.

    Waits for the compiler. Tried on the batch of `step` and compared with what PyTorch makes of it; what goes wrong
    leaves `take_step` as it was. On a CPU it must be clearly faster too, which is measured once for a machine and a
    shape. The next step clears the gradients and seeds dropout anew.
    """
    ranks, on_cpu, key = take_step.ranks, take_step.device.type == "cpu", _kept_key(take_step)
    known: dict[str, float] | None = ranks.share(TRIALS.kept().get(key)) if on_cpu else None
    found = Compiled(True) if known is None else decided(known)
    if found.on:
        problems = [each for each in ranks.collect(_compile(take_step, step)) if each]
        found = Compiled(False, problems[0]) if problems else found
    if found.on and on_cpu and known is None:
        known = _timed(take_step, step)
        if ranks.leads:
            TRIALS.keep(key, known)
        found = decided(known)
    if not found.on:
        take_step.loss_function = take_step.model.loss
    return found


def decided(seconds: dict[str, float]) -> Compiled:
    """Compiled where that is clearly faster."""
    plain, compiled = (seconds[name] for name in WAYS)
    why = f"forward and backward take {1000 * compiled:.3g} ms compiled on this machine, {1000 * plain:.3g} otherwise"
    return Compiled(plain > WORTH * compiled, why)


def _compile(take_step: TrainStep, step: int) -> str:
    """Why the loss of this rank is not compiled, in one line, or nothing."""
    compiler = Compiler()
    try:
        expected = _tried(take_step, step)
        take_step.loss_function = compile_loss(take_step.model, compiler)
        _compare(take_step, expected, _tried(take_step, step))
    except Exception as error:
        if take_step.sharded and is_out_of_memory(error):  # the others wait for this rank: it must end
            raise
        return compiler.problem or in_one_line(error)
    return compiler.problem


def _timed(take_step: TrainStep, step: int) -> dict[str, float]:
    """Least CPU seconds of a micro-batch either way, taken in turn, of the slowest rank; all make as many."""
    functions = dict(zip(WAYS, (take_step.model.loss, take_step.loss_function), strict=True))
    least = dict.fromkeys(WAYS, math.inf)
    rounds, made = LEAST_ROUNDS, 0
    while made < rounds:
        for way, take_step.loss_function in functions.items():
            least[way] = min(least[way], cpu_seconds(lambda: _tried(take_step, step)))
        made += 1
        if made == 1:
            rounds = take_step.ranks.share(
                max(LEAST_ROUNDS, min(MOST_ROUNDS, int(TRIAL_SECONDS / sum(least.values()))))
            )
    rows = take_step.ranks.gather([least[way] for way in WAYS])
    return dict(zip(WAYS, map(max, zip(*rows, strict=True)), strict=True))


def _kept_key(take_step: TrainStep) -> str:
    """What a trial depends on."""
    train, batches = take_step.config.train, take_step.batches
    shape = (batches.size, take_step.ranks.size, take_step.sharded, train.precision, train.recompute, train.lora_r)
    return key_of(take_step.config, take_step.model.vocab_size, shape)


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
