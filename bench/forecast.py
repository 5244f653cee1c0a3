"""The forecast against the run: seconds a step, seconds in all, memory and epochs, told before and measured after.

    python -m bench.forecast [--presets nano,nanogpt-char-cpu,titan] [--steps 200] [--rounds 3] [--corpus soap-notes]

A round is what the new-run form does (a few steps on random tokens in a process of its own, and the size of the corpus'
file), then `tinytui train` with the same settings in another process. A ratio of 1 is a perfect forecast; the worst of
each preset's figures is said at the end.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

from bench.machine import describe, say
from engine.config import Config
from engine.plan.forecast import Forecast, forecast
from engine.plan.pace import Measuring, Pace
from engine.preset_files import load_preset
from engine.text.catalog import find_corpus
from engine.tokenizers.table import expected_tokens, expected_vocab

FIGURES = {"step": ("ms", 1000.0), "run": ("s", 1.0), "memory": ("MiB", 2.0**-20), "epochs": ("epochs", 1.0)}


def pace_of(config: Config, vocab_size: int, device: str) -> Pace:
    """The pace as a form has it measured."""
    measuring = Measuring(config, vocab_size, device)
    while measuring.alive:
        time.sleep(0.1)
    if not isinstance(measuring.found, Pace):
        raise SystemExit(measuring.found)
    return measuring.found


def foretell(config: Config, corpus: str, device: str) -> Forecast:
    """What the form would say."""
    vocab_size = expected_vocab(config.data)
    tokens, val_tokens = expected_tokens(find_corpus(corpus).path.stat().st_size, config.data)
    told = forecast(config, vocab_size, tokens, gpu=device.startswith("cuda"), val_tokens=val_tokens)
    return replace(told, pace=pace_of(config, vocab_size, device))


def figures_of(told: Forecast) -> dict[str, float]:
    assert told.pace is not None and told.run_seconds is not None and told.epochs is not None
    return {"step": told.pace.step_seconds, "run": told.run_seconds, "memory": told.memory, "epochs": told.epochs}


def train(preset: str, corpus: str, steps: int, device: str, runs: Path, name: str) -> dict[str, float]:
    """The same figures of a real run, from its own records."""
    command = [sys.executable, "-m", "tui.cli", "--runs", str(runs), "train", corpus, "--preset", preset]
    command += ["--steps", str(steps), "--name", name, "--device", device, "--json"]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    run = runs / name
    status, info = (json.loads((run / part).read_text()) for part in ("status.json", "run.json"))
    events = [json.loads(line) for line in (run / "events.jsonl").read_text().splitlines()]
    at = {event["kind"]: event["time"] for event in events}
    return {
        "step": status["train_seconds"] / status["step"],
        "run": at["finished"] - at["started"],
        "memory": sum(status["memory"].values()),
        "epochs": status["tokens"] / info["corpus"]["train_tokens"],
    }


def compare(preset: str, options: argparse.Namespace, runs: Path) -> float:
    """Print a preset's figures; how far the worst of them is from the run's, in the median round."""
    config = load_preset(preset).replace({"train.max_steps": options.steps})
    told, found = [], []
    for number in range(options.rounds):
        told.append(figures_of(foretell(config, options.corpus, options.device)))
        found.append(train(preset, options.corpus, options.steps, options.device, runs, f"{preset}-{number}"))
    worst = 0.0
    for name, (unit, scale) in FIGURES.items():
        ratios = [before[name] / after[name] for before, after in zip(told, found, strict=True)]
        ratio = statistics.median(ratios)
        before, after = (statistics.median(figures[name] for figures in each) * scale for each in (told, found))
        spread = f"({min(ratios):.2f} to {max(ratios):.2f})"
        say(f"{preset} {name}", f"told {before:.4g}, was {after:.4g} {unit}: {ratio:.2f}x {spread}")
        worst = max(worst, abs(ratio - 1.0))
    return worst


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--presets", default="nano,nanogpt-char-cpu,titan", help="names, with commas")
    parser.add_argument("--steps", type=int, default=200, help="of each run")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--corpus", default="soap-notes")
    parser.add_argument("--device", default="cpu")
    options = parser.parse_args()
    print(describe())
    with tempfile.TemporaryDirectory() as folder:
        worst = {preset: compare(preset, options, Path(folder)) for preset in options.presets.split(",")}
    for preset, off in worst.items():
        say(preset, f"the worst figure is {off:.1%} off")


if __name__ == "__main__":
    main()
