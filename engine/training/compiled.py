"""The fastest step a device can make: recorded from the first one on a GPU, compiled later (`train.compile`).

On a GPU the forward and backward pass of a micro-batch is recorded as one CUDA graph and the update as another, so that
a step is a few launches: the gradients the one adds to and the other uses up lie in one buffer that never moves. A
recorded step computes what it was recorded from, bit for bit.

With `train.compile` a process of its own compiles the same model, shapes and precision meanwhile, which fills PyTorch's
cache of compiled code on disk; then the trainer compiles too, at a step boundary, finds everything there and records
the result. Whatever goes wrong leaves an event and training as it was.

Compiled code rounds otherwise than PyTorch's own operations and has other random numbers for dropout, and when the
switch comes depends on the clock: a run repeats bit by bit, resumed or not, only without `train.compile`. The step of
the switch is in the run's events. For small models on a CPU it is no gain, `engine.model.kernels` is quicker there.
"""

from __future__ import annotations

import gc
import json
import logging
import math
import os
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import IO, Self

import torch
from torch import Tensor

from engine.config import Config, make_config
from engine.errors import TrainingError
from engine.model.capture import capture, recording
from engine.model.gpt import GPT
from engine.runs.writer import RunWriter
from engine.text.places import cache_dir
from engine.training.build import build_for
from engine.training.flat import FlatParameters
from engine.training.precision import LossScaler, set_matmul_precision
from engine.training.step import LossFunction, TrainStep, forward_backward, step_seed

ROOM = 1 << 30  # bytes of GPU memory left alone when a second process compiles beside the first
NICENESS = 10  # of the compiling process: the training it is for goes first
PLAIN = "one operation after the other"
CLOSE, CLOSE_WITH_DROPOUT = (0.05, 0.05), (0.25, 0.75)
"""How far, relatively, compiled loss and gradient norm may be from PyTorch's own on the same batch."""


def compile_loss(model: GPT) -> LossFunction:
    """The model's loss, forward and backward pass compiled for the shapes it is first called with."""
    os.environ["TORCHINDUCTOR_CACHE_DIR"] = str(cache_dir() / "compiled")  # PyTorch sets its own when imported
    torch._logging.set_logs(all=logging.ERROR)  # type: ignore[attr-defined]  # the compiler's warnings would be written over a screen
    compiled: LossFunction = torch.compile(model.loss, dynamic=False)
    return compiled


class Compilation:
    """Brings a `TrainStep` to its fastest form, without making it wait for the compiler.

    A context manager around the training loop; leaving it ends the compiling process. On a CPU it does nothing unless
    `train.compile` is set.
    """

    def __init__(self, take_step: TrainStep, vocab_size: int, writer: RunWriter) -> None:
        self.take_step, self.vocab_size, self.writer = take_step, vocab_size, writer
        self.phase = "training"
        """What the run's status says while steps are made: "compiling" until this has ended, well or not."""
        self._fresh = True
        self._child: subprocess.Popen[bytes] | None = None
        self._said: IO[bytes] | None = None
        self._began = 0.0

    def __enter__(self) -> Self:
        if self.take_step.config.train.compile:
            self.phase, self._began = "compiling", time.monotonic()
            if _room_for_two(self.take_step.device):
                self._said = tempfile.TemporaryFile()
                try:
                    self._child = start_compiler(
                        self.take_step.config, self.vocab_size, self.take_step.device, self._said
                    )
                except OSError as error:
                    self._give_up(0, str(error))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._kill()
        self._finish()

    def begin_anew(self, step: int) -> None:
        """The micro-batch has another shape: the next step is recorded anew, and made without torch.compile."""
        self._kill()
        if self.take_step.config.train.compile:
            self._give_up(step, "the micro-batch has shrunk; a resume compiles again")
        self._fresh = True

    def _kill(self) -> None:
        if self._child is not None:
            with suppress(ProcessLookupError):
                os.killpg(self._child.pid, signal.SIGKILL)
            self._child.wait()

    def poll(self, step: int) -> None:
        """Called between steps, `step` of them made: records the first, and switches when the compiler is ready."""
        if self._fresh:
            self._fresh = False
            self._record(step)
        if self.phase != "compiling" or (self._child is not None and self._child.poll() is None):
            return
        if self._child is not None and self._child.returncode:
            assert self._said is not None
            self._said.seek(0)
            said = self._said.read().decode("utf-8", "replace").strip()
            self._give_up(step, said.rsplit("\n", 1)[-1] or f"the compiler ended with {self._child.returncode}")
            return
        unrecord(self.take_step)  # gives back the memory of the graph, which the compiled step needs
        try:
            compile_step(self.take_step, step)
        except Exception as error:  # a compiler has many ways to fail; none of them is worth a run
            self._give_up(step, in_one_line(error))
        else:
            self._finish()
            self.writer.event("compiled", step, seconds=round(time.monotonic() - self._began, 1))
            self.writer.status(phase=self.phase)
        self._record(step)

    def _record(self, step: int) -> None:
        try:
            record_step(self.take_step, step)
        except Exception as error:
            self.writer.event("alarm", step, alarm="compile", message=f"no CUDA graph: {in_one_line(error)}")

    def _give_up(self, step: int, reason: str) -> None:
        self._finish()
        message = f"training goes on without torch.compile: {reason}"
        self.writer.event("alarm", step, alarm="compile", message=message)
        self.writer.status(phase=self.phase)

    def _finish(self) -> None:
        self.phase, self._child = "training", None
        if self._said is not None:
            self._said.close()
            self._said = None


