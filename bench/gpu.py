"""Everything that is hoped for of a GPU, in one run: rates, steps, decoding, time to a loss, memory.

    python -m bench.gpu [TINYSHAKESPEARE.TXT] [--presets nanogpt-char,small] [--seconds 4] [--rounds 2] [--skip-gpt2]

First what the device can do: a large bf16 matrix product and a copy, on random data. Then the training step as it is
and compiled, its tokens a second and the share of the matrix rate that its floating-point operations make; writing with
the 10.65 million parameters of preset nanogpt-char, alone and beside training; and, with a text, whole `tinytui train`
processes until the validation loss is at 1.4697 or below, nanoGPT's figure for that preset: the first with nothing
compiled before, the others with what it left.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch

from bench.machine import LETTERS, describe, say, spread
from engine.config import Config
from engine.errors import RunError
from engine.model import build_for, build_model, sizes
from engine.model.sizes import count_parameters, flops_per_token
from engine.plan.measure import made_up, time_steps
from engine.preset_files import load_preset
from engine.sampling.generate import Done, generate
from engine.sampling.settings import SamplingSettings
from engine.tokenizers.char import CharTokenizer
from engine.tokenizers.dataset import TokenDataset
from engine.training.compile import compile_step
from engine.training.device import set_matmul_precision
from engine.training.live import LivePrompter, LiveWeights
from engine.training.precision import settled
from engine.training.step import TrainStep, make_step

TARGET = 1.4697  # nats a character: the best validation loss in nanoGPT's README, on one A100
GPT2_TOKENS = 50257
HOPED = {"seconds": 8.0, "share": 0.45, "decode": 2000.0}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("text", nargs="?", help="tinyshakespeare as a text file")
    parser.add_argument("--presets", default="nanogpt-char,small", help="of about 10 million parameters")
    parser.add_argument("--seconds", type=float, default=4.0, help="for each figure")
    parser.add_argument("--rounds", type=int, default=2, help="whole trainings of each preset")
    parser.add_argument("--skip-gpt2", action="store_true")
    options = parser.parse_args()
    if not torch.cuda.is_available():
        raise SystemExit(
            "no CUDA device here: run this where there is an NVIDIA GPU and PyTorch for it (tinytui doctor)"
        )
    device = torch.device("cuda", 0)
    presets = options.presets.split(",")
    print(f"{torch.cuda.get_device_name(device)}; {describe()}")
    with tempfile.TemporaryDirectory() as folder:
        os.environ["TINYTUI_CACHE"] = f"{folder}/cache"
        rate = matrix_rate(device)
        say("bf16 matrix product, 8192 cubed", f"{rate / 1e12:.0f} TFLOP/s")
        say("copy, read and written", f"{copy_rate(device) / 1e12:.2f} TB/s")
        for preset in presets:
            config = load_preset(preset)
            steps(preset, config, made_up(config, len(LETTERS), device), device, rate, options.seconds)
        if not options.skip_gpt2:
            pieces = sizes.LOGITS_BYTES  # of which each is computed once more in the backward pass
            for multiple, at_once in ((1, pieces), (64, pieces), (64, 1 << 40)):
                config = load_preset("gpt2").replace({"model.vocab_multiple": multiple})
                dataset, sizes.LOGITS_BYTES = made_up(config, GPT2_TOKENS, device), at_once
                whole = "" if at_once == pieces else ", logits whole"
                steps(f"gpt2, vocabulary x{multiple}{whole}", config, dataset, device, rate, options.seconds)
            say("hoped for: gpt2", f"at least {HOPED['share']:.0%} of the matrix rate")
        writing(device, options.seconds)
        beside(presets[0], device, options.seconds)
        for preset in presets if options.text else []:
            for turn in range(options.rounds):
                how = "compiled before" if turn else "nothing compiled before"
                train(preset, options.text, how, device, Path(folder))


# -- what the device can do ------------------------------------------------------------------------------------------


def timed(work: Callable[[], object], rounds: int = 20) -> float:
    """Median seconds of the device for `work`, by its own clock, after a warm-up."""
    for _ in range(3):
        work()
    seconds: list[float] = []
    for _ in range(rounds):
        begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))  # type: ignore[no-untyped-call]
        begin.record()
        work()
        end.record()
        end.synchronize()
        seconds.append(begin.elapsed_time(end) / 1000)
    return statistics.median(seconds)


def matrix_rate(device: torch.device, size: int = 8192) -> float:
    """Floating-point operations a second of a bf16 product of random square matrices."""
    a, b = (torch.randn(size, size, device=device, dtype=torch.bfloat16) for _ in range(2))
    return float(2 * size**3 / timed(lambda: a @ b))


def copy_rate(device: torch.device, gigabytes: int = 4) -> float:
    """Bytes a second read and written by a copy of random data."""
    source = torch.randn(gigabytes << 28, device=device)
    target = torch.empty_like(source)
    return 2 * source.nbytes / timed(lambda: target.copy_(source))


# -- the training step -----------------------------------------------------------------------------------------------


def forms(take_step: TrainStep) -> Iterator[tuple[str, str]]:
    """The step as it is, then compiled: (its name, what went wrong or how long it took)."""
    yield "plain", ""
    began = time.perf_counter()
    found = compile_step(take_step, 0)
    yield ("compiled", f"made in {time.perf_counter() - began:.1f} s") if found.on else ("NOT compiled", found.why)


def steps(title: str, config: Config, dataset: TokenDataset, device: torch.device, rate: float, seconds: float) -> None:
    """Speed and memory of both forms of the step."""
    config, _ = settled(config, dataset, device)
    set_matmul_precision(config.train.precision)
    operations = flops_per_token(config.model, dataset.tokenizer.vocab_size) * config.tokens_per_step
    take_step = make_step(config, dataset, device)
    params = count_parameters(config.model, dataset.tokenizer.vocab_size)
    say(title, f"{params:,} parameters, {config.tokens_per_step:,} tokens a step in {config.train.precision}")
    for name, note in forms(take_step):
        torch.cuda.reset_peak_memory_stats(device)
        each = time_steps(take_step, seconds)
        share, memory = operations / each / rate, torch.cuda.max_memory_allocated(device) / 2**30
        figures = f"{1000 * each:.2f} ms, {1 / each:.1f} steps/s, {config.tokens_per_step / each:,.0f} tok/s"
        say(f"  {name}", f"{figures}, {share:.1%} of the matrix rate, {memory:.2f} GiB  {note}")


# -- writing ---------------------------------------------------------------------------------------------------------

SETTINGS = SamplingSettings(temperature=0.8, top_k=40, max_tokens=250, seed=0)


def writing(device: torch.device, seconds: float) -> None:
    """Tokens a second of one text."""
    tokenizer = CharTokenizer(LETTERS)
    config = load_preset("nanogpt-char")
    model = build_model(config.model, tokenizer.vocab_size).to(device).eval()
    rates: list[float] = []
    began = time.perf_counter()
    while len(rates) < 4 or time.perf_counter() - began < seconds:
        pieces = generate(model, tokenizer, "\n", SETTINGS)
        rates += [piece.tokens_per_second for piece in pieces if isinstance(piece, Done)]
    say("writing, 10.65M, batch 1", spread(rates[1:], "tok/s"))
    say("hoped for: writing", f"at least {HOPED['decode']:,.0f} tok/s")


def beside(preset: str, device: torch.device, seconds: float) -> None:
    """A prompt to the model in training: what either costs the other."""
    config = load_preset(preset).replace({"train.compile": False})
    dataset = made_up(config, len(LETTERS), device)
    take_step, live = make_step(settled(config, dataset, device)[0], dataset, device), LiveWeights()
    alone = time_steps(take_step, seconds)
    vocab_size = dataset.tokenizer.vocab_size
    prompter = LivePrompter(live, lambda: build_for(config, vocab_size).to(device).eval(), dataset.tokenizer)
    rates: list[float] = []
    over = threading.Event()

    def prompt() -> None:
        while not over.is_set():
            with suppress(RunError):  # training has ended
                for said in prompter({"prompt": "", "settings": SETTINGS.to_dict()}, over.is_set):
                    if "done" in said and not over.is_set():
                        rates.append(said["done"]["tokens_per_second"])

    thread = threading.Thread(target=prompt)
    thread.start()
    try:
        together = time_steps(take_step, 2 * seconds, lambda done: live.serve(0, take_step.optimizer.weights))
    finally:
        over.set()
        live.end()
        thread.join()
    say(f"{preset} while prompted", f"{1000 * together:.2f} ms a step (alone {1000 * alone:.2f})")
    say("writing beside training", spread(rates, "tok/s") if rates else "no text was finished")


# -- time to a loss --------------------------------------------------------------------------------------------------


def train(preset: str, text: str, how: str, device: torch.device, folder: Path) -> None:
    """A whole training process, its time to the target and its best loss."""
    command = [sys.executable, "-m", "tui.cli", "--runs", f"{folder}/runs", "train", text]
    command += ["--preset", preset, "--device", str(device), "--json"]
    began = time.perf_counter()
    reached, said, best, steps_a_second = "", "", (float("inf"), 0), 0.0
    env = os.environ | {"PYTHONUNBUFFERED": "1"}  # a record comes when it is written
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=env) as process:
        assert process.stdout is not None
        for line in process.stdout:
            record: dict[str, Any] = json.loads(line) if line.startswith("{") else {}
            said = said if record else line.strip() or said
            if record.get("type") != "eval":
                continue
            seconds, step, loss = record["time_s"], record["step"], record["val_loss"]
            best, steps_a_second = min(best, (loss, step)), step / seconds
            if loss <= TARGET and not reached:
                reached = f"{time.perf_counter() - began:.1f} s, {seconds:.1f} s of them training, {step:,} steps"
    if process.returncode:
        raise SystemExit(said)
    whole = time.perf_counter() - began
    say(f"{preset} to val {TARGET}, {how}", reached or f"NOT reached (hoped for: {HOPED['seconds']:.0f} s)")
    say("  best val loss", f"{best[0]:.4f} at step {best[1]:,}; {whole:.1f} s in all, {steps_a_second:.0f} steps/s")


if __name__ == "__main__":
    main()
