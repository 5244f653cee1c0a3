"""What is watched for in a run: the best evaluation, overfitting told from noise, when to stop, spikes."""

from __future__ import annotations

import json
import math
import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from engine.config import TrainConfig
from engine.preset_files import load_config
from engine.runs.layout import RunDir
from engine.runs.reader import RunReader
from engine.training.checkpoint import load_checkpoint
from engine.training.schedule import first_evaluation, is_evaluated
from engine.training.start import resume_run, start_run
from engine.training.trainer import Trainer
from engine.training.watch import Watch

from .conftest import train

MANY, FEW = 100_000, 3_000
"""Tokens of a large and of a small validation split."""


def watched(losses: Sequence[tuple[float, float]], tokens: int) -> tuple[Watch, list[int]]:
    """A watch that saw (training loss, validation loss) each a hundred steps, and the evaluations that alarmed."""
    watch, alarms = Watch(), []
    for number, (train_loss, val_loss) in enumerate(losses, 1):
        for _ in range(100):
            watch.trained(train_loss)
        watch.evaluated(100 * number, val_loss, tokens)
        if watch.alarm():
            alarms.append(number)
    return watch, alarms


def test_a_clear_rise_alarms_at_once() -> None:
    """`train names.txt --steps 1500`: val 1.73, 2.15, 2.77, and nothing was said."""
    assert watched([(2.0, 1.73), (1.5, 2.15), (1.0, 2.77)], FEW)[1] == [2]


def test_noise_does_not_alarm() -> None:
    small = [(2.0, 1.73), (1.5, 1.80), (1.2, 1.76), (1.1, 1.82)]
    assert watched(small, FEW)[1] == [], "0.09 is within four standard errors of 3,000 tokens"
    assert watched(small, MANY)[1] == [2], "and 0.07 is not within those of 100,000"
    assert watched([(2.0, 1.500), (1.5, 1.515), (1.2, 1.525)], MANY)[1] == [], "nor is a hundredth a rise"


def test_a_slow_rise_alarms_when_it_has_become_clear() -> None:
    slow = [(2.0, 1.50), *((2.0 - 0.05 * n, 1.50 + 0.007 * n) for n in range(1, 12))]
    assert watched(slow, MANY)[1] == [6], "the first that is 0.03 above the best"


def test_it_is_said_once_and_again_after_a_new_best() -> None:
    assert watched([(2.0, 1.7), (1.5, 2.1), (1.0, 2.2), (0.9, 1.6), (0.8, 2.0)], MANY)[1] == [2, 5]


@pytest.mark.parametrize("train_losses", [(2.0, 2.4, 3.0), (2.0, 2.0, 2.0), (1.0, 3.0, 2.5)])
def test_no_overfitting_while_training_is_no_better_than_at_the_best(train_losses: tuple[float, ...]) -> None:
    assert watched(list(zip(train_losses, (1.7, 2.2, 2.9), strict=True)), MANY)[1] == []


def test_training_that_falls_for_a_moment_only_does_not_count() -> None:
    """A hundred steps at 3, then one good batch: the mean since the last evaluation is lower, the trend is not."""
    watch, _ = watched([(2.0, 1.7)], MANY)
    for loss in [*[3.0] * 100]:
        watch.trained(loss)
    watch.evaluated(200, 2.0, MANY)
    watch.trained(1.5)
    watch.evaluated(201, 2.3, MANY)
    assert not watch.alarm()


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_loss_that_is_no_number_is_never_the_best(bad: float) -> None:
    watch = Watch()
    assert not watch.evaluated(1, bad, MANY)
    assert watch.best_step is None
    assert watch.evaluated(2, 3.0, MANY)
    assert not watch.evaluated(3, bad, MANY)
    assert watch.evaluated(4, 2.0, MANY), "it was the best for ever"
    assert (watch.best_loss, watch.best_step, watch.since_best) == (2.0, 4, 0)


def test_one_as_good_is_not_better() -> None:
    watch = Watch()
    assert [watch.evaluated(step, 2.0, MANY) for step in (1, 2, 3)] == [True, False, False]
    assert watch.best_step == 1 and watch.since_best == 2
    assert watch.should_stop(2) and not watch.should_stop(3) and not watch.should_stop(0)


def test_one_odd_loss_moves_the_running_average_by_two_percent() -> None:
    watch = Watch()
    watch.trained(2.0)
    assert watch.running == 2.0
    watch.trained(7.0)
    assert watch.running == pytest.approx(2.0 + 0.02 * 5.0)
    for _ in range(50):
        watch.trained(2.0)
    assert watch.running == pytest.approx(2.0 + 0.1 * 0.98**50)
    assert watch.is_spike(6.2, 3.0) and not watch.is_spike(6.0, 3.0) and not watch.is_spike(99.0, 0.0)


