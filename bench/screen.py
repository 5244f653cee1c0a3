"""What the workbench costs: start, keys, bytes to the terminal, and what it takes from training.

    python -m bench.screen [--rounds 3] [--steps 400]

Training in the workbench is compared with the same training headless, in turn; both report the run's own
`train_seconds`, so that neither start-up nor evaluation counts.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from bench.machine import describe, percentile
from tests.terminal import Terminal

TINYTUI = [sys.executable, "-m", "tui.cli"]
TRAIN = ["soap-notes", "--preset", "nanogpt-char-cpu"]
QUIET = ["--set", "train.eval_every=100000", "--set", "train.checkpoint_every=100000", "--set", "train.sample_tokens=0"]


def start_up(runs: str) -> None:
    helps, paints, keys = [], [], []
    for _ in range(7):
        began = time.perf_counter()
        subprocess.run([*TINYTUI, "--help"], capture_output=True, check=True)
        helps.append(time.perf_counter() - began)
        with Terminal([*TINYTUI, "--runs", runs]) as terminal:
            paints.append(terminal.wait("tinytui"))
            while True:  # usable: the help answers to its key
                terminal.key("?")
                if "esc" in terminal.text.lower():
                    break
            keys.append(time.monotonic() - terminal.started)
    for what, values in (("--help", helps), ("first paint", paints), ("keys answer", keys)):
        print(f"{what:32} {statistics.median(values):.3f} s  (worst of {len(values)}: {max(values):.3f} s)")


def rate(run: Path) -> float:
    """Steps a second of the middle of a run, from its own records."""
    records = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    steps = [record for record in records if "loss" in record]
    first, last = steps[len(steps) // 10], steps[-1]
    return (last["step"] - first["step"]) / (last["time_s"] - first["time_s"])


def against_headless(runs: str, rounds: int, steps: int) -> None:
    headless: list[float] = []
    screen: list[float] = []
    flow: list[float] = []
    for turn in range(rounds):
        for where in ("headless", "screen"):
            name = f"{where}-{turn}"
            command = [*TINYTUI, "--runs", runs, "train", *TRAIN, "--name", name, "--steps", str(steps), *QUIET]
            if where == "headless":
                subprocess.run([*command, "--json"], capture_output=True, check=True)
                headless.append(rate(Path(runs) / name))
                continue
            with Terminal([*command, "--tui"]) as terminal:
                terminal.wait("training", 60)
                terminal.until(lambda text: f"/{steps:,}" in text or f"/{steps}" in text)
                time_left = steps / headless[-1]
                terminal.pump(min(3.0, time_left / 4))
                before, began = terminal.bytes, time.monotonic()
                terminal.pump(min(8.0, time_left / 2))
                flow.append((terminal.bytes - before) / (time.monotonic() - began))
                terminal.wait("finished", 4 * time_left + 60)
                terminal.key("q")
                terminal.pump(1.0)
            screen.append(rate(Path(runs) / name))
    ratio = statistics.median(b / a for a, b in zip(headless, screen, strict=True))
    print(f"{'headless':32} {statistics.median(headless):.1f} steps/s")
    print(f"{'in the workbench':32} {statistics.median(screen):.1f} steps/s")
    print(f"{'ratio (median of pairs)':32} {ratio:.3f}")
    print(f"{'bytes to the terminal':32} {statistics.median(flow) / 1000:.1f} KB/s")


def keys_while_training(runs: str, steps: int) -> None:
    command = [*TINYTUI, "--runs", runs, "train", *TRAIN, "--name", "keys", "--steps", str(steps * 4), *QUIET, "--tui"]
    with Terminal(command) as terminal:
        terminal.wait("training", 60)
        terminal.pump(2.0)
        terminal.key("p")  # the prompt
        terminal.pump(0.5)
        waits, typed = [], ""
        for i in range(60):
            typed += "qzxjkvwy"[(i * 5 + i // 8) % 8]
            began = time.monotonic()
            terminal.key(typed[-1])
            while typed[-12:] not in terminal.text and time.monotonic() - began < 5:
                terminal.pump(0.002)
            waits.append(time.monotonic() - began)
            terminal.pump(0.07)
        print(f"{'key to screen while training':32} p50 {percentile(waits, 0.5) * 1000:.0f} ms", end="  ")
        print(f"p95 {percentile(waits, 0.95) * 1000:.0f} ms  max {max(waits) * 1000:.0f} ms")


def idle(runs: str) -> None:
    with Terminal([*TINYTUI, "--runs", runs, "open", "headless-0"]) as terminal:
        terminal.wait("finished")
        terminal.pump(3.0)
        before = terminal.bytes
        terminal.pump(10.0)
        print(f"{'idle':32} {(terminal.bytes - before) / 10:.0f} bytes/s")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=400)
    options = parser.parse_args()
    print(describe())
    with tempfile.TemporaryDirectory() as runs:
        start_up(runs)
        against_headless(runs, options.rounds, options.steps)
        keys_while_training(runs, options.steps)
        idle(runs)


if __name__ == "__main__":
    main()
