"""Megabytes a second of each tokenizer, on the source code of this Python's standard library or a file.

    python -m bench.tokenize [--file TEXT] [--rounds 3] [--vocab 4096]

`encode` is one process, from a text in memory to ids; `stream` is what training does, from the file with helping
processes where they pay. BPE is compared with the library `tokenizers`, which holds its trained merges: its
`encode_batch` on the same text, line by line, on all cores. All begin anew each round, with nothing remembered.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bench.machine import describe, interleaved, paired_ratio, say
from engine.preset_files import load_preset
from engine.text.catalog import find_corpus
from engine.text.corpus import Text
from engine.tokenizers.base import Tokenizer
from engine.tokenizers.bpe import BpeTokenizer
from engine.tokenizers.encoding import encode_stream
from engine.tokenizers.table import tokenizer_from_dict, train_tokenizer

KINDS = ("char", "byte", "bpe", "word")


def in_memory(tokenizer: Tokenizer, text: str) -> Callable[[], object]:
    tree = tokenizer.to_dict()
    return lambda: tokenizer_from_dict(tree).encode(text)


def streamed(tokenizer: Tokenizer, text: Text) -> Callable[[], object]:
    tree = tokenizer.to_dict()

    def work() -> int:
        return sum(len(ids) for ids, _ in encode_stream(tokenizer_from_dict(tree), text, 0, text.n_bytes))

    return work


def by_library(tokenizer: BpeTokenizer, lines: list[str]) -> Callable[[], object]:
    """`tokenizers` itself; its memory of words is emptied by making it anew from JSON."""
    from tokenizers import Tokenizer as Backend

    saved = tokenizer.backend.to_str()

    def work() -> Any:
        return Backend.from_str(saved).encode_batch(lines, add_special_tokens=False)

    return work


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--file", type=Path)
    parser.add_argument("--vocab", type=int, default=4096, help="vocabulary of bpe and word")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    print(describe())
    with tempfile.TemporaryDirectory() as cache:
        text = find_corpus(str(options.file) if options.file else "python-stdlib").prepare(Path(cache))
        whole = "".join(text.chunks())
        data = load_preset("nano").data
        works: dict[str, Callable[[], object]] = {}
        for kind in KINDS:
            asked = data.model_copy(update={"tokenizer": kind, "vocab_size": options.vocab})
            tokenizer = train_tokenizer(asked, text, text.split(data.val_fraction))
            works[f"{kind}, encode"] = in_memory(tokenizer, whole)
            works[f"{kind}, stream"] = streamed(tokenizer, text)
            if isinstance(tokenizer, BpeTokenizer):
                works["bpe, tokenizers"] = by_library(tokenizer, whole.splitlines(keepends=True))
        for work in works.values():  # warm up: memory, and the code of helping processes
            work()
        seconds = interleaved(works, options.rounds)
    megabytes = text.n_bytes / 1e6
    say("text", f"{megabytes:.1f} MB, {len(whole):,} characters, vocabulary of bpe and word {options.vocab:,}")
    for name, values in seconds.items():
        rates = sorted(megabytes / value for value in values)
        say(name, f"{rates[len(rates) // 2]:.1f} MB/s ({rates[0]:.1f} to {rates[-1]:.1f})")
    for ours in ("bpe, encode", "bpe, stream"):
        say(f"{ours} over tokenizers", paired_ratio(seconds["bpe, tokenizers"], seconds[ours]))


if __name__ == "__main__":
    main()
