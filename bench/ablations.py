"""What each device for speed brings a training step on this CPU: the step as it is over the step without it.

    python -m bench.ablations [--preset nano …] [--rounds 12] [--steps 10] [--only bf16 …]

Every variant has a process of its own; blocks of steps take turns, so that a machine that slows down slows all alike.
A ratio above 1 is what the device brings.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
from collections.abc import Callable

import torch

from bench.machine import describe, interleaved, paired_ratio, say, spread
from engine.config import Config
from engine.machine import keep_freed_memory
from engine.plan.measure import made_up
from engine.preset_files import load_preset
from engine.training import optim
from engine.training.step import make_step
from tui.cli import SPINS

PRESETS = ("nano", "nanogpt-char-cpu", "nanogpt-char")
"""0.6, 0.8 and 10.65 million parameters; the last with 16 sequences of 256, as far as CPUs are concerned."""
VOCABULARY = 65


def without_half_muon() -> None:
    """Muon's iteration in float32 where the CPU multiplies bfloat16."""
    optim.muon_dtype = lambda device: torch.float32  # type: ignore[assignment]


WITHOUT: dict[str, Callable[[], None]] = {
    "bf16": lambda: None,
    "kept memory": lambda: None,
    "short spins": lambda: None,
    "bfloat16 in Muon": without_half_muon,
}


def config_of(preset: str, lacks: str) -> Config:
    config = load_preset(preset).replace({"train.precision": "fp32" if lacks == "bf16" else "bf16"})
    if preset == "nanogpt-char":
        config = config.replace({"train.batch_size": 16, "model.dropout": 0.0})
    return config


def serve(preset: str, lacks: str, steps: int) -> None:
    """In a process of its own: a block of steps for every line of input."""
    if lacks in WITHOUT:
        WITHOUT[lacks]()
    if lacks != "kept memory":
        keep_freed_memory()
    config = config_of(preset, lacks)
    take_step = make_step(config, made_up(config, VOCABULARY, torch.device("cpu")), torch.device("cpu"))
    done = 0
    for _ in sys.stdin:
        for _ in range(steps):
            take_step(done, 1e-3)
            done += 1
        print("done", flush=True)


class Apart:
    """Steps without one device, in another process."""

    def __init__(self, preset: str, lacks: str, steps: int) -> None:
        env = {**os.environ}
        if lacks != "short spins":
            env.setdefault("GOMP_SPINCOUNT", str(SPINS))
        command = [sys.executable, "-m", "bench.ablations", "--serve", preset, lacks, "--steps", str(steps)]
        self.process = subprocess.Popen(command, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self()

    def __call__(self) -> None:
        assert self.process.stdin is not None and self.process.stdout is not None
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        if self.process.stdout.readline().strip() != "done":
            raise SystemExit("a measured process ended early")

    def end(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait()


def compare(preset: str, names: list[str], rounds: int, steps: int) -> None:
    config = load_preset(preset)
    if config.train.optimizer != "muon":
        names = [name for name in names if "Muon" not in name]
    variants = {name: Apart(preset, name, steps) for name in ("nothing", *names)}
    try:
        seconds = interleaved(variants, rounds)
    finally:
        for variant in variants.values():
            variant.end()
    whole = seconds["nothing"]
    each = spread([second / steps for second in whole], "ms", 1000)
    say(preset, f"{each} a step, {steps / statistics.median(whole):.1f} steps/s")
    for name in names:
        say(f"  {name}", paired_ratio(seconds[name], whole))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--preset", nargs="*", default=PRESETS)
    parser.add_argument("--only", nargs="*", default=list(WITHOUT), choices=list(WITHOUT))
    parser.add_argument("--rounds", type=int, default=12)
    parser.add_argument("--steps", type=int, default=10, help="of a block; a tenth of them for millions of parameters")
    parser.add_argument("--serve", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        serve(*options.serve, options.steps)
        return
    print(describe())
    for preset in options.preset:
        steps = max(1, options.steps // 10) if preset == "nanogpt-char" else options.steps
        compare(preset, options.only, options.rounds, steps)


if __name__ == "__main__":
    main()
