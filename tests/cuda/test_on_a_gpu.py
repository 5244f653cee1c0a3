"""What only a GPU can show: the same run as on a CPU, in every precision, resumed, short of memory, and prompted."""

from __future__ import annotations

import json
import math
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from engine import process
from engine.config import Config
from engine.runs.layout import RunDir
from engine.runs.reader import RunReader
from engine.sampling.generate import Done, generate
from engine.sampling.settings import SamplingSettings
from engine.telemetry import devices
from engine.text.catalog import find_corpus
from engine.tokenizers.dataset import TokenDataset
from engine.training.checkpoint import load_checkpoint, load_model
from engine.training.compile import compile_step
from engine.training.device import moment, seconds_between
from engine.training.evaluate import evaluate
from engine.training.host import TrainingHost
from engine.training.live import LivePrompter, LiveWeights
from engine.training.start import resume_run, start_run
from engine.training.step import make_step

from ..engine.training.conftest import TINY, corpus, private_cache, tiny_config  # noqa: F401

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU here")
CPU, GPU = torch.device("cpu"), torch.device("cuda", 0)


@pytest.fixture
def start(tmp_path: Path, corpus: Path) -> Callable[..., RunDir]:  # noqa: F811
    def make(name: str, *sets: str, device: str = "cuda:0") -> RunDir:
        return start_run(str(corpus), tiny_config(*sets), tmp_path / "runs", name=name, device=device)

    return make


@pytest.fixture
def dataset(corpus: Path) -> TokenDataset:  # noqa: F811
    return TokenDataset.open(find_corpus(str(corpus)).prepare(), tiny_config().data)


def train(run: RunDir) -> RunReader:
    """Trains to the end; what the run says then."""
    host = TrainingHost(run)
    host.start()
    host.join(120)
    assert not host.alive and host.error is None, host.error
    reader = RunReader(run)
    reader.poll()
    return reader


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
@pytest.mark.parametrize("sets", [(), ("train.grad_accum=2",), ("train.recompute=true",), ("train.ema=0.9",)])
def test_a_step_is_that_of_a_cpu(dataset: TokenDataset, optimizer: str, sets: tuple[str, ...]) -> None:
    config = tiny_config(f"train.optimizer={optimizer}", *sets)
    here, there = make_step(config, dataset, CPU), make_step(config, dataset, GPU)
    for number in range(6):
        ours, theirs = here(number, 1.0), there(number, 1.0)
        assert theirs.loss == pytest.approx(ours.loss, rel=2e-3) and not theirs.bad
        assert theirs.grad_norm == pytest.approx(ours.grad_norm, rel=2e-2)


@pytest.mark.parametrize("precision", ["fp32", "tf32", "bf16", "fp16"])
def test_every_precision_learns_the_same(start: Callable[..., RunDir], precision: str) -> None:
    same = ("train.max_steps=60", "train.eval_every=60", "train.checkpoint_every=60")
    plain = train(start("cpu", *same, device="cpu")).series.val_loss[-1]
    reader = train(start(precision, f"train.precision={precision}", *same))
    assert reader.status["state"] == "finished"
    assert reader.series.val_loss[-1] == pytest.approx(plain, abs=0.05)


def test_a_resumed_run_goes_on_where_it_stopped(start: Callable[..., RunDir]) -> None:
    same = "train.schedule=constant"  # whatever the number of steps
    whole, parts = start("whole", same), start("parts", same, "train.max_steps=8")
    train(whole), train(parts)
    losses = train(resume_run(parts, max_steps=12)).series.loss
    again = RunReader(whole)
    again.poll()
    assert losses[8:] == pytest.approx(again.series.loss[8:], rel=1e-3)


def test_a_gpus_checkpoint_writes_on_a_cpu(start: Callable[..., RunDir]) -> None:
    run = start("run")
    train(run)
    told = []
    for device in (CPU, GPU):
        model, tokenizer, _ = load_model(run, "last", device)
        pieces = list(generate(model, tokenizer, "a ", SamplingSettings(temperature=0.0, max_tokens=24)))
        done = pieces[-1]
        assert isinstance(done, Done)
        told.append(done.text)
    assert told[0] == told[1]


def test_evaluation_is_that_of_a_cpu(start: Callable[..., RunDir], dataset: TokenDataset) -> None:
    run = start("run")
    train(run)
    found = [evaluate(load_model(run, "last", device)[0], dataset, 16, device) for device in (CPU, GPU)]
    assert found[0].tokens == found[1].tokens and found[1].loss == pytest.approx(found[0].loss, rel=1e-4)


