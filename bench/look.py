"""What it costs to look into a model: bars that follow a slider, losses of a text, attention, the lens.

    python -m bench.look [--rounds 30]

Bars are of GPT-2's vocabulary of 50,257 with logits that fall as words do (Zipf), with a thread that multiplies
matrices beside them and without. Losses, attention and lens are of presets `nano` and `gptiny` with random weights.
"""

from __future__ import annotations

import argparse
import statistics
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
import torch

from bench.machine import LETTERS, describe, interleaved, paired_ratio, percentile, say, spread
from engine.inspect.layers import attention_maps, logit_lens
from engine.inspect.losses import text_losses, worst_passages
from engine.model import build_model
from engine.preset_files import load_preset
from engine.sampling.decode import for_decoding
from engine.sampling.distribution import distribution
from engine.sampling.generate import generate
from engine.sampling.kept import KeptLogits, TopLogits
from engine.sampling.settings import SamplingSettings
from engine.tokenizers.char import CharTokenizer

VOCAB = 50_257
SLIDERS = (
    SamplingSettings(),
    SamplingSettings(top_k=40),
    SamplingSettings(temperature=1.2, top_p=0.9),
    SamplingSettings(temperature=1.0, top_p=0.999),
    SamplingSettings(temperature=0.9, top_k=20_000, top_p=0.95, min_p=0.01, repetition_penalty=1.2),
)


@contextmanager
def beside(busy: bool) -> Iterator[None]:
    """With `busy`, another thread multiplies matrices all the while, with as many threads as training takes."""
    over = threading.Event()

    def work() -> None:
        a = torch.randn(512, 512)
        while not over.is_set():
            torch.mm(a, a)

    thread = threading.Thread(target=work)
    if busy:
        thread.start()
    try:
        yield
    finally:
        over.set()
        if busy:
            thread.join()


def timed(work: Callable[[], object], rounds: int) -> list[float]:
    work()
    return interleaved({"": work}, rounds)[""]


def own_time(work: Callable[[], object], rounds: int) -> list[float]:
    """Seconds that this thread computes, whatever else the machine does."""
    seconds = []
    for _ in range(rounds):
        began = time.thread_time()
        work()
        seconds.append(time.thread_time() - began)
    return seconds


def bars(rounds: int) -> None:
    ranks = torch.randperm(VOCAB, generator=torch.Generator().manual_seed(1)) + 1
    logits = -1.1 * ranks.float().log() + 6
    history = torch.randint(VOCAB, (500,), generator=torch.Generator().manual_seed(2)).tolist()
    top = TopLogits.of(logits, 1024)
    for busy in (False, True):
        with beside(busy):
            for settings in SLIDERS:
                seconds = timed(lambda s=settings: distribution(logits, s, history, taken=1), rounds)
                own = statistics.median(own_time(lambda s=settings: distribution(logits, s, history, taken=1), rounds))
                worst = f"p95 {percentile(seconds, 0.95) * 1e3:.2f} ms; computing {own * 1e3:.2f} ms"
                say(
                    f"bars, {settings.describe()}{', beside work' if busy else ''}",
                    f"{spread(seconds, 'ms', 1e3)}, {worst}",
                )
    seconds = timed(lambda: distribution(top, SLIDERS[2], history, taken=1), rounds)
    say("bars, 1,024 likeliest of a living run", spread(seconds, "ms", 1e3))
    say("such logits as a message", f"{len(str(top.to_dict())):,} bytes a token")


def keeping(rounds: int) -> None:
    config = load_preset("nano")
    tokenizer = CharTokenizer(LETTERS)
    model = for_decoding(build_model(config.model, tokenizer.vocab_size))
    settings = SamplingSettings(seed=1, max_tokens=200)
    works: dict[str, Callable[[], object]] = {
        "without": lambda: list(generate(model, tokenizer, "\n", settings)),
        "keeping": lambda: list(generate(model, tokenizer, "\n", settings, keep=KeptLogits())),
    }
    for work in works.values():
        work()
    seconds = interleaved(works, max(5, rounds // 3))
    say("writing 200 tokens with nano", spread(seconds["without"], "ms", 1e3))
    say(
        "the same, logits kept",
        f"{spread(seconds['keeping'], 'ms', 1e3)}, {paired_ratio(seconds['keeping'], seconds['without'])}",
    )


def inside(preset: str) -> None:
    config = load_preset(preset)
    model = build_model(config.model, len(LETTERS)).eval()
    ids = np.random.default_rng(1).integers(0, len(LETTERS), 20_001).astype(np.uint16)
    began = time.perf_counter()
    found = text_losses(model, ids[:10_001])
    next(found)
    first = time.perf_counter() - began
    tokens = sum(map(len, found))
    say(
        f"losses of 10,000 tokens, {preset}",
        f"{time.perf_counter() - began:.2f} s, the first after {first * 1e3:.0f} ms",
    )
    assert tokens > 9_000
    began = time.perf_counter()
    *_, worst = worst_passages(model, ids)
    say(f"worst passages, {preset}", f"{worst.looked_at / (time.perf_counter() - began):,.0f} tokens/s")
    say(f"attention maps, {preset}", spread(timed(lambda: attention_maps(model, ids[:256]), 5), "ms", 1e3))
    say(f"lens, {preset}", spread(timed(lambda: logit_lens(model, ids[:256]), 5), "ms", 1e3))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=30)
    rounds = parser.parse_args().rounds
    print(describe())
    bars(rounds)
    keeping(rounds)
    for preset in ("nano", "gptiny"):
        inside(preset)


if __name__ == "__main__":
    main()
