"""Compiled training: it comes when it is ready, and nothing that goes wrong with it costs a run."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import IO, Any

import pytest
import torch
from torch import Tensor
from torch.fx.experimental.proxy_tensor import make_fx

from engine.config import Config
from engine.model.capture import WARM_UPS
from engine.model.gpt import GPT
from engine.runs.layout import RunDir
from engine.runs.reader import RunReader
from engine.runs.writer import RunWriter
from engine.text.catalog import find_corpus
from engine.text.dataset import TokenDataset
from engine.training import compiled
from engine.training.checkpoint import list_checkpoints, load_checkpoint
from engine.training.compiled import (
    PLAIN,
    Compilation,
    RecordedMicroBatch,
    RecordedUpdate,
    make_fastest,
    record_step,
)
from engine.training.schedule import lr_multiplier
from engine.training.step import LossFunction, TrainStep, make_step

from .conftest import tiny_config, train

CPU = torch.device("cpu")
Start = Callable[..., RunDir]


@pytest.fixture
def dataset(corpus: Path) -> TokenDataset:
    return TokenDataset.open(find_corpus(str(corpus)).prepare(), tiny_config().data)


@pytest.fixture
def compiler(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[subprocess.Popen[bytes]]]:
    """Put a shell command in the compiling process' place: compiler("exit 1"); waits for it unless told not to."""

    def use(command: str, wait: bool = True) -> list[subprocess.Popen[bytes]]:
        started: list[subprocess.Popen[bytes]] = []

        def begin(config: Config, vocab: int, device: torch.device, said: IO[bytes]) -> subprocess.Popen[bytes]:
            started.append(subprocess.Popen(["sh", "-c", command], stdout=said, start_new_session=True))
            if wait:
                started[0].wait()
            return started[0]

        monkeypatch.setattr(compiled, "start_compiler", begin)
        return started

    return use


def events(run: RunDir, kind: str) -> list[dict[str, Any]]:
    reader = RunReader(run)
    reader.poll()
    return [event for event in reader.events if event["kind"] == kind]


def losses(run: RunDir) -> list[float]:
    reader = RunReader(run)
    reader.poll()
    found: list[float] = reader.series.loss.tolist()
    return found


def last_weights(run: RunDir) -> dict[str, Tensor]:
    return load_checkpoint(Path(list_checkpoints(run)[-1]["path"])).weights


def same_weights(run: RunDir, other: RunDir) -> bool:
    ours, theirs = last_weights(run), last_weights(other)
    return ours.keys() == theirs.keys() and all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_a_compiler_that_fails_costs_nothing_but_a_line(start: Start, compiler: Any) -> None:
    compiler("echo noise; echo no compiler on this machine; exit 1")
    plain, run = start("plain"), start("compiled", "train.compile=true")
    assert train(plain).state == train(run).state == "finished"
    (alarm,) = events(run, "alarm")
    assert alarm["alarm"] == "compile"
    assert alarm["message"] == "training goes on without torch.compile: no compiler on this machine"
    assert same_weights(run, plain)