def test_a_watch_goes_out_and_comes_back() -> None:
    watch, _ = watched([(2.0, 1.7), (1.5, 2.1), (1.0, 2.2)], MANY)
    assert Watch.from_dict(json.loads(json.dumps(watch.to_dict()))) == watch
    assert watch != Watch()


def test_one_of_an_older_program_is_read() -> None:
    old = {"best_loss": 1.5, "best_step": 7, "since_best": 2, "rises": 1, "last_val": 1.6, "last_train": 1.4}
    old |= {"running": 1.41, "train_sum": 0.0, "train_count": 0, "alarmed": False}
    watch = Watch.from_dict(old)
    assert (watch.best_loss, watch.best_step, watch.since_best, watch.running) == (1.5, 7, 2, 1.41)
    assert Watch.from_dict({**old, "best_loss": math.nan}).evaluated(9, 4.0, MANY), "NaN was its best for ever"


@pytest.mark.parametrize(
    ("steps", "every", "first", "expected"),
    [
        (1500, 500, 0, [150, 500, 1000, 1500]),
        (1500, 100, 0, [*range(100, 1501, 100)]),
        (199, 500, 0, [199]),
        (200, 500, 0, [20, 200]),
        (300, 1000, 0, [30, 300]),
        (1000, 400, 400, [400, 800, 1000]),
        (1000, 400, 7, [7, 400, 800, 1000]),
        (1000, 400, 5000, [400, 800, 1000]),
    ],
)
def test_a_first_evaluation_comes_in_the_first_tenth(steps: int, every: int, first: int, expected: list[int]) -> None:
    settings = TrainConfig(max_steps=steps, eval_every=every, eval_first=first)
    assert [step for step in range(1, steps + 1) if is_evaluated(step, settings)] == expected


def test_who_says_how_often_gets_no_other_evaluation(tmp_path: Path) -> None:
    steps = ("train.max_steps=1500",)
    assert first_evaluation(load_config("nano", sets=steps).train) == 150
    assert first_evaluation(load_config("nano", sets=(*steps, "train.eval_every=700")).train) == 700
    both = (*steps, "train.eval_every=700", "train.eval_first=30")
    assert first_evaluation(load_config("nano", sets=both).train) == 30
    file = tmp_path / "mine.toml"
    file.write_text("[train]\neval_every = 900\nmax_steps = 1500\n")
    assert first_evaluation(load_config("nano", file=file).train) == 900


def names(folder: Path, seed: int = 0, count: int = 5000) -> Path:
    """Made-up names, one a line."""
    rng = random.Random(seed)
    parts = [a + b for a in "bdfgklmnprstvz" for b in ("a", "e", "i", "o", "u", "ar", "en", "il")]
    path = folder / "names.txt"
    path.write_text("".join("".join(rng.choices(parts, k=rng.randint(2, 4))) + "\n" for _ in range(count)))
    return path


def test_a_run_that_learns_its_text_by_heart_says_so(tmp_path: Path) -> None:
    """A model far too large for a few names; the alarm comes with the first evaluation that is clearly worse."""
    sets = ("model.n_layer=1", "model.n_embd=64", "model.block_size=32", "train.batch_size=4", "train.max_steps=80")
    sets = (*sets, "data.val_fraction=0.5", "train.eval_every=40", "train.sample_tokens=0")
    config = load_config("nano", sets=sets)
    run = start_run(str(names(tmp_path, count=150)), config, tmp_path / "runs", name="heart", device="cpu")
    assert train(run).state == "finished"
    reader = RunReader(run)
    reader.poll()
    alarms = [event for event in reader.events if event["kind"] == "alarm"]
    assert [event["alarm"] for event in alarms] == ["overfitting"]
    (alarm,) = alarms
    assert alarm["val_loss"] > alarm["best_val_loss"] and alarm["best_step"] < alarm["step"]


def losses(monkeypatch: pytest.MonkeyPatch, values: dict[int, float]) -> None:
    """The evaluation of each of these steps gives that loss, everything else is as it is."""
    import dataclasses

    from engine.training import crew

    real = crew.evaluate
    step: list[int] = [0]
    plain = Trainer.evaluate

    def noted(self: Trainer) -> bool:
        step[0] = self.step
        return plain(self)

    def evaluate(*args: Any, **kwargs: Any) -> Any:
        return dataclasses.replace(real(*args, **kwargs), loss=values[step[0]])

    monkeypatch.setattr(Trainer, "evaluate", noted)
    monkeypatch.setattr(crew, "evaluate", evaluate)


