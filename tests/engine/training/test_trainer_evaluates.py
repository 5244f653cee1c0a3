"""A trainer's evaluations and samples, told by what it would write."""

from __future__ import annotations

import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from engine.training import beside
from engine.training.beside import Sample
from engine.training.evaluate import Evaluation, Interrupted
from engine.training.trainer import Trainer

from .told import said, telling

NO_ROOM = torch.OutOfMemoryError("out of memory")
STOP = {"do": "stop", "checkpoint": True}


def failing(error: BaseException) -> Any:
    def fails(*_: object, **__: object) -> Any:
        raise error

    return fails


# -- evaluation --------------------------------------------------------------------------------------------------------


def evaluating(one: Trainer, monkeypatch: pytest.MonkeyPatch, loss: float) -> None:
    found = Evaluation(loss, loss / 2, 1000, 0.25)
    monkeypatch.setattr(one.crew, "evaluate", lambda between: found if between == one.between else None)


def test_an_evaluation_is_a_record_and_counts_its_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one, told = telling(tmp_path)
    one.step, one.train_seconds, one.eval_seconds, one.owed = 5, 3.5, 1.0, True
    evaluating(one, monkeypatch, 2.0)
    assert one.evaluate() is True and not one.owed and one.eval_seconds == 1.25
    assert told[0] == ("status", {"phase": "evaluating"}) and told[-1][1]["phase"] == "training"
    tokens = 5 * one.config.tokens_per_step
    record = {"step": 5, "tokens": tokens, "time_s": 3.5, "val_loss": 2.0, "val_bpb": 1.0, "eval_s": 0.25}
    assert said(told, "metric") == [("metric", record)] and said(told, "alarm") == []
    assert one.val_loss() == 2.0 and (one.watch.best_loss, one.watch.best_step) == (2.0, 5)
    assert one.evaluate() is False
    one.step = 6
    assert one.val_loss() is None
    evaluating(one, monkeypatch, math.inf)
    assert one.evaluate() is False and one.val_loss() is None
    message = "the validation loss is inf; it never counts as the best, lower train.learning_rate"
    assert said(told, "alarm") == [("alarm", 6, {"alarm": "validation", "message": message})]


def test_overfitting_is_told_with_the_best(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one, told = telling(tmp_path)
    for step, loss, train in ((5, 2.0, 3.0), (10, 2.9, 1.0), (15, 2.9, 0.5)):
        one.step = step
        one.watch.trained(train)
        evaluating(one, monkeypatch, loss)
        one.evaluate()
    fields = {"alarm": "overfitting", "best_val_loss": 2.0, "best_step": 5, "val_loss": 2.9}
    assert said(told, "alarm") == [("alarm", 10, fields)]


def test_an_evaluation_that_gives_way_is_owed_and_one_without_room_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, told = telling(tmp_path)
    monkeypatch.setattr(one.crew, "evaluate", failing(Interrupted()))
    assert one.evaluate() is False and one.owed is True and one.evaluation is None
    assert told == [("status", {"phase": "evaluating"})]
    monkeypatch.setattr(one.crew, "evaluate", failing(NO_ROOM))
    assert one.evaluate() is False and one.owed is False and one.evaluation is None
    message = "no memory for an evaluation, not even of one sequence; it is left out, training goes on"
    alarm = ("alarm", 0, {"alarm": "memory", "message": message})
    assert told[2:] == [alarm, ("status", {"phase": "training"})]


# -- samples -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("stops", [False, True])
def test_a_sample_of_every_prompt_until_a_stop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stops: bool) -> None:
    one, told = telling(tmp_path, 'train.sample_prompts=["a", "b"]', "train.ema=0.5")
    one.step = 7
    weights = [each.clone() for each in one.optimizer.averaged.values()]  # type: ignore[union-attr]
    for each in one.optimizer.averaged.values():  # type: ignore[union-attr]
        each.fill_(0.5)

    def made(model: Any, tokenizer: Any, train: Any, number: int, between: Any, copies: Any) -> Sample:
        assert (model.wte.weight == 0.5).all(), "the averaged weights are in their place"
        assert between == one.between and copies is one.samples.copies and tokenizer is one.dataset.tokenizer
        if stops:
            one.stop = STOP
        return Sample({"number": number})

    monkeypatch.setattr(beside, "make_sample", made)
    one.samples.make()
    records = [("sample", {"step": 7, "number": number}) for number in (0, 1)]
    assert told == [("status", {"phase": "sampling"}), *records[: 1 if stops else 2], ("status", {"phase": "training"})]
    assert all(torch.equal(a, b) for a, b in zip(weights, one.optimizer.named.values(), strict=True))


def test_without_tokens_there_is_no_sample_and_with_others_they_are_made_beside(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, told = telling(tmp_path, "train.sample_tokens=0")
    one.samples.make()
    assert told == []
    one, told = telling(tmp_path)
    one.step = 7
    one.crew.ranks = SimpleNamespace(alone=False)  # type: ignore[assignment]
    monkeypatch.setattr(one.samples, "wait", lambda: told.append(("waited",)))
    monkeypatch.setattr(one.samples.beside, "begin", lambda step: told.append(("begun", step)))
    one.samples.make()
    assert told == [("waited",), ("begun", 7)]
