"""The parts of a measurement, each by itself and without a clock."""

from __future__ import annotations

import json
import runpy
import signal
import sys
from dataclasses import asdict, replace
from itertools import count
from statistics import median
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from engine.errors import ConfigError
from engine.plan import measure
from engine.plan.measure import (
    EVAL_BATCHES,
    OUT_OF_MEMORY,
    made_up,
    median_seconds,
    problem,
    time_evaluation,
    time_writing,
)
from engine.plan.pace import LIMIT_SECONDS, Pace
from engine.sampling.settings import SamplingSettings
from engine.tokenizers.dataset import TokenDataset
from engine.training.evaluate import TOKENS_PER_BATCH
from engine.training.step import make_step

from .conftest import tiny_config

CPU = torch.device("cpu")
PACE = Pace(1.0, 2.0, 3.0, "cpu", 4)


@pytest.mark.parametrize("vocab", [1, 2, 95, 5000, 60_000])
def test_made_up_text_is_of_the_vocabulary_and_long_enough(vocab: int) -> None:
    config = tiny_config()
    dataset, again = made_up(config, vocab, CPU), made_up(config, vocab, CPU)
    assert dataset.tokenizer.vocab_size == vocab
    assert np.array_equal(dataset.train, again.train) and np.array_equal(dataset.val, again.val)
    assert dataset.train.min() == 0 and dataset.train.max() == vocab - 1
    assert len(dataset.train) == (1 << 18) + 1
    assert len(dataset.val) == EVAL_BATCHES * TOKENS_PER_BATCH["cpu"] + 1
    dataset.check(config.model.block_size)


def test_made_up_text_holds_a_context_of_any_length() -> None:
    length = 1 << 18
    dataset = made_up(tiny_config(f"model.block_size={length}"), 7, CPU)
    assert len(dataset.train) == 2 * length + 1 and len(dataset.val) == EVAL_BATCHES * length + 1


class Clock:
    """Stands still but for `spend`."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 0.0
        monkeypatch.setattr(measure.time, "perf_counter", lambda: round(self.now, 6))

    def spend(self, seconds: float) -> None:
        self.now += seconds


@pytest.mark.parametrize(("seconds", "calls"), [(0.01, 123), (0.3, 7), (0.5, 6), (1.0, 3), (2.0, 2), (9.0, 1)])
def test_work_is_timed_for_a_second_and_a_half_or_until_some_is_warm(
    monkeypatch: pytest.MonkeyPatch, seconds: float, calls: int
) -> None:
    """Work of so many seconds is done so often: seven times at least, unless that takes over three seconds."""
    clock, made, told = Clock(monkeypatch), list[float](), list[float]()

    def work() -> None:
        made.append(seconds * (10 if len(made) < 3 and seconds < 0.1 else 1))  # the first ones load and compile
        clock.spend(made[-1])

    assert median_seconds(work, CPU, 1.5, told.append) == pytest.approx(seconds)
    assert len(made) == calls
    assert told == pytest.approx([min(1.0, sum(made[: n + 1]) / 1.5) for n in range(calls)])


@pytest.mark.parametrize(("calls", "counted"), [(1, [1]), (2, [2]), (4, [4]), (7, [4, 5, 6, 7]), (20, range(6, 21))])
def test_the_first_three_and_a_quarter_of_all_do_not_count(
    monkeypatch: pytest.MonkeyPatch, calls: int, counted: Any
) -> None:
    """The nth takes n seconds: what is counted is told by the median."""
    clock, numbers = Clock(monkeypatch), count(1)
    least = calls * (calls + 1) / 2  # seconds that all take; for fewer than seven it is twice the time there is
    found = median_seconds(lambda: clock.spend(next(numbers)), CPU, least if calls >= 7 else least / 2)
    assert found == median(counted) and next(numbers) == calls + 1


def test_steps_that_are_timed_go_on_and_change_the_weights_little(monkeypatch: pytest.MonkeyPatch) -> None:
    made, kept = [], list[int]()
    monkeypatch.setattr(measure, "keep_freed_memory", lambda: kept.append(1))

    class Step:
        device = CPU

        def __call__(self, step: int, multiplier: float) -> None:
            made.append((step, multiplier))

    assert measure.time_steps(Step(), 1e-3) >= 0.0  # type: ignore[arg-type]
    assert [step for step, _ in made] == list(range(len(made))) and len(made) > measure.WARM_UPS
    assert all(0 < multiplier <= 1e-3 for _, multiplier in made) and kept == [1]


@pytest.mark.parametrize(
    ("device", "block_size", "tokens"),
    [
        (CPU, 16, 2048),
        (CPU, 1000, 2000),  # whole sequences
        (CPU, 3000, 3000),  # one at least
        (torch.device("cuda"), 16, 65536 * EVAL_BATCHES),
    ],
)
def test_an_evaluation_is_timed_on_the_first_tokens(
    monkeypatch: pytest.MonkeyPatch, device: torch.device, block_size: int, tokens: int
) -> None:
    config, clock = tiny_config(f"model.block_size={block_size}", "train.precision=bf16"), Clock(monkeypatch)
    monkeypatch.setattr(torch.cuda, "synchronize", lambda device: None)
    dataset = made_up(config, 9, device)
    step: Any = SimpleNamespace(config=config, device=device, model=None)

    def evaluated(model: object, part: TokenDataset, *how: object) -> None:
        assert how == (block_size, device, "bf16") and np.array_equal(part.val, dataset.val[: tokens + 1])
        clock.spend(0.25)

    monkeypatch.setattr(measure, "evaluate", evaluated)
    assert time_evaluation(step, dataset, 0.4) == pytest.approx(0.25 / tokens)


@pytest.mark.parametrize(
    ("seconds", "limit", "texts", "each"),
    [
        (0.01, 1.2, [50, 50, 15], 0.0104),
        (0.01, 0.75, [50, 22], 0.0104),
        (0.2, 0.5, [1], 0.6),
        (9.0, 0.5, [1], 27.0),
    ],
)
def test_texts_are_written_for_as_long_as_there_is_time(
    monkeypatch: pytest.MonkeyPatch, seconds: float, limit: float, texts: list[int], each: float
) -> None:
    """One that is cut off counts only where there is no other: it takes two tokens' time to begin."""
    clock, written = Clock(monkeypatch), list[int]()

    def write(model: object, tokenizer: object, ids: object, settings: Any, cancelled: Any) -> Any:
        assert (ids, settings) == ([0], SamplingSettings(max_tokens=50, seed=0))
        tokens, began = 0, clock.now
        clock.spend(2 * seconds)
        while tokens == 0 or (tokens < settings.max_tokens and not cancelled()):
            clock.spend(seconds)
            tokens += 1
        written.append(tokens)
        yield SimpleNamespace()
        yield Done("", clock.now - began, tokens)

    class Done(SimpleNamespace):
        def __init__(self, text: str, seconds: float, tokens: int) -> None:
            super().__init__(text=text, seconds=seconds, tokens=tokens)

    monkeypatch.setattr(measure, "generate", write)
    monkeypatch.setattr(measure, "Done", Done)
    dataset = made_up(tiny_config(), 9, CPU)
    assert time_writing(None, dataset, 50, limit) == pytest.approx(each)  # type: ignore[arg-type]
    assert written == texts


