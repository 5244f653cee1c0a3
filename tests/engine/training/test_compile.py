"""Compiled training: it is made before the first step, and nothing that goes wrong with it costs a run."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from engine.errors import in_one_line
from engine.model.gpt import GPT
from engine.runs.layout import RunDir
from engine.runs.reader import RunReader
from engine.text.catalog import find_corpus
from engine.tokenizers.dataset import TokenDataset
from engine.training import compile as compiling
from engine.training.checkpoint import choose_checkpoint, load_checkpoint
from engine.training.compile import compile_step, decided
from engine.training.step import LossFunction, make_step

from .conftest import tiny_config, train

CPU = torch.device("cpu")
Start = Callable[..., RunDir]
SECONDS = compiling.TRIAL_SECONDS


@pytest.fixture(autouse=True)
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    """No trial takes longer than it must."""
    monkeypatch.setattr(compiling, "TRIAL_SECONDS", 0.0)


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


def broken(model: GPT, *_: Any) -> LossFunction:
    raise RuntimeError("backend failed\nwith many\nlines")


def other_sums(model: GPT, *_: Any) -> LossFunction:
    return lambda x, y: 1.1 * model.loss(x, y)


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

    def look(model: GPT, *_: Any) -> LossFunction:
        phases.append(read(run).status["phase"])
        return lambda x, y: model.loss(x, y)

    monkeypatch.setattr(compiling, "compile_loss", look)
    monkeypatch.setattr(compiling, "WORTH", 0.0)
    train(plain), train(run)
    (event,) = events(run, "compiled")
    assert phases == ["compiling"] and event["step"] == 0 and not events(run, "alarm")
    assert re.fullmatch(r"forward and backward take [\d.]+ ms compiled on this machine, [\d.]+ otherwise", event["why"])
    assert read(run).series.loss.tolist() == read(plain).series.loss.tolist()


def test_smaller_micro_batches_are_not_compiled(
    start: Start, dataset: TokenDataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a step without room the loss is the model's own again, and the run says so."""
    tried: list[int] = []

    def short(model: GPT, *_: Any) -> LossFunction:
        def loss(x: Tensor, y: Tensor) -> Tensor:
            tried.append(len(x))
            if len(tried) > 1:  # the trial goes well
                raise torch.OutOfMemoryError("CUDA out of memory")
            return model.loss(x, y)

        return loss

    monkeypatch.setattr(compiling, "compile_loss", short)
    monkeypatch.setattr(compiling, "_timed", lambda *_: {"plain": 2.0, "compiled": 1.0})
    run, plain = start("compiled", "train.compile=true"), start("plain")
    assert train(run).state == train(plain).state == "finished"
    whole = tiny_config().train.batch_size
    assert tried == [whole] * 3  # the trial, the step, and the step once more with all memory free
    (alarm,) = events(run, "alarm")
    assert alarm["message"].endswith("the global batch is the same; not compiled for it, a resume compiles again")
    assert read(run).series.loss.tolist() == pytest.approx(read(plain).series.loss.tolist(), rel=1e-4)


def thrice(function: LossFunction) -> LossFunction:
    return lambda x, y: torch.stack([function(x, y) for _ in range(3)]).mean()


@pytest.mark.parametrize("faster", [False, True])
def test_on_a_cpu_it_is_gone_on_with_where_it_is_faster(
    dataset: TokenDataset, monkeypatch: pytest.MonkeyPatch, faster: bool
) -> None:
    """By real steps; what they took is kept: the next time nobody waits for a compiler in vain, or for a trial."""
    made: list[LossFunction] = []

    def compiles(model: GPT, *_: Any) -> LossFunction:
        made.append(plain if faster else thrice(plain))
        return made[-1]

    monkeypatch.setattr(compiling, "compile_loss", compiles)
    found = []
    for number in range(3):
        step, other = (make_step(tiny_config(), dataset, CPU) for _ in range(2))
        plain = step.model.loss
        if faster:
            step.model.loss = thrice(plain)  # type: ignore[method-assign]
        own = step.model.loss
        found.append(compile_step(step, 1))
        assert step.loss_function == (made[-1] if faster else own)
        torch.testing.assert_close(step(number, 1.0), other(number, 1.0))
        monkeypatch.setattr(compiling, "_timed", None)
    assert found[0].on is faster and found == [found[0]] * 3 and " ms compiled on this machine, " in found[0].why
    assert len(made) == (3 if faster else 1)
    (kept,) = compiling.TRIALS.kept().values()
    assert decided(kept) == found[0] and decided({"plain": 1.04, "compiled": 1.0}).on
    assert not decided({"plain": 1.02, "compiled": 1.0}).on


def test_what_a_compiler_cannot_make_is_computed_as_it_stands(monkeypatch: pytest.MonkeyPatch) -> None:
    """In the midst of a pass of a parted model nothing may be raised; after its first failure it is not asked again."""
    asked: list[Any] = []

    def make(self: Any, graph: Any, inputs: Any) -> Any:
        asked.append((graph, inputs))
        if len(asked) == 2:
            raise RuntimeError("no g++\nwith many\nlines")
        return "made"

    monkeypatch.setattr(compiling.Compiler, "make", make)
    compiler, graph = compiling.Compiler(), SimpleNamespace(forward="plain")
    assert [compiler(graph, [number]) for number in range(3)] == ["made", "plain", "plain"]  # type: ignore[arg-type, list-item]
    assert asked == [(graph, [0]), (graph, [1])] and compiler.problem == "no g++"


