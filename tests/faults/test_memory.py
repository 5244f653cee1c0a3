"""Memory that runs out, at every operation that asks for some: nothing of a training is lost by it."""

from __future__ import annotations

import hashlib
import json
import random
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from engine.preset_files import load_config
from engine.runs.layout import RunDir
from engine.runs.reader import RunReader
from engine.training import evaluate, live, state
from engine.training.host import TrainingHost
from engine.training.start import resume_run, start_run
from engine.training.trainer import Trainer

from .conftest import Campaign

ERRORS: tuple[Callable[[], Exception], ...] = (
    lambda: torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB."),
    lambda: RuntimeError("[enforce fail at alloc_cpu.cpp:127] DefaultCPUAllocator: not enough memory: 12 bytes"),
    lambda: RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 12 bytes. Error code 12"),
    lambda: RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
    lambda: MemoryError("std::bad_alloc"),
)
"""As a GPU, a CPU, a library and Python say it."""

SMALL = (
    "model.n_layer=1",
    "model.n_embd=16",
    "model.n_head=2",
    "model.n_kv_head=1",
    "model.block_size=16",
    "model.dropout=0.1",
    "train.batch_size=4",
    "train.grad_accum=2",
    "train.ema=0.9",
    "train.max_steps=6",
    "train.eval_every=3",
    "train.checkpoint_every=100",
    "train.keep_last=9",
    "train.sample_tokens=3",
)


class Shortage(TorchDispatchMode):
    """Counts the operations that allocate, by phase, and lets those fail that `fails` says: (phase, its number)."""

    def __init__(self, fails: Callable[[str, int], BaseException | None]) -> None:
        super().__init__()
        self.fails, self.phase = fails, "other"
        self.counts: dict[str, int] = {}

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False  # or it is loaded first, for seconds

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        schema = func._schema
        if any(value.alias_info is None for value in schema.returns) and not schema.name.startswith("aten::_local"):
            number = self.counts[self.phase] = self.counts.get(self.phase, -1) + 1
            if (error := self.fails(self.phase, number)) is not None:
                raise error
        return func(*args, **(kwargs or {}))


@pytest.fixture
def base(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., RunDir]:
    """Makes runs of the same text."""
    monkeypatch.setenv("TINYTUI_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(state, "DISK_RETRY_SECONDS", 0.01)
    corpus = tmp_path / "words.txt"
    rng = random.Random(3)
    corpus.write_text(
        "".join(f"{rng.choice(('a cat', 'the dog'))} {rng.choice(('sees', 'eats'))}.\n" for _ in range(70))
    )

    def make(name: str, *sets: str) -> RunDir:
        config = load_config("nano", sets=(*SMALL, *sets))
        return start_run(str(corpus), config, tmp_path / "runs", name=name, device="cpu")

    return make


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Shortage]:
    """Trains a run to its end with `fails`; gives back what was counted."""
    from engine.training.beside import Samples
    from engine.training.optim import Optimizer
    from engine.training.step import TrainStep

    phases = (
        (Trainer, "_say_memory", "measuring"),
        (TrainStep, "forward_backward", "passes"),
        (TrainStep, "__call__", "clipping"),
        (Optimizer, "step", "update"),
        (Trainer, "evaluate", "evaluation"),
        (Samples, "make", "sample"),
    )
    whole_run = Trainer.run

    def within(mode: Shortage, plain: Any, phase: str) -> Any:
        def method(*args: Any, **kwargs: Any) -> Any:
            before, mode.phase = mode.phase, phase
            try:
                return plain(*args, **kwargs)
            finally:
                mode.phase = before

        return method

    def train(
        directory: RunDir, fails: Callable[[str, int], BaseException | None] = lambda phase, number: None
    ) -> tuple[TrainingHost, Shortage]:
        mode = Shortage(fails)

        def run(self: Trainer) -> str:
            with mode:
                return whole_run(self)

        with monkeypatch.context() as patch:
            for owner, name, phase in phases:
                patch.setattr(owner, name, within(mode, getattr(owner, name), phase))
            patch.setattr(Trainer, "run", run)
            return ended(directory), mode

    return train


def ended(run: RunDir) -> TrainingHost:
    """Train as long as it goes."""
    host = TrainingHost(run, device="cpu")
    host.start()
    host.join(60)
    assert not host.alive
    return host


def train(run: RunDir) -> RunDir:
    """Train to the end."""
    host = ended(run)
    assert (host.state, host.error) == ("finished", None)
    return run


def weights(run: RunDir, step: int = 6) -> dict[str, str]:
    """SHA-256 of what training made up to a step: weights, their average, the optimizer's state."""
    folder = run.checkpoint(step)
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.glob("*.safetensors"))}


def whole(run: RunDir) -> RunReader:
    """The run's records, every step there once, nothing taken back."""
    reader = RunReader(run)
    reader.poll()
    assert reader.problems == []
    lines = [json.loads(line) for line in run.metrics.read_text().splitlines()]
    assert [line["step"] for line in lines if "loss" in line] == [1, 2, 3, 4, 5, 6]
    assert not any("resumed" in line for line in lines)
    return reader


