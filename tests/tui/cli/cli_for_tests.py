"""The command line as a user has it, in this process or in one of its own."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from typer.testing import CliRunner, Result

from tests.forked import Forked
from tui.cli.app import make_app

ROOT = Path(__file__).parents[3]
TINY = (
    "--set", "model.n_layer=1", "--set", "model.n_head=2", "--set", "model.n_embd=16", "--set", "model.block_size=8",
    "--set", "train.batch_size=4", "--set", "train.eval_every=10", "--set", "train.sample_tokens=8", "--device", "cpu",
)  # fmt: skip

Cli = Callable[..., Result]


@dataclass(frozen=True)
class Trained:
    """A folder of runs with one finished run in it."""

    runs: Path
    name: str
    text: Path

    @property
    def path(self) -> Path:
        return self.runs / self.name


def small_text(seed: int = 0) -> str:
    rng = random.Random(seed)
    words = ("one", "small", "step", "after", "another", "goes", "on")
    return "".join(" ".join(rng.choices(words, k=8)) + ".\n" for _ in range(200))


def invoke(*args: object, input: str | bytes | None = None) -> Result:
    return CliRunner().invoke(make_app([*map(str, args)]), [*map(str, args)], input=input)


def one_complaint(result: Result) -> str:
    """The one line on stderr, which must be all there is, and without anything that could drive a terminal."""
    lines = result.stderr.splitlines()
    assert len(lines) == 1, result.output
    assert lines[0].startswith("tinytui: ")
    assert lines[0].isprintable()
    return lines[0]


def environment() -> dict[str, str]:
    path = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH", ""))))
    return {**os.environ, "PYTHONPATH": path, "TERM": "xterm-256color"}


def command(*args: object) -> list[str]:
    return [sys.executable, "-m", "tui.cli", *map(str, args)]


def spawn(*args: object, **kwargs: Any) -> subprocess.Popen[str]:
    """The command in a process of its own."""
    return Forked(command(*args), text=True, env=environment(), **kwargs)


def wait_for(what: Callable[[], Any], seconds: float = 60.0) -> Any:
    """The first true value of `what()`; fails after so many seconds."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if value := what():
            return value
        time.sleep(0.02)
    raise AssertionError(f"not within {seconds:.0f} s")
