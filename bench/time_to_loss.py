"""Seconds from the command to a trained model: preset nano against nanoGPT's CPU command, whole processes.

    python -m bench.time_to_loss tinyshakespeare.txt --steps N [--nanogpt CHECKOUT | --skip-nanogpt SECONDS]

Ours is `tinytui train CORPUS --preset nano --steps N`: imports, tokenizing into an empty cache, training, the exact
validation loss, a sample, checkpoints. nanoGPT's is its README's command for a CPU, on its own prepared data (run
data/shakespeare_char/prepare.py in the checkout first); its loss is its own estimate over 20 batches. They take turns.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from bench.machine import describe, paired_ratio, say, spread

TARGET = 1.8857  # nats a character: what nanoGPT's command reaches
SIZES = ["--block_size=64", "--batch_size=12", "--n_layer=4", "--n_head=4", "--n_embd=128"]
LENGTH = ["--max_iters=2000", "--lr_decay_iters=2000", "--dropout=0.0"]
README = ["--device=cpu", "--compile=False", "--eval_iters=20", "--log_interval=1", *SIZES, *LENGTH]


def ours(corpus: str, steps: int, seed: int) -> tuple[float, float]:
    """(seconds of the whole process, exact validation loss at the end), with nothing cached."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "tui.cli", "--runs", f"{folder}/runs", "train", corpus]
        command += ["--preset", "nano", "--steps", str(steps), "--seed", str(seed), "--json"]
        began = time.perf_counter()
        done = subprocess.run(
            command, capture_output=True, text=True, env=os.environ | {"TINYTUI_CACHE": f"{folder}/cache"}
        )
        seconds = time.perf_counter() - began
    if done.returncode:
        raise SystemExit(done.stderr.strip())
    records = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    return seconds, [record["val_loss"] for record in records if record.get("val_loss") is not None][-1]


def theirs(checkout: Path) -> tuple[float, float]:
    """(seconds of the whole process, its estimate of the validation loss at the end)."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "train.py", "config/train_shakespeare_char.py", *README, f"--out_dir={folder}"]
        began = time.perf_counter()
        done = subprocess.run(command, capture_output=True, text=True, cwd=checkout)
        seconds = time.perf_counter() - began
    if done.returncode:
        raise SystemExit(done.stderr.strip())
    return seconds, float(re.findall(r"val loss ([\d.]+)", done.stdout)[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("corpus", help="tinyshakespeare, or the path of its text")
    parser.add_argument("--steps", type=int, required=True, help="steps of nano")
    parser.add_argument("--nanogpt", type=Path, help="a checkout of nanoGPT with its data prepared")
    parser.add_argument("--skip-nanogpt", type=float, metavar="SECONDS", help="take this figure for nanoGPT")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    print(describe())
    own: list[tuple[float, float]] = []
    peer: list[tuple[float, float]] = []
    for turn in range(options.rounds):
        own.append(ours(options.corpus, options.steps, 1337 + turn))
        reached = "reached" if own[-1][1] <= TARGET else f"NOT at {TARGET}"
        say(f"nano, {options.steps} steps, seed {1337 + turn}", f"{own[-1][0]:.2f} s, val {own[-1][1]:.4f} ({reached})")
        if options.skip_nanogpt is None and options.nanogpt:
            peer.append(theirs(options.nanogpt))
            say("nanoGPT, 2000 iterations", f"{peer[-1][0]:.2f} s, val {peer[-1][1]:.4f} (its estimate)")
    seconds = [value for value, _ in own]
    say("nano, whole process", spread(seconds))
    say("nano, val loss", f"{statistics.median(loss for _, loss in own):.4f}, worst {max(loss for _, loss in own):.4f}")
    if peer:
        say("nanoGPT, whole process", spread([value for value, _ in peer]))
    given = [] if options.skip_nanogpt is None else [options.skip_nanogpt] * len(own)
    if compared := [value for value, _ in peer] or given:
        say("nanoGPT's time over nano's", paired_ratio(compared, seconds))


if __name__ == "__main__":
    main()
