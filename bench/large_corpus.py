"""A text larger than memory should train: speed of tokenizing, and the most memory ever held.

    python -m bench.large_corpus [--gigabytes 1] [--tokenizer char] [--folder /somewhere/large] [--rounds 1]

Writes a text of that size, tokenizes it in one process, and trains a tiny model on it for 20 steps in another. The
folder needs about four times the size free for a character tokenizer (the text, and two bytes a token).
"""

from __future__ import annotations

import argparse
import json
import os
import random
import string
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import psutil

from bench.machine import describe, say, spread

TINY = ["n_layer=2", "n_head=2", "n_embd=64", "block_size=64"]
VAL_BYTES = 200_000  # of text kept for validation, so that the exact evaluation stays short
BLOCK = 8_000_000


def write_text(path: Path, size: int) -> None:
    """Lines of made-up words, `size` bytes: shuffled blocks of one large piece, for speed."""
    draw = random.Random(0)
    words = ["".join(draw.choices(string.ascii_lowercase, k=draw.randint(2, 9))) for _ in range(20_000)]
    piece = " ".join(draw.choices(words, k=BLOCK // 5))
    lines = [piece[i : i + 80] for i in range(0, len(piece), 80)]
    left = size
    with path.open("w", encoding="ascii") as file:
        while left > 0:
            draw.shuffle(lines)
            block = ("\n".join(lines) + "\n")[:left]
            file.write(block)
            left -= len(block)


class Peak:
    """The most memory a process and all it started hold together, looked at every 20 ms.

    Resident memory counts pages of mapped files, and pages that two processes share twice: it is an upper bound.
    """

    def __init__(self, pid: int) -> None:
        self.bytes, self._root, self._over = 0, psutil.Process(pid), threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def _watch(self) -> None:
        while not self._over.wait(0.02):
            try:
                everyone = [self._root, *self._root.children(recursive=True)]
                self.bytes = max(self.bytes, sum(process.memory_info().rss for process in everyone))
            except psutil.Error:
                continue

    def end(self) -> int:
        self._over.set()
        self._thread.join()
        return self.bytes


def watched(command: list[str], cache: Path) -> tuple[float, int, str]:
    """(seconds, most bytes of memory, what it printed)."""
    began = time.perf_counter()
    process = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"TINYTUI_CACHE": str(cache)},
    )
    peak = Peak(process.pid)
    printed, error = process.communicate()
    most = peak.end()
    if process.returncode:
        raise SystemExit(error.strip())
    return time.perf_counter() - began, most, printed


def tokenize_here(path: str, tokenizer: str, val_fraction: float) -> None:
    """Prints how long the look at the file and the tokenizing took."""
    from engine.preset_files import load_preset
    from engine.text.catalog import find_corpus
    from engine.tokenizers.dataset import TokenDataset

    data = load_preset("nano").data.model_copy(update={"tokenizer": tokenizer, "val_fraction": val_fraction})
    began = time.perf_counter()
    text = find_corpus(path).prepare()
    looked = time.perf_counter() - began
    dataset = TokenDataset.open(text, data)
    seconds = time.perf_counter() - began
    print(json.dumps({"check": looked, "seconds": seconds, "tokens": len(dataset.train) + len(dataset.val)}))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gigabytes", type=float, default=1.0)
    parser.add_argument("--tokenizer", choices=("char", "byte", "bpe", "word"), default="char")
    parser.add_argument("--folder", type=Path, help="where the text and its tokens are written; unset: a temporary one")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--tokenize", nargs=2, metavar=("FILE", "FRACTION"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.tokenize:
        tokenize_here(options.tokenize[0], options.tokenizer, float(options.tokenize[1]))
        return
    print(describe())
    rates: list[float] = []
    tokenizing: list[float] = []
    starting: list[float] = []
    training: list[float] = []
    for _ in range(options.rounds):
        with tempfile.TemporaryDirectory(dir=options.folder) as name:
            folder = Path(name)
            path = folder / "large.txt"
            write_text(path, int(options.gigabytes * 1e9))
            size = path.stat().st_size
            fraction = f"{min(0.1, VAL_BYTES / size):.9f}"
            here = [sys.executable, "-m", "bench.large_corpus", "--tokenizer", options.tokenizer]
            _, most, printed = watched([*here, "--tokenize", str(path), fraction], folder / "cache")
            told = json.loads(printed)
            rates.append(size / told["seconds"])
            tokenizing.append(most)
            sets = [f"model.{setting}" for setting in TINY]
            sets += [f"data.tokenizer={options.tokenizer}", f"data.val_fraction={fraction}", "train.batch_size=4"]
            command = [sys.executable, "-m", "tui.cli", "--runs", str(folder / "runs"), "train", str(path), "--json"]
            command += ["--steps", "20", *(part for setting in sets for part in ("--set", setting))]
            seconds, most, _ = watched(command, folder / "cache")
            starting.append(seconds)
            training.append(most)
    say("text", f"{size / 1e9:.2f} GB, {told['tokens']:,} tokens")
    say(f"tokenizing ({options.tokenizer}), with its check", spread(rates, "MB/s", 1e-6))
    say("tokenizing, most memory", spread(tokenizing, "MB", 1e-6))
    say("20 steps on it, whole process", spread(starting))
    say("training, most memory", spread(training, "MB", 1e-6))


if __name__ == "__main__":
    main()
