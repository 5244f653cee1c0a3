"""A trial of two arithmetics, with steps and a clock of the test's own."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from engine.config import Config
from engine.machine import cpu_model
from engine.model.sizes import flops_per_token
from engine.training import precision, trials
from engine.training import step as steps
from engine.training.memory import memory_estimate
from engine.training.precision import (
    LEAST_FLOPS,
    LEAST_STEP,
    SLOWLY,
    TRIALS,
    Choice,
    _seconds,
    _tried,
    choose,
    decided,
    kept_key,
    settled,
    too_small,
    trial_config,
)

from .conftest import tiny_config
from .told import CPU, tokens


class Trial:
    """Steps that take what `took` says of their arithmetic, by their number; and the clock they move."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, fp32: list[float], bf16: list[float]) -> None:
        self.now, self.made = 100.0, list[tuple[str, int]]()
        self.took = {"fp32": fp32, "bf16": bf16}
        monkeypatch.setattr(precision, "time", SimpleNamespace(perf_counter=lambda: self.now))
        monkeypatch.setattr(precision, "_seconds", self._seconds)
        monkeypatch.setattr(steps, "make_step", self._make)
        monkeypatch.setattr(steps, "TrainStep", lambda model, optimizer, batches, config: config)

    def _make(self, config: Config, *_: Any) -> Any:
        return SimpleNamespace(
            train=config.train, model=None, optimizer=None, batches=None, precision=config.train.precision
        )

    def _seconds(self, take_step: Any, step: int) -> float:
        name = take_step.train.precision
        self.made.append((name, step))
        took = self.took[name]
        seconds = took[min(sum(each[0] == name for each in self.made), len(took)) - 1]
        self.now += seconds
        return seconds


def tried(monkeypatch: pytest.MonkeyPatch, fp32: list[float], bf16: list[float], *sets: str) -> tuple[Any, list[Any]]:
    monkeypatch.setattr(precision, "available_memory", lambda: (None, False))
    trial = Trial(monkeypatch, fp32, bf16)
    return _tried(tiny_config(*sets), tokens(), CPU), trial.made


