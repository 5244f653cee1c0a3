"""The parts of a measurement, each by itself and without a clock."""

from __future__ import annotations

import json
import runpy
import signal
import sys
from dataclasses import asdict
from typing import Any

import numpy as np
import pytest
import torch

from engine.errors import ConfigError
from engine.plan import measure
from engine.plan.measure import EVAL_BATCHES, OUT_OF_MEMORY, made_up, problem, time_steps
from engine.plan.pace import LIMIT_SECONDS, Pace
from engine.tokenizers.dataset import TokenDataset
from engine.training.evaluate import TOKENS_PER_BATCH, Evaluation
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


@pytest.mark.parametrize(("seconds", "calls"), [(0.01, 123), (0.3, 7), (0.5, 6), (1.0, 3), (2.0, 2), (9.0, 1)])
def test_steps_are_timed_for_a_second_and_a_half_or_until_some_are_warm(
    monkeypatch: pytest.MonkeyPatch, seconds: float, calls: int
) -> None:
    """A step of so many seconds is made so often: seven times at least, unless that takes over three seconds."""
    now = [0.0]
    monkeypatch.setattr(measure.time, "perf_counter", lambda: round(now[0], 6))
    made = []

    class Step:
        device = CPU
        config = tiny_config()

        def __call__(self, step: int, multiplier: float) -> torch.Tensor:
            made.append((step, multiplier))
            now[0] += seconds * (10 if step < 3 and seconds < 0.1 else 1)  # the first ones load and compile
            return torch.zeros(2)

    found = time_steps(Step())  # type: ignore[arg-type]
    assert found == pytest.approx(seconds)
    assert [step for step, _ in made] == list(range(len(made)))
    assert all(0 < multiplier <= 1e-3 for _, multiplier in made)
    assert len(made) == calls


@pytest.mark.parametrize(
    ("seconds", "asked"),
    [
        ((0.4,), [1]),
        ((0.3, 0.1), [1, 1, 4]),
        ((0.3, 0.5), [1, 1, 1]),
        ((0.1, 0.001), [1, 1, EVAL_BATCHES]),
        ((0.1, 0.0), [1, 1, EVAL_BATCHES]),
    ],
)
def test_an_evaluation_is_timed_on_as_many_batches_as_there_is_time_for(
    monkeypatch: pytest.MonkeyPatch, seconds: tuple[float, ...], asked: list[int]
) -> None:
    """A batch of so many seconds at first, and then when all is warm."""
    config = tiny_config()
    step, dataset = make_step(config, made_up(config, 9, CPU), CPU), made_up(config, 9, CPU)
    each = TOKENS_PER_BATCH["cpu"]
    told: list[int] = []

    def evaluated(model: object, part: TokenDataset, length: int, *_: object) -> Evaluation:
        assert length == config.model.block_size
        tokens = len(part.val) - 1
        told.append(tokens // each)
        assert tokens % each == 0
        return Evaluation(1.0, 1.0, tokens, seconds[min(len(told), len(seconds)) - 1] * tokens / each)

    monkeypatch.setattr(measure, "evaluate", evaluated)
    assert measure.time_evaluation(step, dataset) == pytest.approx(seconds[-1] / each)
    assert told == asked


def test_a_sample_that_is_not_written_takes_no_time() -> None:
    step = make_step(tiny_config("train.sample_tokens=0"), made_up(tiny_config(), 9, CPU), CPU)
    assert measure.time_sampling(step, made_up(tiny_config(), 9, CPU)) == 0.0


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

    monkeypatch.setattr(measure, "measure", measured)
    job = {"config": tiny_config().model_dump(mode="json"), "vocab_size": 65, "device": "cpu"}
    assert measure.main(json.dumps(job)) == 0
    said = capsys.readouterr().out
    assert said.startswith("\n") and said.endswith("\n")
    expected = asdict(PACE) if ends == "well" else {"problem": "not measured: ValueError: no"}
    assert json.loads(said) == expected
    assert alarms == [2 * LIMIT_SECONDS]


def test_as_a_program_it_does_the_job_it_is_given(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    job = {"config": {"train": {"batch_size": 0}}, "vocab_size": 65, "device": "cpu"}
    monkeypatch.setattr(sys, "argv", ["measure", json.dumps(job)])
    monkeypatch.setattr(signal, "alarm", lambda seconds: 0)
    monkeypatch.delitem(sys.modules, "engine.plan.measure")
    with pytest.raises(SystemExit) as ended:
        runpy.run_module("engine.plan.measure", run_name="__main__")
    assert ended.value.code == 0 and "batch_size" in capsys.readouterr().out