def make_fastest(take_step: TrainStep, compiled: bool = True) -> str:
    """What a run's step becomes, at once: waits for the compiler. Returns what it is now, for a person.

    On a GPU it is recorded, and compiled first where the settings say so and `compiled` does; what cannot be done is
    said too. On a CPU it stays as it is. Model and optimizer are not changed.
    """
    if take_step.host_sees:
        return PLAIN
    made = []
    if compiled and take_step.config.train.compile:
        try:
            compile_step(take_step, 0)
            made.append("compiled")
        except Exception as error:
            made.append(f"not compiled ({in_one_line(error)})")
    try:
        record_step(take_step, 0)
        made.append("CUDA graph")
    except Exception as error:
        made.append(f"no CUDA graph ({in_one_line(error)})")
    return ", ".join(made)


def compile_step(take_step: TrainStep, step: int) -> None:
    """From here on `take_step` computes loss and gradients compiled; call it before `record_step`.

    Tried first on the batch of `step` and compared with what it did before. Raises what the compiler raises, or
    TrainingError when the results differ; then `take_step` is as it was.
    """
    before = take_step.loss_function
    expected = _try(take_step, step)
    take_step.loss_function = compile_loss(take_step.model)
    try:
        _compare(take_step, "compiled", expected, _try(take_step, step))
    except BaseException:
        take_step.loss_function = before
        raise


def record_step(take_step: TrainStep, step: int) -> None:
    """From here on the passes of a micro-batch are one CUDA graph, and so is the update; on a CPU all stays as it is.

    Tried and compared like `compile_step`. Raises RuntimeError when it cannot be recorded.
    """
    if take_step.host_sees:
        return
    expected = _try(take_step, step)
    gc.collect()  # what is left of an earlier backward pass belongs to the stream it ran on: it would spoil a recording
    try:
        take_step.micro_batch = RecordedMicroBatch(take_step, *take_step.batches.get(step, 0))
        _compare(take_step, "recorded", expected, _try(take_step, step))
        take_step.update = RecordedUpdate(take_step)
    except BaseException:
        unrecord(take_step)
        raise


def unrecord(take_step: TrainStep) -> None:
    """Take back `record_step`; the memory of its graphs is free."""
    take_step.micro_batch, take_step.update = take_step.forward_backward, take_step.clip_and_update


class RecordedMicroBatch:
    """`take_step.forward_backward` on inputs and targets that always lie at the same place."""

    def __init__(self, take_step: TrainStep, x: Tensor, y: Tensor) -> None:
        """x, y (B, T) give shapes and first values; the gradients are added to a few times."""
        self._x, self._y = x.clone(), y.clone()
        self._run = capture(lambda: take_step.forward_backward(self._x, self._y), x.device, draws=True)

    def __call__(self, x: Tensor, y: Tensor) -> Tensor:
        self._x.copy_(x)
        self._y.copy_(y)
        return self._run().clone()  # the next micro-batch overwrites what the graph gives


