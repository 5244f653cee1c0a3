"""Compiled training: it is made before the first step, and nothing that goes wrong with it costs a run."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from engine.model.gpt import GPT
from engine.runs.layout import RunDir
from engine.runs.reader import RunReader
from engine.text.catalog import find_corpus
from engine.tokenizers.dataset import TokenDataset
from engine.training import compile as compiling
from engine.training.checkpoint import choose_checkpoint, load_checkpoint
from engine.training.compile import compile_step, in_one_line
from engine.training.step import LossFunction, make_step

from .conftest import tiny_config, train

CPU = torch.device("cpu")
Start = Callable[..., RunDir]


@pytest.fixture
def dataset(corpus: Path) -> TokenDataset:
    return TokenDataset.open(find_corpus(str(corpus)).prepare(), tiny_config().data)


def read(run: RunDir) -> RunReader:
    reader = RunReader(run)
    reader.poll()
    return reader


def events(run: RunDir, kind: str) -> list[dict[str, Any]]:
    return [event for event in read(run).events if event["kind"] == kind]


def last_weights(run: RunDir) -> dict[str, Tensor]:
    return load_checkpoint(choose_checkpoint(run, "last")).weights


def same_weights(run: RunDir, other: RunDir) -> bool:
    ours, theirs = last_weights(run), last_weights(other)
    return ours.keys() == theirs.keys() and all(torch.equal(ours[name], theirs[name]) for name in ours)


def broken(model: GPT) -> LossFunction:
    raise RuntimeError("backend failed\nwith many\nlines")


def other_sums(model: GPT) -> LossFunction:
    return lambda x, y: 1.1 * model.loss(x, y)


def traced(model: GPT) -> LossFunction:
    """Traced and differentiated as for the compiler, in one piece, but run by PyTorch."""
    function: LossFunction = torch.compile(model.loss, backend="aot_eager", fullgraph=True)
    return function


@pytest.mark.parametrize(
    ("how", "said"), [(broken, "without torch.compile: backend failed"), (other_sums, "compiled, the loss of a batch")]
)
def test_what_cannot_be_compiled_costs_nothing_but_a_line(
    start: Start, monkeypatch: pytest.MonkeyPatch, how: Any, said: str
) -> None:
    monkeypatch.setattr(compiling, "compile_loss", how)
    plain, run = start("plain"), start("compiled", "train.compile=true")
    assert train(plain).state == train(run).state == "finished"
    (alarm,) = events(run, "alarm")
    assert alarm["alarm"] == "compile" and alarm["message"].startswith("training goes on without torch.compile: ")
    assert said in alarm["message"] and "\n" not in alarm["message"]
    assert not events(run, "compiled") and same_weights(run, plain)


def test_a_run_is_compiled_before_its_first_step_and_says_so_meanwhile(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    sets = ("train.grad_accum=2", "train.max_steps=8", "train.eval_every=8")
    plain, run = start("plain", *sets), start("compiled", "train.compile=true", *sets)
    phases: list[Any] = []

    def look(model: GPT) -> LossFunction:
        phases.append(read(run).status["phase"])
        return traced(model)

    monkeypatch.setattr(compiling, "compile_loss", look)
    train(plain), train(run)
    (event,) = events(run, "compiled")
    assert phases == ["compiling"] and event["step"] == 0 and not events(run, "alarm")
    assert read(run).series.loss.tolist() == pytest.approx(read(plain).series.loss.tolist(), rel=1e-3)


def test_smaller_micro_batches_are_not_compiled(
    start: Start, dataset: TokenDataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a step without room the loss is the model's own again, and the run says so."""
    tried: list[int] = []

    def short(model: GPT) -> LossFunction:
        def loss(x: Tensor, y: Tensor) -> Tensor:
            tried.append(len(x))
            if len(tried) > 1:  # the trial goes well
                raise torch.OutOfMemoryError("CUDA out of memory")
            return model.loss(x, y)

        return loss

    monkeypatch.setattr(compiling, "compile_loss", short)
    run, plain = start("compiled", "train.compile=true"), start("plain")
    assert train(run).state == train(plain).state == "finished"
    whole = tiny_config().train.batch_size
    assert tried == [whole] * 3  # the trial, the step, and the step once more with all memory free
    (alarm,) = events(run, "alarm")
    assert alarm["message"].endswith("the global batch is the same; not compiled for it, a resume compiles again")
    assert read(run).series.loss.tolist() == pytest.approx(read(plain).series.loss.tolist(), rel=1e-4)


def test_a_compilers_error_is_the_first_line_of_its_cause() -> None:
    inner, outer = ValueError("\n  the cause\nmore"), RuntimeError("outside")
    assert in_one_line(outer) == "outside"
    outer.inner_exception = inner  # type: ignore[attr-defined]
    assert in_one_line(outer) == "the cause"
    outer.inner_exception = "no error"  # type: ignore[attr-defined]
    assert in_one_line(outer) == "outside"
    assert in_one_line(ValueError(" \n ")) == "ValueError"
    assert in_one_line(ValueError("x" * 200)) == "x" * 200
    assert in_one_line(ValueError("x" * 201)) == "x" * 199 + "…"


@pytest.mark.skipif(os.environ.get("FAULTS") != "whole", reason="it compiles for half a minute; make faults")
@pytest.mark.skipif(shutil.which("g++") is None, reason="the compiler needs g++ on a CPU")
def test_the_compiler_itself(dataset: TokenDataset, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", "")  # set by the code under test: put back afterwards
    monkeypatch.setenv("TORCHINDUCTOR_CPP_CACHE_PRECOMPILE_HEADERS", "0")  # slower than the few kernels made here
    monkeypatch.setenv("TORCHINDUCTOR_VEC_ISA_OK", "1")
    monkeypatch.setenv("ATEN_CPU_CAPABILITY", "default")  # without vector instructions there is less to compile
    monkeypatch.setenv("TORCHINDUCTOR_COMPILE_THREADS", "1")
    plain, step = (make_step(tiny_config(preset="bigram"), dataset, CPU) for _ in range(2))
    assert compile_step(step, 1) == "" and step.loss_function != step.model.loss
    for number in range(1, 4):
        torch.testing.assert_close(step(number, 1.0), plain(number, 1.0), rtol=1e-4, atol=1e-5)