def test_a_compilation_that_fails_here_costs_nothing_but_a_line(
    start: Start, compiler: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(model: GPT) -> LossFunction:
        raise RuntimeError("backend failed\nwith many\nlines")

    compiler("true")
    monkeypatch.setattr(compiled, "compile_loss", broken)
    plain, run = start("plain"), start("compiled", "train.compile=true")
    train(plain), train(run)
    (alarm,) = events(run, "alarm")
    assert alarm["message"] == "training goes on without torch.compile: backend failed"
    assert not events(run, "compiled") and same_weights(run, plain)


def test_compiled_code_that_computes_something_else_is_refused(
    start: Start, compiler: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    compiler("true")
    monkeypatch.setattr(compiled, "compile_loss", lambda model: lambda x, y: 1.1 * model.loss(x, y))
    plain, run = start("plain"), start("compiled", "train.compile=true")
    train(plain), train(run)
    (alarm,) = events(run, "alarm")
    assert "compiled, the loss of a batch is" in alarm["message"] and same_weights(run, plain)


def test_the_end_of_training_does_not_wait_for_the_compiler(start: Start, compiler: Any) -> None:
    started = compiler("sleep 600", wait=False)
    plain, run = start("plain"), start("compiled", "train.compile=true")
    train(plain), train(run)
    assert started[0].returncode == -9
    assert not events(run, "alarm") and same_weights(run, plain)


def test_without_the_setting_nothing_is_started(start: Start, compiler: Any) -> None:
    started = compiler("true")
    train(start("plain"))
    assert not started


def test_the_switch_comes_between_steps_and_is_recorded(
    start: Start, compiler: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the model traced and differentiated as for the compiler, in one piece, but run by PyTorch."""
    compiler("true")
    monkeypatch.setattr(
        compiled, "compile_loss", lambda model: torch.compile(model.loss, backend="aot_eager", fullgraph=True)
    )
    sets = ("train.grad_accum=2", "train.max_steps=8", "train.eval_every=8")
    plain, run = start("plain", *sets), start("compiled", "train.compile=true", *sets)
    train(plain), train(run)
    (event,) = events(run, "compiled")
    assert event["step"] == 0 and not events(run, "alarm")
    assert losses(run) == pytest.approx(losses(plain), rel=1e-3)


def test_the_status_says_compiling_until_the_switch(
    start: Start, compiler: Any, dataset: TokenDataset, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    started = compiler(f"while [ ! -e {tmp_path}/ready ]; do sleep 0.05; done", wait=False)
    monkeypatch.setattr(compiled, "compile_loss", lambda model: model.loss)
    take_step = make_step(tiny_config("train.compile=true"), dataset, CPU)
    with RunWriter(start("compiled")) as writer:
        compilation = Compilation(take_step, dataset.tokenizer.vocab_size, writer)
        assert compilation.phase == "training"
        with compilation:
            compilation.poll(0)
            assert compilation.phase == "compiling"
            (tmp_path / "ready").touch()
            started[0].wait(30)
            compilation.poll(1)
            assert compilation.phase == "training"
    assert len(events(writer.run, "compiled")) == 1


def record(function: Callable[[], Tensor], device: torch.device, draws: bool = False) -> Callable[[], Tensor]:
    """What a CUDA graph does: the operations of one call, again and again on the same memory; no Python in between."""
    for _ in range(WARM_UPS):
        result = function()
    operations = make_fx(function)()

    def replay() -> Tensor:
        with torch.no_grad():
            return result.copy_(operations())

    return replay


def launched(config: Config, dataset: TokenDataset) -> TrainStep:
    """A step that treats the CPU as a device of its own."""
    step = make_step(config, dataset, CPU)
    step.host_sees = False
    return step


def state(step: TrainStep) -> list[Tensor]:
    tensors = {**step.optimizer.tensors(), **step.scaler.tensors(), "bad": step.bad_step, "flat": step.parameters.flat}
    if step.optimizer.averaged is not None:
        tensors["averaged"] = step.optimizer.averaged
    return [tensor.clone() for tensor in tensors.values()]


RECORDED = [
    ("train.optimizer=adamw", "train.grad_accum=3", "model.dropout=0.1"),
    ("train.optimizer=muon", "train.grad_clip=0.1", "train.weight_decay=0.1"),
    ("train.optimizer=muon", "train.ema=0.9", "model.n_kv_head=1", "model.mlp_width=32"),
    ("train.optimizer=adamw", "train.ema=0.9"),
    ("train.optimizer=muon", "train.precision=bf16", "train.max_steps=5", "train.warmup_steps=2"),
    ("train.optimizer=adamw", "train.precision=fp16"),
]


@pytest.mark.parametrize("sets", RECORDED)
def test_a_recorded_step_is_the_same_step(
    dataset: TokenDataset, monkeypatch: pytest.MonkeyPatch, sets: tuple[str, ...]
) -> None:
    monkeypatch.setattr(compiled, "capture", record)
    config = tiny_config(*sets)
    plain, recorded = launched(config, dataset), launched(config, dataset)
    plain(0, 0.5), recorded(0, 0.5)
    before = state(recorded)
    record_step(recorded, 1)
    assert all(map(torch.equal, state(recorded), before))  # recording is no step
    monkeypatch.setattr(TrainStep, "forward_backward", None)  # from here on none of the recorded step's Python runs
    monkeypatch.setattr(TrainStep, "clip_and_update", None)
    for step in range(1, 5):
        multiplier = lr_multiplier(step, config.train)
        assert torch.equal(recorded(step, multiplier), plain(step, multiplier))
    assert all(map(torch.equal, state(recorded), state(plain)))


def test_a_recorded_step_that_is_not_finite_changes_nothing(
    dataset: TokenDataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compiled, "capture", record)
    step = launched(tiny_config("train.optimizer=muon", "train.ema=0.5", "model.n_kv_head=1"), dataset)
    record_step(step, 0)
    step(0, 1.0)
    before = state(step)
    passes = step.micro_batch
    step.micro_batch = lambda x, y: passes(x, y) * float("nan")
    step(1, 1.0)
    step.micro_batch = passes
    step(2, 1.0)
    assert int(step.bad_step) == 1
    step.bad_step.fill_(-1)
    assert all(map(torch.equal, state(step), before))


def test_what_cannot_be_recorded_is_trained_all_the_same(
    dataset: TokenDataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    recorded: list[bool] = []

    def refuse(function: Callable[[], Tensor], device: torch.device, draws: bool = False) -> Callable[[], Tensor]:
        if recorded:  # the update, after the passes
            function()
            raise RuntimeError("operation not permitted when stream is capturing")
        recorded.append(True)
        return function

    config = tiny_config("train.precision=fp16")
    plain, step = launched(config, dataset), launched(config, dataset)
    monkeypatch.setattr(compiled, "capture", refuse)
    assert make_fastest(step) == "no CUDA graph (operation not permitted when stream is capturing)"
    for number in range(3):
        assert torch.equal(step(number, 1.0), plain(number, 1.0))
    assert all(map(torch.equal, state(step), state(plain)))


@pytest.mark.parametrize("part", range(6))
def test_an_update_whose_recording_fails_half_way_is_whole_afterwards(
    dataset: TokenDataset, monkeypatch: pytest.MonkeyPatch, part: int
) -> None:
    config = tiny_config("train.optimizer=muon", "train.ema=0.5")
    plain, step = launched(config, dataset), launched(config, dataset)
    for number in range(2):  # at first most gradients are zero
        plain(number, 1.0), step(number, 1.0)
    update, broken = step.optimizer.parts[part].update, [True]

    def fail(*args: Any) -> None:
        if broken[0]:
            raise RuntimeError("operation not permitted when stream is capturing")
        update(*args)

    monkeypatch.setattr(step.optimizer.parts[part], "update", fail)
    monkeypatch.setattr(compiled, "capture", lambda function, device, draws=False: (function(), function)[1])
    assert make_fastest(step).startswith("no CUDA graph")
    broken[0] = False
    for number in range(2, 5):
        assert torch.equal(step(number, 1.0), plain(number, 1.0))
    assert all(map(torch.equal, state(step), state(plain)))


def test_the_fastest_step_is_compiled_and_recorded_where_it_is_asked_for(
    dataset: TokenDataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compiled, "compile_loss", lambda model: lambda x, y: model.loss(x, y) * 1.001)
    seen = make_step(tiny_config("train.compile=true"), dataset, CPU)
    assert make_fastest(seen) == PLAIN and seen.micro_batch == seen.forward_backward  # a CPU's stays as it is
    step = launched(tiny_config("train.compile=true"), dataset)
    eager = float(launched(step.config, dataset)(0, 1.0)[0])
    assert make_fastest(step, compiled=False) == "CUDA graph"
    compiled.unrecord(step)
    assert make_fastest(step) == "compiled, CUDA graph"
    assert float(step(0, 1.0)[0]) == pytest.approx(1.001 * eager, rel=1e-6)
    assert make_fastest(launched(tiny_config(), dataset)) == "CUDA graph"


def test_a_run_is_recorded_before_its_first_step_and_again_when_it_is_compiled(
    start: Start, compiler: Any, dataset: TokenDataset, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    started = compiler(f"while [ ! -e {tmp_path}/ready ]; do sleep 0.05; done", wait=False)
    monkeypatch.setattr(compiled, "compile_loss", lambda model: lambda x, y: model.loss(x, y) * 1.0)
    take_step = launched(tiny_config("train.compile=true"), dataset)
    with RunWriter(start("compiled")) as writer, Compilation(take_step, dataset.tokenizer.vocab_size, writer) as on:
        on.poll(0)
        first = take_step.micro_batch, take_step.update
        assert all(isinstance(part, RecordedMicroBatch | RecordedUpdate) for part in first)
        on.poll(1)
        assert (take_step.micro_batch, take_step.update) == first
        (tmp_path / "ready").touch()
        started[0].wait(30)
        on.poll(2)
        second = take_step.micro_batch, take_step.update
        assert all(isinstance(part, RecordedMicroBatch | RecordedUpdate) for part in second)
        assert not {*first} & {*second}


@pytest.mark.skipif(os.environ.get("FAULTS") != "whole", reason="it compiles for half a minute; make faults")
@pytest.mark.skipif(shutil.which("g++") is None, reason="the compiler needs g++ on a CPU")
def test_the_compiler_itself(start: Start, dataset: TokenDataset, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiled, "NICENESS", 0)  # the test waits for it
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", "")  # set by the code under test: put back afterwards
    monkeypatch.setenv("TORCHINDUCTOR_CPP_CACHE_PRECOMPILE_HEADERS", "0")  # slower than the few kernels made here
    monkeypatch.setenv("TORCHINDUCTOR_VEC_ISA_OK", "1")
    monkeypatch.setenv("ATEN_CPU_CAPABILITY", "default")  # without vector instructions there is less to compile
    monkeypatch.setenv("TORCHINDUCTOR_COMPILE_THREADS", "1")
    config = tiny_config("train.compile=true", preset="bigram")
    plain, take_step = (make_step(config, dataset, CPU) for _ in range(2))
    run = start("compiled")
    with RunWriter(run) as writer, Compilation(take_step, dataset.tokenizer.vocab_size, writer) as compilation:
        compilation.poll(0)
        assert compilation.phase == "compiling" and compilation._child is not None
        import_module("torch._inductor.compile_fx")  # seconds, wanted below: while the other process is at work
        compilation._child.wait(120)
        compilation.poll(1)
    assert not events(run, "alarm") and [event["step"] for event in events(run, "compiled")] == [1]
    assert take_step.loss_function != take_step.model.loss
    for step in range(1, 4):
        torch.testing.assert_close(take_step(step, 1.0), plain(step, 1.0), rtol=1e-4, atol=1e-5)