def test_the_first_step_of_each_does_not_count_and_the_least_of_the_others_does(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    found, made = tried(monkeypatch, [0.01, 0.125, 0.0625, 0.1875], [0.01, 0.03125, 0.0625, 0.015625])
    assert found == {"fp32": 0.0625, "bf16": 0.015625}
    assert made[:8] == [(name, number) for number in range(4) for name in ("fp32", "bf16")]


def test_short_steps_are_tried_for_a_second(monkeypatch: pytest.MonkeyPatch) -> None:
    """More than three times; the beginning is counted, the learning goes on from step to step."""
    found, made = tried(monkeypatch, [0.0625], [0.0625])
    assert found == {"fp32": 0.0625, "bf16": 0.0625} and len(made) == 16
    assert made[-1] == ("bf16", 7) and made[2] == ("fp32", 1)


@pytest.mark.parametrize(
    ("of_the_run", "accum", "made"),
    [(12, 1, 4), (190, 1, 4), (500, 1, 6), (600, 1, 8), (9999, 1, 8), (190, 2, 4), (190, 3, 6), (190, 5, 8)],
)
def test_long_steps_are_tried_for_a_hundredth_of_the_run(
    monkeypatch: pytest.MonkeyPatch, of_the_run: int, accum: int, made: int
) -> None:
    """Rounds of 16 s, after one that does not count: the whole step is so many times the one that is tried."""
    sets = (f"train.max_steps={of_the_run}", "train.warmup_steps=0", f"train.grad_accum={accum}")
    assert len(tried(monkeypatch, [8.0], [8.0], *sets)[1]) == made


@pytest.mark.parametrize(("over", "tries"), [(0, True), (-1, False)])
def test_a_trial_takes_at_most_half_of_the_memory(monkeypatch: pytest.MonkeyPatch, over: int, tries: bool) -> None:
    trial = Trial(monkeypatch, [0.5], [0.5])
    config = tiny_config("train.batch_size=64", "train.grad_accum=4")
    need = sum(memory_estimate(trial_config(config), tokens().tokenizer.vocab_size).values())
    monkeypatch.setattr(precision, "available_memory", lambda: (2 * need + over, False))
    assert bool(_tried(config, tokens(), CPU)) is tries is bool(trial.made)


def test_a_bug_in_a_trial_is_a_bug(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(precision, "available_memory", lambda: (None, False))
    for error, found in ((torch.OutOfMemoryError("out of memory"), {}), (ValueError("a bug"), None)):
        Trial(monkeypatch, [0.5], [0.5])

        def fails(*_: Any, error: Exception = error) -> float:
            raise error

        monkeypatch.setattr(precision, "_seconds", fails)
        if found is None:
            with pytest.raises(ValueError, match="a bug"):
                _tried(tiny_config(), tokens(), CPU)
        else:
            assert _tried(tiny_config(), tokens(), CPU) == found


def test_a_step_is_timed_by_what_it_computes(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, asked = iter([3.0, 7.0]), list[Any]()
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    monkeypatch.setattr(trials, "time", SimpleNamespace(process_time=lambda: next(clock)))
    assert _seconds(lambda *how: asked.append(how), 5) == 2.0 and asked == [(5, SLOWLY)] and 0 < SLOWLY <= 1e-3


def test_a_trial_is_of_the_runs_own_sequences_as_far_as_they_are_few() -> None:
    for length, batch, expected in ((16, 4, 4), (16, 64, 64), (16, 65, 64), (512, 9, 2), (1024, 9, 1), (2048, 9, 1)):
        config = tiny_config(f"model.block_size={length}", f"train.batch_size={batch}", "train.compile=true")
        train = trial_config(config).train
        assert (train.batch_size, train.grad_accum, train.compile) == (expected, 1, False)


def test_what_is_too_small_is_known_to_the_operation(monkeypatch: pytest.MonkeyPatch) -> None:
    config = tiny_config("train.max_steps=10", "train.warmup_steps=0")
    step = flops_per_token(config.model, 20) * config.tokens_per_step
    assert (LEAST_FLOPS, LEAST_STEP) == (1e12, 2e8)
    for least, whole, small in ((step, 10 * step, False), (step + 1, 0, True), (0, 10 * step + 1, True)):
        monkeypatch.setattr(precision, "LEAST_STEP", least)
        monkeypatch.setattr(precision, "LEAST_FLOPS", whole)
        assert too_small(config, 20) is small


@pytest.mark.parametrize(
    ("small", "reckoned", "tries"),
    [(None, True, False), (None, False, True), (True, False, False), (False, True, True)],
)
def test_who_knows_that_a_run_is_small_says_so(
    monkeypatch: pytest.MonkeyPatch, small: bool | None, reckoned: bool, tries: bool
) -> None:
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: True)
    monkeypatch.setattr(precision, "too_small", lambda config, vocab: reckoned)
    monkeypatch.setattr(precision, "_tried", lambda *_: {"fp32": 2.0, "bf16": 1.0})
    found = choose(tiny_config(), tokens(), CPU, small=small)
    assert found == (decided({"fp32": 2.0, "bf16": 1.0}) if tries else ("fp32", found.why, {}))
    if not tries:
        assert found.why == "the run is too small to try others"


def test_half_a_trial_is_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: True)
    config, tries = tiny_config(), list[int]()
    found: dict[str, float] = {"fp32": 2.0}
    monkeypatch.setattr(precision, "_tried", lambda *_: tries.append(1) or found)
    no_room = Choice("fp32", "there was no memory or no time to try others", {})
    assert choose(config, tokens(), CPU, small=False) == no_room and TRIALS.kept() == {}
    found = {"fp32": 2.0, "bf16": 1.0}
    for _ in range(2):
        assert choose(config, tokens(), CPU, small=False).precision == "bf16"
    assert len(tries) == 2 and list(TRIALS.kept().values()) == [found]


def test_where_nothing_is_named_the_choice_is_the_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    choice = Choice("bf16", "it is faster", {})
    monkeypatch.setattr(precision, "choose", lambda *_: choice)
    config, found = settled(tiny_config("train.precision=auto"), tokens(), CPU)
    assert config.train.precision == "bf16" and found is choice


def test_what_was_measured_is_known_by_all_that_it_depends_on() -> None:
    config = tiny_config("train.batch_size=3")
    where, model, vocab, step = json.loads(kept_key(config, 20))
    assert where == [cpu_model(), torch.get_num_threads(), torch.__version__] and vocab == 20
    assert model == config.model.model_dump(mode="json")
    assert step == [3, config.train.optimizer, config.train.recompute, config.train.lora_r]


def test_the_choice_is_told_in_milliseconds() -> None:
    said = decided({"fp32": 0.9, "bf16": 0.8}).why
    assert said == "a step tried on this machine takes 900 ms in fp32, 800 in bf16"


@pytest.mark.parametrize("able", [False, True])
def test_what_a_gpu_only_imitates_is_not_chosen(monkeypatch: pytest.MonkeyPatch, able: bool) -> None:
    def supported(including_emulation: bool) -> bool:
        return including_emulation or able

    monkeypatch.setattr(torch.cuda, "is_bf16_supported", supported)
    found = choose(tiny_config(), tokens(), torch.device("cuda", 0))
    assert found.precision == ("bf16" if able else "fp32") and found.seconds == {}


@pytest.mark.parametrize(
    ("value", "good"),
    [
        ({"fp32": 1.0, "bf16": 2.0}, True),
        ({"fp32": 1.0}, False),
        ({"fp32": 1.0, "bf16": "2"}, False),
        ({"fp32": 1.0, "bf16": None}, False),
        ([], False),
        (None, False),
        ("fp32 bf16", False),
    ],
)
def test_only_two_times_are_a_measurement(value: object, good: bool) -> None:
    assert TRIALS.is_one(value) is good


def test_what_is_damaged_beside_a_good_one_is_left_behind() -> None:
    good = {"fp32": 1.0, "bf16": 2.0}
    TRIALS.keep("a", good)
    TRIALS.path.write_text(json.dumps({"a": good, "b": [], "c": {"fp32": 1.0}}))
    assert TRIALS.kept() == {"a": good}
    TRIALS.keep("d", good)
    assert TRIALS.kept() == {"a": good, "d": good} and trials.MOST_KEPT == 200