@pytest.mark.parametrize("sharded", [False, True])
def test_a_rank_without_memory_for_a_parted_models_trial_ends(
    dataset: TokenDataset, monkeypatch: pytest.MonkeyPatch, sharded: bool
) -> None:
    """The others wait for its part, and not for a word of it."""
    step = make_step(tiny_config(), dataset, CPU)
    step.sharded = sharded
    errors: list[Exception] = [torch.OutOfMemoryError("out of memory"), RuntimeError("untraceable")]
    monkeypatch.setattr(compiling, "_tried", lambda *_: (_ for _ in ()).throw(errors[0]))
    if sharded:
        with pytest.raises(torch.OutOfMemoryError):
            compiling._compile(step, 0)
    else:
        assert compiling._compile(step, 0) == "out of memory"
    del errors[0]
    assert compiling._compile(step, 0) == "untraceable"


@pytest.mark.parametrize(
    ("problems", "known", "times", "said"),
    [
        (["", ""], None, [[2.0, 1.0], [3.0, 2.0]], "take 2e+03 ms compiled on this machine, 3e+03 otherwise"),
        (["", ""], None, [[2.0, 1.0], [1.0, 2.0]], "take 2e+03 ms compiled on this machine, 2e+03 otherwise"),
        (["", "no g++"], None, None, "no g++"),
        (["no compiler", ""], None, None, "no compiler"),
        (None, {"plain": 1.0, "compiled": 2.0}, None, "take 2e+03 ms compiled on this machine, 1e+03 otherwise"),
        (["", ""], {"plain": 2.0, "compiled": 1.0}, None, "take 1e+03 ms compiled on this machine, 2e+03 otherwise"),
    ],
)
def test_all_ranks_compile_or_none(
    dataset: TokenDataset, monkeypatch: pytest.MonkeyPatch, problems: Any, known: Any, times: Any, said: str
) -> None:
    """What rank 0 knows counts, and the slowest rank, which all wait for; rank 0 keeps it."""
    for leads in (True, False):
        step = make_step(tiny_config(), dataset, CPU)
        shared: list[Any] = [known]

        def share(thing: Any, shared: list[Any] = shared) -> Any:
            return shared.pop() if shared else thing

        def collect(mine: str) -> list[str]:
            assert problems is not None and mine == ""
            return problems

        step.ranks = SimpleNamespace(share=share, collect=collect, gather=lambda _: times, leads=leads, size=2)  # type: ignore[assignment]
        monkeypatch.setattr(compiling, "compile_loss", lambda model, _: lambda x, y: model.loss(x, y))
        monkeypatch.setattr(compiling, "_tried", lambda *_: (1.0, 1.0))
        found = compile_step(step, 0)
        assert found.why.endswith(said) and found.on == (step.loss_function != step.model.loss)
        kept = compiling.TRIALS.kept()
        assert bool(kept) == (times is not None)
        if kept and leads:
            compiling.TRIALS.path.unlink()
            compiling.TRIALS.keep("was", {"plain": 1.0, "compiled": 1.0})
    assert not kept or list(kept) == ["was"]


@pytest.mark.parametrize(("each", "rounds"), [(0.001, 50), (0.05, 10), (0.125, 4), (9.0, 3)])
def test_a_trial_takes_about_a_second(
    dataset: TokenDataset, monkeypatch: pytest.MonkeyPatch, each: float, rounds: int
) -> None:
    """Three rounds at least, fifty at most, the ways taken in turn; the least counts."""
    monkeypatch.setattr(compiling, "TRIAL_SECONDS", SECONDS)
    step, made = make_step(tiny_config(), dataset, CPU), list[LossFunction]()

    def seconds(do: Any) -> float:
        made.append(step.loss_function)
        return each if len(made) < 3 else 2 * each if len(made) < 6 else each / 2

    monkeypatch.setattr(compiling, "cpu_seconds", seconds)
    own, compiled = step.model.loss, broken
    step.loss_function = compiled  # type: ignore[assignment]
    found = compiling._timed(step, 0)
    assert made == [own, compiled] * rounds and step.loss_function == compiled
    assert found == {"plain": each if rounds == 3 else each / 2, "compiled": each / 2}


def test_a_compilers_error_is_the_first_line_of_its_cause() -> None:
    inner, outer = ValueError("\n  the cause\nmore"), RuntimeError("outside")
    assert in_one_line(outer) == "outside"
    outer.inner_exception = inner  # type: ignore[attr-defined]
    assert in_one_line(outer) == "the cause"
    outer.inner_exception = "no error"  # type: ignore[attr-defined]
    assert in_one_line(outer) == "outside"
    assert in_one_line(ValueError(" \n ")) == in_one_line(ValueError()) == "ValueError"
    assert in_one_line(ValueError("\n  one \n two")) == "one"
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
    monkeypatch.setattr(compiling, "WORTH", 0.0)
    found = compile_step(step, 1)
    assert found.on and " ms compiled on this machine" in found.why and step.loss_function != step.model.loss
    for number in range(1, 4):
        torch.testing.assert_close(step(number, 1.0), plain(number, 1.0), rtol=1e-4, atol=1e-5)
