"""Tokens a second of writing, batch 1, against transformers' generate with its cache and nanoGPT's generate.

    python -m bench.decode [--nanogpt CHECKOUT] [--rounds 7] [--tokens 200]

The model is preset nanogpt-char (10.65 million parameters without positions), random weights, 65 characters;
temperature 0.8, top-k 40. transformers has the same weights, exported by us, and its logits are checked to be equal.
Also the bound set by memory: every weight is read once a token.
"""

from __future__ import annotations

import argparse
import copy
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from bench import nanogpt
from bench.machine import LETTERS, describe, interleaved, paired_ratio, say
from engine.config import load_preset
from engine.interop.hf import export
from engine.model import build_model
from engine.model.gpt import GPT
from engine.sampling.generate import generate
from engine.sampling.one_row import for_decoding
from engine.sampling.settings import SamplingSettings
from engine.tokenizers.char import CharTokenizer

CONFIG = load_preset("nanogpt-char").replace({"model.dropout": 0.0})
START = "\n"


def from_transformers(model: GPT, folder: Path) -> Any:
    """The same weights as transformers loads them."""
    from transformers import AutoModelForCausalLM
    from transformers.utils import logging

    logging.disable_progress_bar()
    export(model, None, folder)
    theirs = AutoModelForCausalLM.from_pretrained(folder).eval()
    ids = torch.randint(65, (1, 64), generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        apart = float((theirs(ids).logits - model(ids)).abs().max())
    if apart > 1e-4:
        raise SystemExit(f"the exported model is not the same: its logits differ by {apart}")
    return theirs


def copy_bandwidth(megabytes: int = 256) -> float:
    """Bytes a second read and written by a copy, best of several."""
    source = torch.ones(megabytes << 18)
    target = torch.empty_like(source)
    best = 0.0
    for _ in range(8):
        began = time.perf_counter()
        target.copy_(source)
        best = max(best, 2 * source.nbytes / (time.perf_counter() - began))
    return best


def bytes_a_token(model: GPT) -> int:
    """Weights read for one token: all but the position table, of which it is one row."""
    return sum(p.nbytes for name, p in model.named_parameters() if not name.startswith("wpe."))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nanogpt", type=Path, help="a checkout of nanoGPT")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--tokens", type=int, default=200)
    options = parser.parse_args()
    print(describe())
    tokenizer = CharTokenizer(LETTERS)
    model = build_model(CONFIG.model, tokenizer.vocab_size).eval()
    settings = SamplingSettings(temperature=0.8, top_k=40, max_tokens=options.tokens, seed=0)
    ours = for_decoding(copy.deepcopy(model))  # as load_model gives it
    works: dict[str, Callable[[], object]] = {"tinytui": lambda: list(generate(ours, tokenizer, START, settings))}
    first = torch.tensor([tokenizer.encode(START).tolist()])
    with tempfile.TemporaryDirectory() as folder:
        theirs = from_transformers(model, Path(folder))
    works["transformers"] = lambda: theirs.generate(
        first,
        attention_mask=torch.ones_like(first),
        do_sample=True,
        temperature=0.8,
        top_k=40,
        max_new_tokens=options.tokens,
        min_new_tokens=options.tokens,
        use_cache=True,
        pad_token_id=0,
    )
    if options.nanogpt:
        peer = nanogpt.build(options.nanogpt, CONFIG, tokenizer.vocab_size).eval()
        works["nanoGPT"] = lambda: peer.generate(first, options.tokens, temperature=0.8, top_k=40)
    for work in works.values():  # warm up
        work()
    seconds = interleaved(works, options.rounds)
    for name, values in seconds.items():
        rates = [options.tokens / value for value in values]
        say(name, f"{statistics.median(rates):.0f} tok/s ({min(rates):.0f} to {max(rates):.0f})")
    for name in list(seconds)[1:]:
        say(f"tinytui over {name}", paired_ratio(seconds[name], seconds["tinytui"]))
    bandwidth, weights = copy_bandwidth(), bytes_a_token(model)
    bound = bandwidth / weights
    ours = options.tokens / statistics.median(seconds["tinytui"])
    say("bound by memory", f"{bound:.0f} tok/s: {weights / 1e6:.1f} MB a token at {bandwidth / 1e9:.1f} GB/s (copy)")
    say("tinytui over the bound", f"{ours / bound:.2f}  (above 1 where the weights stay in the CPU's cache)")


if __name__ == "__main__":
    main()
