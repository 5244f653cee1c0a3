"""Tokens a second of writing, batch 1, against transformers' generate with its cache and nanoGPT's generate.

    python -m bench.decode [--preset nanogpt-char] [--nanogpt CHECKOUT] [--rounds 7] [--tokens 200]

Random weights of the preset's shape (nanogpt-char: 10.65 million parameters without positions, 65 characters; gpt2:
124 million, 50,257 tokens), in float32 and with 8-bit weights; temperature 0.8, top-k 40. transformers has the same
weights, exported by us, and its logits are checked to be equal. Also the bound set by memory: every weight is read once
a token; and how much later than the others the first token of a process comes.
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
from bench.machine import describe, interleaved, paired_ratio, say
from engine.config import Config
from engine.interop.exports import export
from engine.model import build_model
from engine.model.gpt import GPT
from engine.plan.int8 import to_int8
from engine.plan.measure import made_up
from engine.preset_files import load_preset
from engine.sampling.decode import for_decoding
from engine.sampling.generate import Piece, generate
from engine.sampling.settings import SamplingSettings
from engine.tokenizers.base import Tokenizer

VOCABULARIES = {"gpt2": 50_257}
CHARACTERS = 65


def from_transformers(model: GPT, folder: Path) -> Any:
    """The same weights as transformers loads them."""
    from transformers import AutoModelForCausalLM
    from transformers.utils import logging

    logging.disable_progress_bar()
    export(model, None, folder)
    theirs = AutoModelForCausalLM.from_pretrained(folder).eval()
    ids = torch.randint(model.vocab_size, (1, 64), generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        apart = float((theirs(ids).logits - model(ids)).abs().max())
    if apart > 1e-3:
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


def first_token(model: GPT, tokenizer: Tokenizer, settings: SamplingSettings) -> str:
    """How much later than the median of the others the first token of this process comes."""
    times: list[float] = []
    before = time.perf_counter()
    for piece in generate(model, tokenizer, [0], settings):
        if isinstance(piece, Piece):
            times.append(time.perf_counter() - before)
        before = time.perf_counter()
    late = times[0] - statistics.median(times[1:])
    return f"{1000 * late:.1f} ms later than the others ({1000 * statistics.median(times[1:]):.2f} ms each)"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--preset", default="nanogpt-char")
    parser.add_argument("--nanogpt", type=Path, help="a checkout of nanoGPT")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--tokens", type=int, default=200)
    options = parser.parse_args()
    print(describe())
    config: Config = load_preset(options.preset).replace({"model.dropout": 0.0})
    vocabulary = VOCABULARIES.get(options.preset, CHARACTERS)
    tokenizer = made_up(config, vocabulary, torch.device("cpu")).tokenizer
    model = build_model(config.model, vocabulary).eval()
    settings = SamplingSettings(temperature=0.8, top_k=40, max_tokens=options.tokens, seed=0)
    ours = for_decoding(copy.deepcopy(model))  # as load_model gives it
    say("the first token", first_token(ours, tokenizer, settings))
    small = to_int8(copy.deepcopy(model))
    works: dict[str, Callable[[], object]] = {
        "tinytui": lambda: list(generate(ours, tokenizer, [0], settings)),
        "tinytui, int8": lambda: list(generate(small, tokenizer, [0], settings)),
    }
    first = torch.tensor([[0]])
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
        peer = nanogpt.build(options.nanogpt, config, vocabulary).eval()
        works["nanoGPT"] = lambda: peer.generate(first, options.tokens, temperature=0.8, top_k=40)
    for work in works.values():  # warm up
        work()
    seconds = interleaved(works, options.rounds)
    for name, values in seconds.items():
        rates = [options.tokens / value for value in values]
        say(name, f"{statistics.median(rates):.0f} tok/s ({min(rates):.0f} to {max(rates):.0f})")
    for mine in list(seconds)[:2]:
        for name in list(seconds)[2:]:
            say(f"{mine} over {name}", paired_ratio(seconds[name], seconds[mine]))
    bandwidth, weights = copy_bandwidth(), bytes_a_token(model)
    bound = bandwidth / weights
    rate = options.tokens / statistics.median(seconds["tinytui"])
    say("bound by memory", f"{bound:.0f} tok/s: {weights / 1e6:.1f} MB a token at {bandwidth / 1e9:.1f} GB/s (copy)")
    say("tinytui over the bound", f"{rate / bound:.2f}  (above 1 where the weights stay in the CPU's cache)")


if __name__ == "__main__":
    main()