def alarms(reader: RunReader) -> list[str]:
    return [event["alarm"] for event in reader.events if event["kind"] == "alarm"]


def test_memory_that_runs_out_once_loses_nothing(
    campaign: Callable[..., Campaign], base: Callable[..., RunDir], short: Callable[..., Any]
) -> None:
    """At a drawn operation, a phase after the other; the operation after it has memory again."""
    quiet = base("quiet")
    host, counted = short(quiet)
    assert host.state == "finished", host.error
    phases = sorted(counted.counts)
    assert phases == ["clipping", "evaluation", "measuring", "passes", "sample", "update"], "all there are"
    expected, losses = weights(quiet), whole(quiet).series.val_loss.tolist()
    promise = campaign("memory that runs out once, at any operation of a training, loses no step", quick=3, whole=350)
    for number in promise:
        phase = phases[number % len(phases)]
        at = random.Random(number).randrange(counted.counts[phase] + 1)
        error = ERRORS[number % len(ERRORS)]
        with promise.trial(f"{phase}, operation {at} of {counted.counts[phase]}, {error()!r}"):
            run = base(f"short-{number}")

            def fails(now: str, count: int, phase: str = phase, at: int = at, error: Any = error) -> Any:
                return error() if (now, count) == (phase, at) else None

            host, _ = short(run, fails)
            assert (host.state, host.error) == ("finished", None)
            assert weights(run) == expected
            reader = whole(run)
            assert reader.series.val_loss.tolist() == pytest.approx(losses, rel=1e-5)
            assert set(alarms(reader)) <= ({"sample"} if phase == "sample" else set())
            assert reader.info["config"]["train"]["batch_size"] == 4


def test_an_evaluation_is_not_lost_where_its_sums_are_read(
    base: Callable[..., RunDir], short: Callable[..., Any]
) -> None:
    """Its very last operation, of which there is one an evaluation."""
    host, counted = short(base("quiet"))
    assert host.state == "finished", host.error
    run, last = base("short"), counted.counts["evaluation"]
    host, _ = short(run, lambda now, count: ERRORS[0]() if (now, count) == ("evaluation", last) else None)
    assert host.state == "finished" and len(whole(run).series.val_loss) == 2 and not alarms(whole(run))