def events(run: RunDir, kind: str) -> list[dict[str, Any]]:
    reader = RunReader(run)
    reader.poll()
    assert reader.problems == []
    return [event for event in reader.events if event["kind"] == kind]


EACH = ("train.eval_every=1", "train.checkpoint_every=100", "train.sample_tokens=0", "train.keep_last=1")


def test_the_best_is_the_lowest_and_is_never_removed(
    start: Callable[..., RunDir], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Early, not the last, equalled later, with one checkpoint kept beside it."""
    run = start("best", *EACH, "train.checkpoint_every=1")
    low = {4: 1.0, 9: 1.0, 11: 2.0}
    losses(monkeypatch, {step: low.get(step, 3.0) for step in range(1, 13)})
    assert train(run).state == "finished"
    assert run.checkpoint_steps() == [4, 12]
    status = json.loads(run.status_json.read_text())
    assert (status["best_val_step"], status["best_val_loss"], status["last_val_loss"]) == (4, 1.0, 3.0)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_validation_loss_that_is_no_number_is_said_and_passed_over(
    bad: float, start: Callable[..., RunDir], monkeypatch: pytest.MonkeyPatch
) -> None:
    run = start("nan", *EACH, "train.max_steps=4", "train.checkpoint_every=1", "train.keep_last=9")
    losses(monkeypatch, {1: bad, 2: 2.0, 3: bad, 4: 1.9})
    assert train(run).state == "finished"
    said = json.loads(run.status_json.read_text(), parse_constant=pytest.fail)
    assert (said["best_val_step"], said["best_val_loss"]) == (4, 1.9)
    alarms = [event for event in events(run, "alarm") if event["alarm"] == "validation"]
    assert [event["step"] for event in alarms] == [1, 3]
    assert f"is {bad}" in alarms[0]["message"]
    found = {step: load_checkpoint(run.checkpoint(step)).state["val_loss"] for step in run.checkpoint_steps()}
    assert found == {1: None, 2: 2.0, 3: None, 4: 1.9}


def test_a_run_that_stopped_early_goes_on_with_patience_anew(
    start: Callable[..., RunDir], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It went on for exactly one step, every time."""
    run = start("early", *EACH, "train.early_stop=3")
    losses(monkeypatch, {step: 1.0 if step == 1 else 2.0 for step in range(1, 13)})
    assert train(run).state == "finished"
    assert [event["step"] for event in events(run, "early_stop")] == [4]
    assert train(resume_run(run)).state == "finished"
    assert [event["step"] for event in events(run, "early_stop")] == [4, 7]
    (resumed,) = events(run, "resumed")
    assert any("stopped early" in warning for warning in resumed["warnings"])
    assert train(resume_run(run)).state == "finished"
    assert [event["step"] for event in events(run, "early_stop")] == [4, 7, 10]
    assert json.loads(run.status_json.read_text())["best_val_step"] == 1


@pytest.mark.parametrize("stop", [3, 4, 5])
def test_a_resume_keeps_the_best_and_the_patience(
    stop: int, start: Callable[..., RunDir], monkeypatch: pytest.MonkeyPatch
) -> None:
    run = start("patient", *EACH, "train.early_stop=5")
    losses(monkeypatch, {step: 1.0 if step == 2 else 2.0 for step in range(1, 13)})
    stop_once(run, stop, monkeypatch)
    assert train(run).state == "stopped"
    state = load_checkpoint(run.checkpoint(stop)).state
    assert state["owed"], "the evaluation of this step gave way"
    watch = state["watch"]
    assert (watch["best_loss"], watch["best_step"], watch["since_best"]) == (1.0, 2, stop - 3)
    assert train(resume_run(run)).state == "finished"
    assert [event["step"] for event in events(run, "early_stop")] == [7], "as without the interruption"
    (resumed,) = events(run, "resumed")
    assert resumed["warnings"] == []


def stop_once(run: RunDir, step: int, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = Trainer._one_step

    def one_step(self: Trainer) -> None:
        plain(self)
        if self.step == step and not events(run, "stop"):
            self.commands.put({"do": "stop"})

    monkeypatch.setattr(Trainer, "_one_step", one_step)


@pytest.mark.parametrize("stop", [6, 12])
def test_an_evaluation_that_gave_way_to_a_stop_is_made_by_the_resume(
    stop: int, start: Callable[..., RunDir], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also the last: the run is not finished without it."""
    run = start("owed")
    stop_once(run, stop, monkeypatch)
    assert train(run).state == "stopped"
    assert train(resume_run(run)).state == "finished"
    reader = RunReader(run)
    reader.poll()
    assert reader.series.val_step.tolist() == [6, 12]
    assert reader.series.step.tolist() == list(range(1, 13))
    assert load_checkpoint(run.checkpoint(stop)).state["val_loss"] is not None
