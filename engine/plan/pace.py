"""The pace of a run on this machine: seconds of a step, of a token evaluated and of a token of a sample.

No formula holds over machines within what is useful, so the pace is measured: a few real steps of that very model,
batch and optimizer on random tokens, made by a process of its own (`engine.plan.measure`), which gives its memory
back and leaves this one's interpreter lock alone. Nothing here needs torch: a screen may begin it, ask, and drop it.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import threading
from contextlib import suppress
from dataclasses import dataclass

from engine import process
from engine.config import Config
from engine.machine import usable_threads
from engine.training.precision import too_small

LIMIT_SECONDS = 60.0
"""A measurement that takes longer than this is given up; loading torch is part of it."""
MATTERS = (
    "batch_size",
    "grad_accum",
    "optimizer",
    "weight_decay",
    "grad_clip",
    "precision",
    "recompute",
    "sample_tokens",
    "ema",
    "lora_r",
)
"""The settings of training that a step's or a sample's time depends on, beside the model's own."""


@dataclass(frozen=True)
class Pace:
    """Seconds, medians; `device` and `threads` say where and how they were measured."""

    step_seconds: float
    eval_token_seconds: float
    sample_token_seconds: float
    device: str
    threads: int
    precision: str = ""
    """What `auto` came to; empty where the settings name one."""


def essential(config: Config, vocab_size: int) -> Config:
    """`config` with every setting the pace does not depend on at its default: two runs of one pace are equal so.

    `train.compile` is left out: a compiler takes longer than anyone waits for a forecast. A run that is too small for
    its arithmetic to be chosen by trial has fp32 here too.
    """
    train = {name: getattr(config.train, name) for name in MATTERS}
    if config.train.precision == "auto" and too_small(config, vocab_size):
        train["precision"] = "fp32"
    return Config.model_validate({"model": config.model.model_dump(), "train": train})


def pace_key(config: Config, vocab_size: int, device: str = "auto") -> str:
    """What a pace is known by, and what measures it is told: all that it depends on."""
    threads = os.environ.get("OMP_NUM_THREADS") or usable_threads()
    return json.dumps([essential(config, vocab_size).model_dump(mode="json"), vocab_size, device, str(threads)])


known: dict[str, Pace] = {}
"""Paces measured since the process began, by their key."""


class Measuring:
    """A measurement under way. `found` is None until it has ended: then the Pace, or why there is none, in one line.

    Never waits: the process is started, listened to and reaped by a thread.
    """

    def __init__(self, config: Config, vocab_size: int, device: str = "auto") -> None:
        self.key = pace_key(config, vocab_size, device)
        self.found: Pace | str | None = None
        self._child: subprocess.Popen[bytes] | None = None
        self._cancelled = False
        self._thread = threading.Thread(target=self._run, name="measure-pace", daemon=True)
        self._thread.start()

    def cancel(self) -> None:
        """End it without a result; `found` stays as it is."""
        self._cancelled = True
        self._kill()

    @property
    def alive(self) -> bool:
        """Whether its process may still be there."""
        return self._thread.is_alive()

    def _kill(self) -> None:
        child = self._child
        if child is not None and child.returncode is None:
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(child.pid, signal.SIGKILL)

    def _run(self) -> None:
        try:
            self._child = process.start("engine.plan.measure", self.key, stdout=subprocess.PIPE)
        except OSError as error:
            self.found = f"not measured: {error.strerror or error}"
            return
        if self._cancelled:  # while it was being started
            self._kill()
        try:
            said, _ = self._child.communicate(timeout=LIMIT_SECONDS)
        except subprocess.TimeoutExpired:
            self._kill()
            self._child.communicate()
            said = json.dumps({"problem": f"not measured: nothing within {LIMIT_SECONDS:.0f} s"}).encode()
        if not self._cancelled:
            self.found = self._take(said, self._child.returncode)

    def _take(self, said: bytes, code: int) -> Pace | str:
        """What the process said in its last line; a pace is remembered."""
        try:
            answer = json.loads(said.decode().strip().rsplit("\n", 1)[-1])
            if "problem" in answer:
                return str(answer["problem"])
            pace = Pace(**answer)
        except (ValueError, TypeError):
            killed = code == -signal.SIGKILL
            return f"not measured: the process was killed{', perhaps for its memory' if killed else f' ({code})'}"
        known[self.key] = pace
        return pace
