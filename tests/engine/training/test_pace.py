"""The pace of a run: measured on its own step, known by what it depends on, and added up to the time of a run."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest
import torch

from engine.config import Config, TrainConfig
from engine.errors import ConfigError
from engine.plan import measure, pace
from engine.plan.forecast import forecast, occasions
from engine.plan.pace import Measuring, Pace, pace_key
from engine.preset_files import load_preset
from engine.runs.layout import RunDir
from engine.runs.status import read_status
from engine.tokenizers.table import expected_tokens
from engine.training import precision
from engine.training.schedule import is_evaluated

from .conftest import tiny_config, train

PACE = Pace(0.02, 1e-5, 1e-3, "cpu", 2)


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("STEP_SECONDS", "EVAL_SECONDS", "SAMPLE_SECONDS"):
        monkeypatch.setattr(measure, name, 0.1)
    monkeypatch.setattr(precision, "TRIAL_SECONDS", 0.0)


@pytest.fixture(autouse=True)
def nothing_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pace, "known", {})


def ended(measuring: Measuring) -> Measuring:
    deadline = time.monotonic() + 60
    while measuring.alive and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not measuring.alive
    return measuring


@pytest.mark.parametrize("steps", [1, 5, 6, 7, 29, 30, 31, 100, 400, 401])
@pytest.mark.parametrize(("eval_every", "checkpoint_every"), [(5, 10), (10, 4), (7, 3), (50, 1000)])
def test_evaluations_and_samples_are_counted_as_the_trainer_makes_them(
    steps: int, eval_every: int, checkpoint_every: int
) -> None:
    made = range(1, steps + 1)
    settings = TrainConfig(max_steps=steps, eval_every=eval_every, checkpoint_every=checkpoint_every)
    evaluations = [step for step in made if is_evaluated(step, settings)]
    samples = [step for step in made if step in evaluations or step % checkpoint_every == 0]
    assert occasions(settings) == (len(evaluations), len(samples))
    assert occasions(settings.model_copy(update={"sample_tokens": 0})) == (len(evaluations), 0)


def test_a_run_takes_its_steps_evaluations_and_samples() -> None:
    config = load_preset("nano").replace(
        {"train.max_steps": 1000, "train.eval_every": 500, "train.checkpoint_every": 250, "train.sample_tokens": 200}
    )
    told = forecast(config, 65, 900_000, val_tokens=100_000, pace=PACE)
    assert told.train_seconds == pytest.approx(1000 * 0.02)
    assert told.eval_seconds == pytest.approx(3 * 100_000 * 1e-5), "at 100, 500 and 1000"
    assert told.sample_seconds == pytest.approx(5 * 200 * 1e-3)
    assert told.run_seconds == pytest.approx(20 + 3 + 1)
    assert told.to_dict()["run_seconds"] == told.run_seconds
    blind = forecast(config, 65, pace=PACE)
    assert blind.eval_seconds is None and blind.run_seconds == pytest.approx(21)
    assert forecast(config, 65).run_seconds is None


def test_tokens_are_expected_from_the_size_of_the_file() -> None:
    assert expected_tokens(1_000_000, load_preset("nano").data) == (900_000, 100_000)
    train_tokens, val_tokens = expected_tokens(1_000_000, load_preset("milestones").data)
    assert val_tokens < train_tokens < 300_000


def test_a_pace_is_known_by_what_it_depends_on() -> None:
    nano = load_preset("nano").replace({"train.precision": "fp32"})
    key = pace_key(nano, 65)
    for setting, value in {
        "max_steps": 7,
        "seed": 3,
        "learning_rate": 0.5,
        "eval_every": 9,
        "sample_prompt": "x",
    }.items():
        assert pace_key(nano.replace({f"train.{setting}": value}), 65) == key, setting
    for setting in ("train.batch_size=5", "train.optimizer=adamw", "train.precision=bf16", "model.n_layer=5"):
        name, _, value = setting.partition("=")
        assert pace_key(nano.replace({name: value}), 65) != key, setting
    assert len({key, pace_key(nano, 66), pace_key(nano, 65, "cuda")}) == 3


def test_the_measured_pace_is_near_the_trainers_own(
    quick: None, start: Callable[..., RunDir], monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the clock of this process' own work, which others on the machine do not turn."""
    monkeypatch.setattr(time, "perf_counter", time.process_time)
    sets = ("train.max_steps=60", "train.eval_every=60", "train.checkpoint_every=60", "model.n_embd=64")
    run = start("timed", *sets)
    assert train(run).state == "finished"
    status = read_status(run)
    found = measure.measure_pace(tiny_config(*sets), 20, "cpu")
    assert 1 / 3 < found.step_seconds / (status["train_seconds"] / 60) < 3
    assert found.eval_token_seconds > 0 and found.sample_token_seconds > 0
    assert (found.device, found.threads) == ("cpu", torch.get_num_threads())


@pytest.mark.parametrize(
    ("sets", "vocab_size"),
    [
        (
            ("train.ema=0.9", "train.sample_tokens=0", "train.batch_size=1", "train.precision=fp32"),
            70_000,
        ),  # ids of 4 bytes
        (("train.grad_accum=2", "train.precision=bf16"), 300),
    ],
)
def test_every_kind_of_step_can_be_measured(quick: None, sets: tuple[str, ...], vocab_size: int) -> None:
    found = measure.measure_pace(tiny_config(*sets), vocab_size, "cpu")
    assert found.step_seconds > 0
    assert (found.sample_token_seconds == 0) == ("train.sample_tokens=0" in sets)


def test_a_process_of_its_own_measures_and_the_result_is_kept() -> None:
    config = tiny_config("train.seed=4")
    measuring = ended(Measuring(config, 30, "cpu"))
    assert isinstance(measuring.found, Pace) and measuring.found.step_seconds > 0
    assert pace.known == {pace_key(tiny_config(), 30, "cpu"): measuring.found}


def test_a_measurement_that_is_dropped_leaves_no_process_and_no_result() -> None:
    measuring = Measuring(load_preset("titan"), 84, "cpu")
    measuring.cancel()
    ended(measuring)
    assert measuring.found is None and pace.known == {}


def test_what_goes_wrong_is_one_line() -> None:
    measuring = ended(Measuring(tiny_config(), 30, "abacus"))
    assert measuring.found == "no device 'abacus'; use auto, cpu, cuda or cuda:0"
    for error in (
        MemoryError(),
        torch.OutOfMemoryError("x"),
        RuntimeError("DefaultCPUAllocator: can't allocate memory"),
    ):
        assert "lower train.batch_size" in measure.problem(error)
    assert "\n" not in measure.problem(ValueError("one\ntwo"))


def test_a_measurement_has_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pace, "LIMIT_SECONDS", 0.01)
    assert "nothing within" in str(ended(Measuring(tiny_config(), 30, "cpu")).found)


def test_precision_that_is_not_here_is_refused() -> None:
    config: Config = tiny_config("train.precision=fp16")
    with pytest.raises(ConfigError, match="fp16 needs a GPU"):
        measure.measure_pace(config, 30, "cpu")