def test_a_sample_that_is_not_written_takes_no_time(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("time_steps", "time_evaluation"):
        monkeypatch.setattr(measure, name, lambda *_: 1.0)
    config = tiny_config("train.sample_tokens=0")
    dataset = made_up(config, 9, CPU)
    assert measure.pace_of(make_step(config, dataset, CPU), dataset).sample_token_seconds == 0.0


@pytest.mark.parametrize("named", ["auto", "fp32", "bf16"])
def test_the_pace_of_auto_is_that_of_what_it_comes_to(monkeypatch: pytest.MonkeyPatch, named: str) -> None:
    """Of a run that was found large enough for a trial: the settings that came here are its."""
    asked: list[Any] = []

    def chosen(config: Any, dataset: Any, device: Any, small: bool) -> Any:
        asked.append((config.train.precision, small))
        return SimpleNamespace(precision="bf16")

    monkeypatch.setattr(measure, "ready_device", lambda device, precision: CPU)
    monkeypatch.setattr(measure, "choose", chosen)
    monkeypatch.setattr(measure, "make_step", lambda config, *_: config.train.precision)
    monkeypatch.setattr(measure, "pace_of", lambda step, dataset: replace(PACE, step_seconds=float(step == "bf16")))
    found = measure.measure_pace(tiny_config(f"train.precision={named}"), 20)
    assert found == replace(PACE, step_seconds=float(named != "fp32"), precision="bf16" if named == "auto" else "")
    assert asked == ([("auto", False)] if named == "auto" else [])


def test_what_goes_wrong_is_told_in_one_line() -> None:
    assert problem(ConfigError("no such device")) == "no such device"
    assert problem(torch.OutOfMemoryError("CUDA out of memory. Tried …")) == OUT_OF_MEMORY
    assert problem(MemoryError()) == OUT_OF_MEMORY
    assert problem(ValueError("one\n two")) == "not measured: ValueError: one two"
    assert problem(ValueError("x" * 201)) == f"not measured: ValueError: {'x' * 200}"


@pytest.mark.parametrize("ends", ["well", "badly"])
def test_the_program_says_one_line_of_json_and_has_a_limit(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], ends: str
) -> None:
    alarms: list[int] = []
    monkeypatch.setattr(measure.signal, "alarm", alarms.append)

    def measured(config: Any, vocab: int, device: str) -> Pace:
        assert (config, vocab, device) == (tiny_config(), 65, "cpu")
        if ends == "badly":
            raise ValueError("no")
        return PACE

    monkeypatch.setattr(measure, "measure_pace", measured)
    assert measure.main(json.dumps([tiny_config().model_dump(mode="json"), 65, "cpu", "2"])) == 0
    said = capsys.readouterr().out
    assert said.startswith("\n") and said.endswith("\n")
    expected = asdict(PACE) if ends == "well" else {"problem": "not measured: ValueError: no"}
    assert json.loads(said) == expected
    assert alarms == [2 * LIMIT_SECONDS]


def test_as_a_program_it_measures_what_it_is_told(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["measure", json.dumps([{"train": {"batch_size": 0}}, 65, "cpu", "2"])])
    monkeypatch.setattr(signal, "alarm", lambda seconds: 0)
    monkeypatch.delitem(sys.modules, "engine.plan.measure")
    with pytest.raises(SystemExit) as ended:
        runpy.run_module("engine.plan.measure", run_name="__main__")
    assert ended.value.code == 0 and "batch_size" in capsys.readouterr().out
