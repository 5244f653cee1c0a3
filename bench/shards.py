"""Tokens made ahead: tokens a second by one process and by two, memory held, and what asking for pages ahead brings.

    python -m bench.shards [--megabytes 216] [--folder /somewhere/large] [--rounds 1] [--only prepare,cold]

Writes a JSONL of made-up documents (20,000 different words) and makes shards of it by tokenizers of three kinds.
GPT-2's own merges are used where they are on this machine, else as many of our own, which take as long. Then shards
of random ids are read as a training reads them, 16 windows of 1,024 ids every 30 ms, after the system was asked to
forget them: with and without a word of what comes next. The folder needs about ten times the size free.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from bench.large_corpus import Peak, write_text
from bench.machine import describe, percentile, say, spread
from engine.errors import TokenizerError
from engine.tokenizers.base import Tokenizer
from engine.tokenizers.bpe import BpeTokenizer
from engine.tokenizers.byte import ByteTokenizer
from engine.tokenizers.dataset import TokenDataset
from engine.tokenizers.gpt2 import SIZE, Gpt2Tokenizer, load_gpt2
from engine.tokenizers.shards import Mapped
from engine.tokenizers.table import save_tokenizer

DOCUMENT = 25  # lines of made-up words in a document
WINDOWS, LENGTH, STEPS, BETWEEN = 16, 1024, 100, 0.03


def write_documents(folder: Path, size: int) -> Path:
    """About `size` bytes of JSONL."""
    write_text(folder / "words.txt", size)
    path = folder / "documents.jsonl"
    held: list[str] = []
    with (folder / "words.txt").open(encoding="ascii") as words, path.open("w", encoding="ascii") as file:
        for line in words:
            held.append(line)
            if len(held) == DOCUMENT:
                file.write(json.dumps({"text": "".join(held)}) + "\n")
                held.clear()
    (folder / "words.txt").unlink()
    return path


def tokenizers(text: str) -> dict[str, Tokenizer]:
    """One of each kind, bpe and where it must be gpt2 learned from `text`."""
    bpe = BpeTokenizer.train([text], 32_768, ["<|endoftext|>"])
    try:
        gpt2, name = load_gpt2(), "gpt2"
    except TokenizerError:
        own = BpeTokenizer.train([text], SIZE)
        gpt2, name = Gpt2Tokenizer([own.token_bytes(id) for id in range(own.vocab_size)]), "gpt2, merges of our own"
    return {"byte": ByteTokenizer(), f"bpe, {bpe.vocab_size:,}": bpe, f"{name}, {gpt2.vocab_size:,}": gpt2}


def prepare_here(source: str, tokenizer: str, folder: str, workers: int) -> None:
    """In a process of its own: make the shards, and say what that took."""
    from engine.config import DataConfig
    from engine.tokenizers.prepare import ask_for, prepare
    from engine.tokenizers.table import load_tokenizer

    began = time.perf_counter()
    name, ask = ask_for(source, val_fraction=0.01)
    about = prepare(name, ask, Path(folder), DataConfig(), tokenizer=load_tokenizer(Path(tokenizer)), workers=workers)
    seconds = time.perf_counter() - began
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    cpu = sum(each.ru_utime + each.ru_stime for each in used)
    print(json.dumps([about.train.tokens + about.val.tokens, seconds, cpu]))


def measure_preparing(folder: Path, megabytes: int, rounds: int) -> None:
    source = write_documents(folder, megabytes * 1_000_000)
    with source.open(encoding="ascii") as file:
        text = "".join(json.loads(line)["text"] for line, _ in zip(file, range(5000), strict=False))
    say("source", f"{source.stat().st_size / 1e6:.0f} MB of JSONL, documents of {DOCUMENT * 81:,} characters")
    for kind, tokenizer in tokenizers(text).items():
        save_tokenizer(tokenizer, folder / "tokenizer.json")
        for workers in (1, 2):
            rates: list[float] = []
            costs: list[float] = []
            most = 0
            for turn in range(rounds):
                to = folder / f"made-{len(kind)}-{workers}-{turn}"
                told = [str(source), str(folder / "tokenizer.json"), str(to), str(workers)]
                command = [sys.executable, "-m", "bench.shards", "--one", *told]
                process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
                peak = Peak(process.pid)
                printed, _ = process.communicate()
                most = max(most, peak.end())
                tokens, seconds, cpu = json.loads(printed.splitlines()[-1])
                rates.append(tokens / seconds / 1e6)
                costs.append(tokens / cpu / 1e6)
                for path in to.iterdir():
                    path.unlink()
                to.rmdir()
            what = f"{kind}, {workers} process{'es' if workers > 1 else ''}"
            say(what, f"{spread(rates, 'M tokens/s')}; {spread(costs, 'M a CPU second')}; {most / 2**20:.0f} MiB")


def measure_reading(folder: Path, megabytes: int, rounds: int) -> None:
    random = np.random.default_rng(0)
    paths = [folder / f"train-{number:05d}.bin" for number in range(8)]
    for path in paths:
        ids = random.integers(0, 255, megabytes * 1_000_000 // len(paths) // 2 // 65536 * 65536, np.uint16)
        path.write_bytes(ids.tobytes())
    for ahead in (False, True) * rounds:
        for path in paths:
            with path.open("rb") as file:
                os.fsync(file.fileno())
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        maps = Mapped(paths, np.dtype("<u2"), 0)
        dataset = TokenDataset(maps.ids, maps.ids[:2], ByteTokenizer(), 0, (maps, maps))
        seconds, before = [], read_bytes()
        for step in range(STEPS):
            began = time.perf_counter()
            dataset.batch(1, step * WINDOWS, WINDOWS, LENGTH)
            if ahead:
                dataset.ahead(1, (step + 1) * WINDOWS, WINDOWS, LENGTH)
            seconds.append(time.perf_counter() - began)
            time.sleep(BETWEEN)
        figures = f"mean {sum(seconds) / STEPS * 1e3:.2f} ms, 95% under {percentile(seconds, 0.95) * 1e3:.1f} ms"
        name = "asked for ahead" if ahead else "read when needed"
        say(f"a batch of forgotten pages, {name}", f"{figures}; {(read_bytes() - before) / 1e6:.0f} MB read")


def read_bytes() -> int:
    """Bytes that this process had read from a disk."""
    for line in Path("/proc/self/io").read_text().splitlines():
        if line.startswith("read_bytes: "):
            return int(line.split()[1])
    return 0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--megabytes", type=int, default=216)
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--only", default="prepare,cold")
    parser.add_argument("--one", nargs=4, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        source, tokenizer, folder, workers = options.one
        prepare_here(source, tokenizer, folder, int(workers))
        return
    print(describe())
    with tempfile.TemporaryDirectory(dir=options.folder) as inner:
        if "prepare" in options.only:
            measure_preparing(Path(inner), options.megabytes, options.rounds)
        if "cold" in options.only:
            measure_reading(Path(inner), 8 * options.megabytes, options.rounds)


if __name__ == "__main__":
    main()