class RecordedUpdate:
    """`take_step.clip_and_update` of loss, step and multiplier that always lie at the same place."""

    def __init__(self, take_step: TrainStep) -> None:
        """Changes nothing but the gradients: made as if after a step that was not finite."""
        device = take_step.device
        self._loss, self._multiplier = torch.zeros((), device=device), torch.zeros((), device=device)
        self._step = torch.zeros((), dtype=torch.int64, device=device)
        changed = (take_step.bad_step, take_step.scaler.scale, take_step.scaler.good)
        kept = [tensor.clone() for tensor in changed]
        take_step.bad_step.zero_()
        try:
            self._run = capture(lambda: take_step.clip_and_update(self._loss, self._step, self._multiplier), device)
        finally:
            take_step.optimizer.begin_anew()
            for tensor, value in zip(changed, kept, strict=True):
                tensor.copy_(value)

    def __call__(self, loss: Tensor, step: int | Tensor, multiplier: float | Tensor) -> Tensor:
        self._loss.copy_(loss)
        self._step.fill_(step)
        self._multiplier.fill_(multiplier)
        return self._run().clone()  # the next update overwrites what the graph gives


def _try(take_step: TrainStep, step: int) -> tuple[float, float]:
    """Loss and gradient norm of a micro-batch. The next step clears the gradients and seeds dropout anew."""
    with recording:
        torch.manual_seed(step_seed(take_step.config.train.seed, step))
        take_step.parameters.grad.zero_()
        loss = take_step.micro_batch(*take_step.batches.get(step, 0))
    return float(loss), float(torch.linalg.vector_norm(take_step.parameters.grad))


def _compare(take_step: TrainStep, how: str, expected: tuple[float, float], found: tuple[float, float]) -> None:
    close = CLOSE_WITH_DROPOUT if take_step.config.model.dropout else CLOSE
    for what, limit, ours, theirs in zip(("loss", "gradient norm"), close, expected, found, strict=True):
        if math.isfinite(ours) and not math.isclose(ours, theirs, rel_tol=limit, abs_tol=1e-6):
            raise TrainingError(f"{how}, the {what} of a batch is {theirs:.6g} and not {ours:.6g}")


# -- the compiling process -------------------------------------------------------------------------------------------


def start_compiler(config: Config, vocab_size: int, device: torch.device, said: IO[bytes]) -> subprocess.Popen[bytes]:
    """A process that compiles for `config`; it says what went wrong in the last line of `said`, and ends with 1."""
    job = {
        "config": config.model_dump(mode="json"),
        "vocab_size": vocab_size,
        "device": str(device),
        "niceness": NICENESS,
    }
    here = str(Path(__file__).resolve().parents[2])
    path = os.pathsep.join(filter(None, (here, os.environ.get("PYTHONPATH"))))
    return subprocess.Popen(
        [sys.executable, "-m", "engine.training.compiled", json.dumps(job)],
        stdin=subprocess.DEVNULL,
        stdout=said,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "PYTHONPATH": path},
        start_new_session=True,  # so that it ends with the processes it starts itself
    )


def fill_cache(config: Config, vocab_size: int, device: torch.device) -> None:
    """Compile forward and backward pass of the model of `config`; what is kept of it is in the cache on disk."""
    set_matmul_precision(config.train.precision)
    model = build_for(config, vocab_size).to(device).train()
    FlatParameters(model)
    ids = torch.zeros(config.train.batch_size, config.model.block_size, dtype=torch.int64, device=device)
    scaler = LossScaler(config.train.precision == "fp16", device)
    forward_backward(compile_loss(model), ids, ids.clone(), config.train, scaler)


def in_one_line(error: BaseException) -> str:
    """The first line of what an error says; of a compiler's error, that of its cause."""
    cause = getattr(error, "inner_exception", None)
    if isinstance(cause, BaseException):
        return in_one_line(cause)
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    said = lines[0] if lines else type(error).__name__
    return said if len(said) <= 200 else said[:199] + "…"


def main(job: str) -> int:
    """Do a job that `start_compiler` wrote; 0 when it is done."""
    tree = json.loads(job)
    os.nice(tree["niceness"])
    try:
        fill_cache(make_config(tree["config"]), tree["vocab_size"], torch.device(tree["device"]))
    except Exception as error:
        sys.stdout.write(f"\n{in_one_line(error)}\n")
        return 1
    return 0


def _room_for_two(device: torch.device) -> bool:
    """Whether a second process like this one fits on the GPU; a CPU has room."""
    if device.type != "cuda":
        return True
    free, _ = torch.cuda.mem_get_info(device)
    return free > 2 * torch.cuda.max_memory_reserved(device) + ROOM


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
