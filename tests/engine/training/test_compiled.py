"""Compiled training: it comes when it is ready, and nothing that goes wrong with it costs a run."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

import pytest
import torch
from torch import Tensor

from engine.config import Config
from engine.model.gpt import GPT
from engine.runs.layout import RunDir
from engine.runs.reader import RunReader
from engine.runs.writer import RunWriter
from engine.text.catalog import find_corpus
from engine.text.dataset import TokenDataset
from engine.training import compiled
from engine.training.checkpoint import list_checkpoints, load_checkpoint
from engine.training.compiled import Compilation, Recorded
from engine.training.step import LossFunction, make_step

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


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_recorded_micro_batch_is_the_same_step(
    dataset: TokenDataset, monkeypatch: pytest.MonkeyPatch, precision: str
) -> None:
    def record(function: Callable[[], Tensor], device: torch.device) -> Callable[[], Tensor]:
        result = function()  # like a CUDA graph: always given at the same place
        return lambda: result.copy_(function())

    monkeypatch.setattr(compiled, "capture", record)
    config = tiny_config("train.grad_accum=3", f"train.precision={precision}", "model.dropout=0.1")
    plain, recorded = make_step(config, dataset, CPU), make_step(config, dataset, CPU)
    recorded.micro_batch = Recorded(recorded, *recorded.batches.get(7, 0))
    for step in range(3):
        assert torch.equal(plain(step, 1.0), recorded(step, 1.0))
    assert torch.equal(plain.parameters.flat, recorded.parameters.flat)


@pytest.mark.skipif(shutil.which("g++") is None, reason="the compiler needs g++ on a CPU")
def test_the_compiler_itself(start: Start, dataset: TokenDataset, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", "")  # set by the code under test: put back afterwards
    monkeypatch.setenv("TORCHINDUCTOR_CPP_CACHE_PRECOMPILE_HEADERS", "0")  # slower than the few kernels made here
    monkeypatch.setenv("TORCHINDUCTOR_VEC_ISA_OK", "1")
    monkeypatch.setenv("TORCHINDUCTOR_COMPILE_THREADS", "1")
    config = tiny_config("model.kind=bigram", "train.compile=true")
    plain, take_step = (make_step(config, dataset, CPU) for _ in range(2))
    run = start("compiled")
    with RunWriter(run) as writer, Compilation(take_step, dataset.tokenizer.vocab_size, writer) as compilation:
        compilation.poll(0)
        assert compilation.phase == "compiling" and compilation._child is not None
        compilation._child.wait(120)
        compilation.poll(1)
    assert not events(run, "alarm") and [event["step"] for event in events(run, "compiled")] == [1]
    assert take_step.loss_function != take_step.model.loss
    for step in range(1, 4):
        torch.testing.assert_close(take_step(step, 1.0), plain(step, 1.0), rtol=1e-4, atol=1e-5)
