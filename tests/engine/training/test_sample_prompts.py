"""Several fixed prompts: a sample of each at every checkpoint, and the same training whatever their number."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from engine.config import TrainConfig
from engine.plan.forecast import occasions
from engine.runs.layout import RunDir
from engine.runs.reader import RunReader
from engine.runs.summary import summary
from engine.training import beside
from engine.training.beside import Sample, make_sample
from engine.training.copied import Copied, CopyCheck
from engine.training.host import TrainingHost
from engine.training.verify import verify_checkpoint

from .conftest import tiny_config, train

SEVERAL = 'train.sample_prompts=["a cat", "the dog", "one bird"]'


def samples(run: RunDir) -> list[dict[str, Any]]:
    reader = RunReader(run)
    reader.poll()
    assert reader.problems == []
    return reader.samples


def test_each_prompt_has_its_sample_and_its_seed_and_training_is_the_same(start: Callable[..., RunDir]) -> None:
    one, several = start("one", "train.sample_prompt=a cat"), start("several", SEVERAL)
    assert train(one).state == train(several).state == "finished"
    plain, all_of_them = samples(one), samples(several)
    assert {sample["step"] for sample in plain} == {4, 6, 8, 12}
    wanted = [(step, prompt) for step in (4, 6, 8, 12) for prompt in ("a cat", "the dog", "one bird")]
    assert [(sample["step"], sample["prompt"]) for sample in all_of_them] == wanted
    for record in all_of_them:
        assert (
            record["seed"]
            == record["settings"]["seed"]
            == 1337 + (wanted.index((record["step"], record["prompt"])) % 3)
        )
    firsts = [(sample["text"], sample["copied"]) for sample in all_of_them[::3]]
    assert firsts == [(sample["text"], sample["copied"]) for sample in plain]
    weights = [verify_checkpoint(run.checkpoint(12)).weights_sha256 for run in (one, several)]
    assert weights[0] is not None and weights[0] == weights[1]
    assert json.loads(several.run_json.read_text())["config"]["train"]["sample_prompts"] == [
        "a cat",
        "the dog",
        "one bird",
    ]


def test_what_the_summary_calls_copied_is_the_most_of_the_newest_step(start: Callable[..., RunDir]) -> None:
    run = start("several", SEVERAL)
    train(run)
    newest = [sample["copied"]["length"] for sample in samples(run) if sample["step"] == 12]
    found = summary(run)["copied"]
    assert len(newest) == 3 and found["step"] == 12 and found["length"] == max(newest)


def test_a_prompt_that_cannot_be_read_costs_only_its_own_sample(start: Callable[..., RunDir]) -> None:
    run = start("several", 'train.sample_prompts=["a cat", "\u0416", "one bird"]', "train.max_steps=4")
    assert train(run).state == "finished"
    assert [sample["prompt"] for sample in samples(run)] == ["a cat", "one bird"]
    reader = RunReader(run)
    reader.poll()
    alarms = [event for event in reader.events if event.get("alarm") == "sample"]
    assert len(alarms) == 1 and "\u0416" in str(alarms[0]["message"])


def test_a_stop_ends_the_samples_at_once(start: Callable[..., RunDir], monkeypatch: pytest.MonkeyPatch) -> None:
    run = start("several", SEVERAL, "train.sample_tokens=200")
    asked = []

    def stopped(model: object, tokenizer: object, train: TrainConfig, number: int, *rest: object) -> Sample:
        asked.append(train.prompts[number])
        host.commands.put({"do": "stop"})
        return make_sample(model, tokenizer, train, number, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(beside, "make_sample", stopped)
    host = TrainingHost(run)
    host.start()
    host.join()
    assert host.state == "stopped"
    assert asked == ["a cat"] and samples(run) == []


def test_an_alarm_of_one_prompt_is_not_repeated_by_another_that_is_fine(
    start: Callable[..., RunDir], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        CopyCheck,
        "compare",
        lambda self, sample, give_way: Copied(100 if sample == "bad" else 1, 0, 9, 9, 10),
    )
    check = CopyCheck(None)  # type: ignore[arg-type]
    said = [bool(check.look(text, lambda: False, text)[1]) for text in ("bad", "good", "bad", "good")]
    assert said == [True, False, False, False]


def test_the_forecast_counts_the_samples_of_all_prompts() -> None:
    one, three = (occasions(tiny_config(*sets).train) for sets in ((), (SEVERAL,)))
    assert three == (one[0], 3 * one[1])
