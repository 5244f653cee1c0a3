"""What the workbench costs: start, keys, bytes to the terminal, and what it takes from training.

    python -m bench.screen [--rounds 3] [--steps 400] [--minutes 60]

Training in the workbench is compared with the same training headless, in turn; both report the run's own
`train_seconds`, so that neither start-up nor evaluation counts. With --minutes only the memory of a workbench that
trains for so long is watched.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import psutil

from bench.machine import describe, paired_ratio, percentile, say, spread
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
            while "esc" not in terminal.text.lower():  # usable: the help answers to its key
                press(terminal, "?")
                shown(terminal, lambda text: "esc" in text.lower(), 0.2)
            keys.append(time.monotonic() - terminal.started)
    for what, values in (("--help", helps), ("first paint", paints), ("keys answer", keys)):
        say(what, spread(values))


def press(terminal: Terminal, key: str) -> None:
    """The key alone; `Terminal.key` also waits for a while."""
    os.write(terminal.fd, key.encode())


def shown(terminal: Terminal, test: Callable[[str], bool], seconds: float) -> float:
    """Seconds until the screen passes `test`, at most `seconds`; looked at after every 2 ms."""
    began = time.monotonic()
    while not test(terminal.text) and time.monotonic() - began < seconds:
        terminal.pump(0.002)
    return time.monotonic() - began


def rate(run: Path) -> float:
    """Steps a second of the middle of a run, from its own records."""
    records = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    steps = [record for record in records if "loss" in record]
    first, last = steps[len(steps) // 10], steps[-1]
    return (last["step"] - first["step"]) / (last["time_s"] - first["time_s"])


def state(run: Path) -> str:
    return str(json.loads((run / "status.json").read_text())["state"])


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
                terminal.pump(0.5)  # the first frames are whole ones
                # only read and count here: looking at the emulated screen would take a core from training
                before, began = terminal.bytes, time.monotonic()
                while state(Path(runs) / name) == "running":
                    terminal.pump(0.25)
                flow.append((terminal.bytes - before) / (time.monotonic() - began))
                terminal.key("q")
                terminal.pump(1.0)
            screen.append(rate(Path(runs) / name))
    say("headless", spread(headless, "steps/s"))
    say("in the workbench", spread(screen, "steps/s"))
    say("workbench over headless", paired_ratio(screen, headless))
    say("bytes to the terminal", spread(flow, "KB/s", 1e-3))


def keys_while_training(runs: str, steps: int, name: str, bandwidth: float | None = None) -> None:
    command = [*TINYTUI, "--runs", runs, "train", *TRAIN, "--name", name, "--steps", str(steps * 4), *QUIET, "--tui"]
    with Terminal(command, bandwidth=bandwidth) as terminal:
        terminal.wait("training", 60)
        terminal.pump(2.0)
        terminal.key("p")  # the prompt
        terminal.pump(0.5)
        waits, typed = [], ""
        for i in range(60):
            typed += "qzxjkvwy"[(i * 5 + i // 8) % 8]
            press(terminal, typed[-1])
            waits.append(shown(terminal, lambda text, tail=typed[-12:]: tail in text, 5.0))
            terminal.pump(0.07)
        p50, p95 = percentile(waits, 0.5) * 1000, percentile(waits, 0.95) * 1000
        say(
            f"key to screen while training, {name}",
            f"p50 {p50:.0f} ms  p95 {p95:.0f} ms  max {max(waits) * 1000:.0f} ms",
        )


def idle(runs: str) -> None:
    with Terminal([*TINYTUI, "--runs", runs, "open", "headless-0"]) as terminal:
        terminal.wait("finished")
        terminal.pump(3.0)
        before = terminal.bytes
        terminal.pump(10.0)
        say("idle", f"{(terminal.bytes - before) / 10:.0f} bytes/s")


def memory(runs: str, minutes: float) -> None:
    """What the process grows by, after a first minute in which everything has been shown once."""
    command = [*TINYTUI, "--runs", runs, "train", *TRAIN, "--steps", "10000000", "--name", "long", "--tui"]
    with Terminal(command) as terminal:
        terminal.wait("training", 60)
        process = psutil.Process(terminal.pid)
        held = []
        for _ in range(max(2, round(minutes))):
            until = time.monotonic() + 60
            while (left := until - time.monotonic()) > 0:
                terminal.pump(min(0.25, left))
                terminal.raw.clear()
            held.append(process.memory_info().rss)
        records = sum(1 for _ in (Path(runs) / "long" / "metrics.jsonl").open())
        say("resident after the first minute", f"{held[0] / 1e6:.1f} MB")
        say(f"more after {len(held)} minutes", f"{(held[-1] - held[0]) / 1e6:+.1f} MB; {records:,} records")
        say("minute by minute", " ".join(f"{value / 1e6:.0f}" for value in held))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--minutes", type=float, help="watch the memory of a workbench that trains, for so long")
    options = parser.parse_args()
    print(describe())
    with tempfile.TemporaryDirectory() as runs:
        if options.minutes:
            memory(runs, options.minutes)
            return
        start_up(runs)
        against_headless(runs, options.rounds, options.steps)
        keys_while_training(runs, options.steps, "local")
        keys_while_training(runs, options.steps, "30-KB-link", 30_000)
        idle(runs)


if __name__ == "__main__":
    main()
