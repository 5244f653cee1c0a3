"""Training steps a second: preset nanogpt-char-cpu against nanoGPT's own model and loop, and preset nano.

    python -m bench.step [--nanogpt CHECKOUT] [--rounds 15] [--steps 30] [--corpus soap-notes] [--separate]
                         [--preset nanogpt-char-cpu nano] [--sequences 16]

Each preset in the precision that `auto` comes to on this machine, unless it names one; nanoGPT, of the first preset's
shape, in float32 as its README runs it on a CPU and under autocast to bfloat16. `--sequences` are those of a step.
A round is `--steps` steps of each in turn. All read each step's loss, as they do when they log every step.
Training sets the process' memory allocator for its steps (`keep_freed_memory`), and in one process nanoGPT has the gain
of that too; with `--separate` each has a process of its own, as in use, and the blocks still take turns.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import torch

from bench import nanogpt
from bench.machine import describe, interleaved, paired_ratio, say, spread
from engine.config import Config
from engine.machine import keep_freed_memory
from engine.preset_files import load_preset
from engine.text.catalog import find_corpus
from engine.tokenizers.dataset import TokenDataset
from engine.training.precision import settled
from engine.training.schedule import lr_multiplier
from engine.training.step import make_step

OURS = ("nanogpt-char-cpu", "nano")
NANOGPT = {"nanoGPT": False, "nanoGPT, bf16": True}


def config_of(preset: str, sequences: int | None) -> Config:
    config = load_preset(preset).replace({"model.dropout": 0.0, "train.compile": False})
    return config if sequences is None else config.replace({"train.batch_size": sequences, "train.grad_accum": 1})


def our_block(config: Config, corpus: str, steps: int) -> Callable[[], object]:
    """`steps` steps of a run, going on where the last block ended."""
    dataset = TokenDataset.open(find_corpus(corpus).prepare(), config.data)
    config, choice = settled(config, dataset, torch.device("cpu"))
    if choice is not None:
        print(f"{choice.precision}: {choice.why}", file=sys.stderr)
    keep_freed_memory()
    take_step = make_step(config, dataset, torch.device("cpu"))
    done = 0

    def block() -> None:
        nonlocal done
        for _ in range(steps):
            take_step(done, lr_multiplier(min(done, config.train.max_steps - 1), config.train))
            done += 1

    return block


def their_block(
    checkout: Path, config: Config, corpus: str, steps: int, folder: Path, bf16: bool
) -> Callable[[], object]:
    """`steps` iterations of nanoGPT on the same tokens, written into `folder`."""
    dataset = TokenDataset.open(find_corpus(corpus).prepare(), config.data)
    ids = folder / "train.bin"
    ids.write_bytes(np.asarray(dataset.train, np.uint16).tobytes())
    training = nanogpt.Training(checkout, config, dataset.tokenizer.vocab_size, ids, bf16)

    def block() -> None:
        for _ in range(steps):
            training.step()

    return block


def make_block(name: str, options: argparse.Namespace, folder: Path) -> Callable[[], object]:
    if name in NANOGPT:
        config = config_of(options.preset[0], options.sequences)
        return their_block(options.nanogpt, config, options.corpus, options.steps, folder, NANOGPT[name])
    return our_block(config_of(name, options.sequences), options.corpus, options.steps)


def serve(name: str, options: argparse.Namespace, folder: Path) -> None:
    """In a process of its own: a block for every line of input."""
    block = make_block(name, options, folder)
    print("ready", flush=True)
    for _ in sys.stdin:
        block()
        print("done", flush=True)


class Apart:
    """A block in another process."""

    def __init__(self, name: str, arguments: list[str]) -> None:
        command = [sys.executable, "-m", "bench.step", *arguments, "--serve", name]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.wait("ready")

    def wait(self, word: str) -> None:
        assert self.process.stdout is not None
        if self.process.stdout.readline().strip() != word:
            raise SystemExit("a measured process ended early")

    def __call__(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        self.wait("done")

    def end(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nanogpt", type=Path, help="a checkout of nanoGPT")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--steps", type=int, default=30, help="steps of a block")
    parser.add_argument("--corpus", default="soap-notes")
    parser.add_argument("--separate", action="store_true", help="each in a process of its own")
    parser.add_argument("--preset", nargs="+", default=OURS)
    parser.add_argument("--sequences", type=int)
    parser.add_argument("--serve", help=argparse.SUPPRESS)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        if options.serve:
            serve(options.serve, options, Path(folder))
        else:
            compare(options, Path(folder))


def compare(options: argparse.Namespace, folder: Path) -> None:
    print(describe())
    names = [options.preset[0], *(NANOGPT if options.nanogpt else ()), *options.preset[1:]]
    if options.separate:
        passed = [argument for argument in sys.argv[1:] if argument != "--separate"]
        apart = {name: Apart(name, passed) for name in names}
        seconds = measure(apart, options.rounds)
        for process in apart.values():
            process.end()
    else:
        seconds = measure({name: make_block(name, options, folder) for name in names}, options.rounds)
    for name in names:
        per_step = [value / options.steps for value in seconds[name]]
        say(name, f"{1 / statistics.median(per_step):.1f} steps/s, {spread(per_step, 'ms', 1000)} a step")
    for peer in NANOGPT if options.nanogpt else ():
        say(f"{names[0]} over {peer}", paired_ratio(seconds[peer], seconds[names[0]]))


def measure(blocks: Mapping[str, Callable[[], object]], rounds: int) -> dict[str, list[float]]:
    for block in blocks.values():  # warm up
        block()
    return interleaved(blocks, rounds)


if __name__ == "__main__":
    main()