def test_a_step_without_room_is_made_in_smaller_parts(start: Callable[..., RunDir]) -> None:
    """Real memory, really short: what PyTorch may take is less than the micro-batch needs."""
    wide = ("model.n_embd=256", "model.n_layer=4", "model.block_size=256", "train.batch_size=64", "train.max_steps=3")
    run = start("short", *wide, "train.eval_every=3", "train.sample_tokens=0")
    torch.cuda.empty_cache()
    share = (torch.cuda.memory_reserved(GPU) + (600 << 20)) / torch.cuda.get_device_properties(GPU).total_memory
    torch.cuda.set_per_process_memory_fraction(share, GPU)
    try:
        reader = train(run)
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0, GPU)
        torch.cuda.empty_cache()
    alarms = [event["message"] for event in reader.events if event.get("alarm") == "memory"]
    assert alarms and "micro-batch" in alarms[0] and reader.series.step.tolist() == [1, 2, 3]


def test_a_prompt_beside_training_changes_nothing_of_it(dataset: TokenDataset) -> None:
    config = tiny_config("model.dropout=0.1")

    def losses(prompted: bool) -> list[float]:
        step, live = make_step(config, dataset, GPU), LiveWeights()
        prompter = LivePrompter(live, lambda: make_step(config, dataset, GPU).model.eval(), dataset.tokenizer)
        said: list[dict[str, Any]] = []
        found = []
        import threading

        request = {"prompt": "a", "settings": {"max_tokens": 30, "seed": 1}}
        thread = threading.Thread(target=lambda: said.extend(prompter(request, lambda: False)))
        if prompted:
            thread.start()
        for number in range(40):
            found.append(step(number, 1.0).loss)
            live.serve(number, step.optimizer.weights)
        while prompted and thread.is_alive():
            live.serve(40, step.optimizer.weights)
        assert not prompted or said[-1]["done"]["tokens"] == 30
        return found

    assert losses(True) == pytest.approx(losses(False), rel=1e-4)


def test_what_is_compiled_is_the_same_step(dataset: TokenDataset) -> None:
    config = tiny_config("model.n_embd=64")
    plain, compiled = make_step(config, dataset, GPU), make_step(config, dataset, GPU)
    assert compile_step(compiled, 0) == (True, "")
    for number in range(4):
        assert compiled(number, 1.0).loss == pytest.approx(plain(number, 1.0).loss, rel=5e-3)


def ran(*command: str) -> str:
    """What a Python program says, to its end."""
    done = subprocess.run(
        [sys.executable, "-m", *command], cwd=process.HOME, capture_output=True, text=True, timeout=180
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.parametrize("parallel", ["ddp", "fsdp"])
def test_a_group_over_nccl_trains_as_one_alone(parallel: str) -> None:
    ran("tests.cuda.group", parallel, "cuda:0")


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="there are no two GPUs here")
@pytest.mark.parametrize("parallel", ["ddp", "fsdp"])
def test_two_gpus_train_as_one(corpus: Path, tmp_path: Path, parallel: str) -> None:  # noqa: F811
    found = []
    for size in ("1", "2"):
        sets = [f"--set={each}" for each in (*TINY, "train.precision=fp32", f"train.parallel={parallel}")]
        runs = ("--runs", str(tmp_path / size), "train", str(corpus), "--nproc", size, "--device", "cuda", "--json")
        said = [json.loads(line) for line in ran("tui.cli", *runs, *sets).splitlines() if line.startswith("{")]
        found.append([record["val_loss"] for record in said if record.get("type") == "eval"])
    assert found[0] and found[1] == pytest.approx(found[0], abs=1e-3)


@pytest.mark.parametrize("sets", [(), ("train.optimizer=adamw", "train.ema=0.9", "train.grad_accum=2")])
def test_a_step_waits_for_the_gpu_once(dataset: TokenDataset, sets: tuple[str, ...]) -> None:
    take_step = make_step(tiny_config(*sets), dataset, GPU)
    take_step(0, 1.0)
    torch.cuda.set_sync_debug_mode("warn")
    try:
        with warnings.catch_warnings(record=True) as waits:
            warnings.simplefilter("always")
            take_step(1, 1.0)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert len([each for each in waits if "synchronizing" in str(each.message)]) == 1


def test_time_is_that_of_the_gpu() -> None:
    torch.cuda.synchronize(GPU)
    began, one = time.perf_counter(), moment(GPU)
    torch.cuda._sleep(100_000_000)  # cycles
    other, launched = moment(GPU), time.perf_counter() - began
    torch.cuda.synchronize(GPU)
    assert launched < seconds_between(one, other) < time.perf_counter() - began


def test_the_device_is_seen_and_a_runs_memory_with_it(start: Callable[..., RunDir]) -> None:
    device = devices()[0]
    assert device.memory_total is not None and device.memory_used is not None and device.memory_used > 0
    reader = train(start("run"))
    assert reader.status["peak_memory_bytes"] > 0 and reader.status["device"] == "cuda:0"
    checkpoint = load_checkpoint(reader.run.checkpoint(12))
    assert isinstance(checkpoint.config, Config) and math.isfinite(reader.series.loss[-1])