@pytest.mark.parametrize("room", [1, 3])
def test_a_micro_batch_that_does_not_fit_shrinks_and_no_step_is_lost(
    room: int, base: Callable[..., RunDir], monkeypatch: pytest.MonkeyPatch
) -> None:
    """From the third step on there is room for that many sequences; nothing goes back to a checkpoint."""
    from engine.training.step import TrainStep

    quiet, tight = base("quiet", "model.dropout=0"), base("tight", "model.dropout=0")
    plain = TrainStep.micro_batch

    def micro_batch(self: TrainStep, x: torch.Tensor, *rest: Any) -> torch.Tensor:
        loss = plain(self, x, *rest)  # memory runs out at the end of it: the gradients are half there
        if over[0] and len(x) > room:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return loss

    over = [False]
    monkeypatch.setattr(TrainStep, "micro_batch", micro_batch)
    step = Trainer._one_step

    def one_step(self: Trainer) -> None:
        over[0] = self.writer.run.name == "tight" and self.step >= 2
        step(self)

    monkeypatch.setattr(Trainer, "_one_step", one_step)
    a, b = whole(train(quiet)), whole(train(tight))
    assert b.series.loss.tolist() == pytest.approx(a.series.loss.tolist(), rel=1e-4), "the global batch is the same"
    size = 1 if room == 1 else 2
    settings = b.info["config"]["train"]
    assert (settings["batch_size"], settings["grad_accum"]) == (size, 8 // size)
    said = [event for event in b.events if event["kind"] == "alarm"]
    assert [event["alarm"] for event in said] == ["memory"] * (3 - size) and {event["step"] for event in said} == {2}
    assert f"micro-batch {size} x {8 // size}" in said[-1]["message"]
    assert ended(resume_run(tight, max_steps=8)).state == "finished", "a resume begins with the smaller micro-batch"


def test_where_not_even_one_sequence_fits_it_is_said_and_the_last_step_is_kept(
    base: Callable[..., RunDir], short: Callable[..., Any]
) -> None:
    run = base("none", "train.eval_every=100")

    def fails(phase: str, number: int) -> BaseException | None:
        return torch.OutOfMemoryError("CUDA out of memory") if phase == "passes" and number > 900 else None

    host, _ = short(run, fails)
    assert host.state == "failed"
    assert re.fullmatch(r"out of memory at step \d+ with a micro-batch of one sequence; lower .*", host.error)
    reader = RunReader(run)
    reader.poll()
    assert run.checkpoint_steps() == [reader.series.step[-1]]
    assert reader.status["state"] == "failed"


def test_an_update_that_never_gets_its_memory_saves_no_half_of_itself(
    base: Callable[..., RunDir], short: Callable[..., Any]
) -> None:
    """A resume goes on from weights of a step, and ends as if nothing had been."""
    sets = ("train.checkpoint_every=2", "train.sample_tokens=0")
    quiet = base("quiet", *sets)
    train(quiet)
    for part in (0, 7, 60):
        torn = base(f"torn-{part}", *sets)
        third: list[int] = []

        def fails(
            phase: str, number: int, torn: RunDir = torn, third: list[int] = third, part: int = part
        ) -> BaseException | None:
            if phase == "update" and len(third) == 0 and torn.checkpoint(2).is_dir():
                third.append(number)
            return MemoryError() if phase == "update" and third and number >= third[0] + part else None

        host, _ = short(torn, fails)
        assert host.state == "failed" and host.error is not None, part
        assert "out of memory in the" in host.error and "resume" in host.error and "\n" not in host.error
        train(resume_run(torn))
        assert weights(torn) == weights(quiet), part


def test_an_evaluation_is_parted_down_to_a_sequence_and_says_when_that_is_too_much(
    base: Callable[..., RunDir], monkeypatch: pytest.MonkeyPatch
) -> None:
    from engine.model.gpt import GPT

    monkeypatch.setitem(evaluate.TOKENS_PER_BATCH, "cpu", 64)
    quiet, tight, none = base("quiet"), base("tight"), base("none")
    plain, room, tried = GPT.loss_sums, [10**9], list[int]()

    def loss_sums(self: GPT, ids: torch.Tensor, targets: torch.Tensor, tokens: int) -> list[torch.Tensor]:
        if torch.is_grad_enabled():  # a step's
            return plain(self, ids, targets, tokens)
        tried.append(ids.numel())
        if ids.numel() > room[0]:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return plain(self, ids, targets, tokens)

    monkeypatch.setattr(GPT, "loss_sums", loss_sums)
    losses = []
    for run, most in ((quiet, 10**9), (tight, 16), (none, 0)):
        room[0] = most
        reader = whole(train(run))
        losses.append(reader.series.val_loss.tolist())
        assert weights(run) == weights(quiet)
    assert losses[1] == pytest.approx(losses[0], rel=1e-6) and len(losses[0]) == 2
    assert losses[2] == [] and alarms(reader) == ["memory"] * 2
    assert {16, 32, 64} <= {*tried}


@pytest.mark.parametrize("at", [0, 4])
def test_a_checkpoint_without_memory_waits_until_there_is_some(
    at: int, base: Callable[..., RunDir], monkeypatch: pytest.MonkeyPatch
) -> None:
    from engine.training import saving

    quiet, run = base("quiet"), base("waits")
    plain, calls = saving.write_tensors, [0]

    def write_tensors(*args: Any) -> Any:
        calls[0] += 1
        if at < calls[0] - 1 <= at + 3:
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 12 bytes")
        return plain(*args)

    for directory in (quiet, run):
        monkeypatch.setattr(saving, "write_tensors", write_tensors if directory is run else plain)
        train(directory)
    assert calls[0] > at + 4
    assert weights(run) == weights(quiet) and run.checkpoint_steps() == quiet.checkpoint_steps()
    waited = [event["message"] for event in whole(run).events if event["kind"] == "waited"]
    assert waited and all(message.startswith("no memory to write the checkpoint of step") for message in waited)


def test_a_prompt_without_memory_fails_alone(base: Callable[..., RunDir], monkeypatch: pytest.MonkeyPatch) -> None:
    """While its model is made and at any of its tokens; the next prompt is answered and training is the same."""
    from engine.control import ControlClient
    from engine.errors import UserError

    quiet, run = train(base("quiet")), base("prompted")
    plain, at = live.generate, [0]

    def generate(*args: Any, **kwargs: Any) -> Iterator[Any]:
        for number, piece in enumerate(plain(*args, **kwargs)):
            if number == at[0]:
                raise torch.OutOfMemoryError("CUDA out of memory.\nTried to allocate 3 GiB.")
            yield piece

    monkeypatch.setattr(live, "generate", generate)
    host = TrainingHost(run, device="cpu")
    host.commands.put({"do": "pause"})
    host.start()
    client = ControlClient(run)
    while True:
        try:
            client.send("ping")
            break
        except UserError:
            assert host.alive, host.error
    for number in (0, 3):
        at[0] = number
        with pytest.raises(UserError, match=r"^no memory for this prompt beside training; .*$"):
            list(client.prompt("a cat", {"max_tokens": 6, "seed": 1}))
    at[0] = -1
    *_, last = client.prompt("a cat", {"max_tokens": 6, "seed": 1})
    assert last["done"]["tokens"] == 6
    host.commands.put({"do": "resume"})
    host.join(60)
    assert (host.state, host.error) == ("finished", None)
    assert weights(run) == weights(quiet)


@pytest.mark.parametrize("make", ERRORS, ids=range(len(ERRORS)))
def test_no_command_calls_it_a_bug(make: Callable[[], Exception]) -> None:
    from tui.cli.app import describe

    assert describe(make()) == "no memory left; a smaller train.batch_size or model.block_size needs less"
    assert "this is a bug" in describe(RuntimeError("the weather"))
