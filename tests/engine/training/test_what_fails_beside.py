"""What seldom happens beside a training: to its processes, its corpus and its trials."""

from __future__ import annotations

import errno
import json
import math
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from engine.errors import ConfigError, CorpusError, RunError
from engine.plan import pace, tune
from engine.plan.pace import LIMIT_SECONDS, Measuring
from engine.runs.layout import RunDir
from engine.runs.status import read_config, read_info
from engine.runs.writer import RunWriter
from engine.training import copied, live, step
from engine.training.live import LivePrompter, LiveWeights
from engine.training.start import corpus_text, open_dataset

from .conftest import tiny_config
from .test_what_fails import NO_ROOM, failing

CPU, GPU = torch.device("cpu"), torch.device("cuda", 0)
Start = Callable[..., RunDir]


# -- other processes ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("code", "said"),
    [
        (-signal.SIGKILL, "not measured: the process was killed, perhaps for its memory"),
        (3, "not measured: the process was killed (3)"),
    ],
)
@pytest.mark.parametrize("output", [b"", b"\nno json\n", b'\n{"step_seconds": 1}\n', b"\n3\n"])
def test_a_measurement_that_says_nothing_was_killed(
    monkeypatch: pytest.MonkeyPatch, code: int, said: str, output: bytes
) -> None:
    monkeypatch.setattr(pace.subprocess, "Popen", failing(OSError(errno.EAGAIN, "No more processes")))
    measuring = Measuring(tiny_config(), 65)
    measuring._thread.join(60)
    assert measuring.found == "not measured: No more processes"
    assert measuring._take(output, code) == said
    assert measuring._take(b'\n{"problem": "no such device"}\n', 0) == "no such device"
    assert LIMIT_SECONDS == 60


# -- text and samples --------------------------------------------------------------------------------------------------


def test_a_corpus_that_changed_or_was_never_told_is_named(start: Start, corpus: Path) -> None:
    run = start("run")
    assert corpus_text(run).sha256 == read_info(run)["corpus"]["sha256"]
    corpus.write_text("quite another text. " * 200)
    with pytest.raises(CorpusError, match="has changed since run run began; restore it"):
        corpus_text(run)
    corpus.unlink()
    with pytest.raises(CorpusError, match=r"run\.json of run says of its corpus: "):
        corpus_text(run)
    with RunWriter(run) as writer:
        writer.describe(corpus={})
    with pytest.raises(CorpusError, match=r"run\.json of run says not which corpus"):
        corpus_text(run)


def test_a_setting_of_a_run_that_cannot_be_is_named_with_its_file(start: Start) -> None:
    run = start("run")
    info = json.loads(run.run_json.read_text())
    info["config"]["train"]["batch_size"] = 0
    run.run_json.write_text(json.dumps(info))
    with pytest.raises(ConfigError, match=r"run\.json: .*batch_size"):
        read_config(run)


def test_held_out_text_that_cannot_be_read_is_named(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = open_dataset(start("run"))
    check = copied.CopyCheck(dataset)
    assert dataset.text is not None
    dataset.text.path.unlink()
    with pytest.raises(CorpusError, match=r"cannot read .*tiny\.txt: No such file"):
        list(check._pieces(16))


def test_who_asks_for_a_copy_too_many_is_told_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "PATIENCE", 0.0)
    prompter = LivePrompter(LiveWeights(), failing(AssertionError()), None)  # type: ignore[arg-type]
    for _ in range(live.AT_ONCE):
        assert prompter._places.acquire(blocking=False)
    with pytest.raises(RunError, match="2 prompts are being answered; try again"):
        prompter._sit_down(lambda: False)
    monkeypatch.setattr(live, "PATIENCE", 1e9)
    with pytest.raises(RunError, match="2 prompts are being answered"):
        prompter._sit_down(lambda: True)


# -- trials ------------------------------------------------------------------------------------------------------------


def test_a_range_test_ends_where_the_loss_diverges(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = open_dataset(start("run"))
    losses = [4.0, 2.0, 2.0, 300.0, 1.0]

    def made(values: list[float]) -> Callable[..., Any]:
        told = iter(values)
        return lambda *_: lambda number, scale: step.Result(next(told), 1.0, bad=False)

    monkeypatch.setattr(tune, "make_step", made(losses))
    rates = list(tune.learning_rate_range(tiny_config(), dataset, CPU, steps=5))
    assert len(rates) == 4 and rates[-1].loss > tune.DIVERGED * min(rate.loss for rate in rates[:-1])
    average = 0.0
    for number, (rate, loss) in enumerate(zip(rates, losses, strict=False), 1):
        average = 0.9 * average + 0.1 * loss
        assert rate.loss == pytest.approx(average / (1 - 0.9**number))
        assert rate.scale == pytest.approx(1e-3 * 30_000 ** ((number - 1) / 4))
        assert rate.learning_rate == pytest.approx(rate.scale * tiny_config().train.learning_rate)
    for bad in (math.nan, math.inf):
        monkeypatch.setattr(tune, "make_step", made([4.0, bad, 1.0]))
        assert len(list(tune.learning_rate_range(tiny_config(), dataset, CPU, steps=3))) == 1
    monkeypatch.setattr(tune, "make_step", made([4.0]))
    (only,) = tune.learning_rate_range(tiny_config(), dataset, CPU, steps=1, low=0.5)
    assert only.scale == 0.5


def test_a_rate_is_suggested_a_third_below_the_best_of_ten() -> None:
    rates = [tune.Rate(3.0 ** (number - 5), 0.0, abs(number - 7.0)) for number in range(10)]
    found = tune.suggest(rates)
    assert found is not None and found.scale == pytest.approx(3.0)
    assert tune.suggest(rates[1:]) is None and tune.suggest([]) is None


@pytest.mark.parametrize("how", ["no room", "no memory", "a bug"])
def test_micro_batches_are_tried_while_they_fit(start: Start, monkeypatch: pytest.MonkeyPatch, how: str) -> None:
    dataset = open_dataset(start("run"))
    made, fits = tune.make_step, tune.available_memory()
    need = tune.forecast(tiny_config("train.batch_size=4"), dataset.tokenizer.vocab_size).memory
    if how == "no room":
        fits = (need - 1, False)
    monkeypatch.setattr(tune, "available_memory", lambda: fits)

    def make(config: Any, *rest: Any) -> Any:
        if config.train.batch_size == 4 and how != "no room":
            raise NO_ROOM if how == "no memory" else RuntimeError("a bug")
        assert config.train.grad_accum == 1
        return made(config, *rest)

    monkeypatch.setattr(tune, "make_step", make)
    trials = tune.batch_sizes(tiny_config("train.batch_size=8", "train.grad_accum=1"), dataset, CPU)
    if how == "a bug":
        with pytest.raises(RuntimeError, match="a bug"):
            list(trials)
        return
    told = list(trials)
    said = "does not fit in memory" if how == "no room" else "out of memory"
    assert [(each.batch_size, each.grad_accum, each.problem) for each in told] == [(1, 8, ""), (2, 4, ""), (4, 2, said)]
    assert all(type(each.batch_size) is type(each.grad_accum) is int for each in told)
    assert [each.tokens_per_second > 0 for each in told] == [True, True, False]
    assert step.step_seed(1, 2) != step.step_seed(2, 1)
