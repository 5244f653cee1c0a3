"""What is asked of a trainer, and of a run that is to go on: done once, or told why not."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from engine.errors import RunError
from engine.runs.layout import RunDir
from engine.runs.reader import RunReader
from engine.runs.status import read_config
from engine.training import start as module
from engine.training.start import longer, resume_run

from .conftest import tiny_config
from .told import said, telling

Start = Callable[..., RunDir]


@pytest.mark.parametrize(
    ("do", "paused", "event", "then"),
    [
        ("pause", False, "paused", True),
        ("pause", True, "", True),
        ("resume", True, "unpaused", False),
        ("resume", False, "", False),
        ("stop", False, "stop", False),
        ("stop", True, "stop", True),
        ("sample", False, "", False),
        ("checkpoint", True, "", True),
    ],
)
def test_an_order_is_carried_out_and_told_once(tmp_path: Path, do: str, paused: bool, event: str, then: bool) -> None:
    one, told = telling(tmp_path)
    one.step, one.paused = 3, paused
    command = {"do": do}
    one.carry_out(command)
    assert one.paused is then and (one.stop is command) is (do == "stop")
    assert one.wanted == ([do] if do in ("sample", "checkpoint") else [])
    assert [each for each in told if each[0] != "status"] == ([(event, 3, {})] if event else [])
    states = [each[1]["state"] for each in said(told, "status")]
    assert states == {"paused": ["paused"], "unpaused": ["running"]}.get(event, [])


@pytest.mark.parametrize("value", [0.25, 10.0])
def test_a_rate_is_set_from_the_next_update_on(tmp_path: Path, value: float) -> None:
    """Of a peak of 0.5 that is halved by now; the checkpoint of this step has the rate before."""
    one, told = telling(tmp_path, "train.learning_rate=0.5", "train.schedule=linear", "train.min_learning_rate=0")
    one.step, one.checkpoint_step, one.lr_scale = 5, 5, 2.0
    assert one.learning_rate == 0.5
    one.carry_out({"do": "learning_rate", "value": value})
    assert told[0] == ("learning_rate", 5, {"value": value, "before": 0.5, "scale": 4 * value})
    assert told[1][1]["learning_rate"] == one.learning_rate == value and one.checkpoint_step is None
    told.clear()
    one.carry_out({"do": "learning_rate", "value": value * (1 + 1e-13)})
    assert told == [], "it is in force already"
    one.step, one.checkpoint_step, scale = 10, 10, one.lr_scale
    one.carry_out({"do": "learning_rate", "value": 0.125})
    assert (one.lr_scale, one.checkpoint_step) == (scale, 10)
    message = "learning rate 0.125 is not set: the schedule is at zero here"
    assert told == [("alarm", 10, {"alarm": "learning_rate", "message": message})]


# -- a run that is to go on --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "asked", "said", "steps"),
    [
        (None, None, "", 12),
        (None, 13, "", 13),
        ({"state": "running", "step": 0}, 1, "", 1),
        ({"state": "stopped", "step": 5}, None, "", 12),
        ({"state": "stopped", "step": 5}, 12, "", 12),
        ({"state": "stopped", "step": 5}, 6, "", 6),
        ({"state": "stopped", "step": 5}, 5, "is at step 5 already; more are made with", 12),
        ({"state": "stopped", "step": 5}, 4, "is at step 5 already; more are made with", 12),
        ({"state": "stopped", "step": 12}, None, "", 12),
        ({"state": "finished", "step": 12}, None, "finished at step 12; train it longer with", 12),
        ({"state": "finished", "step": 12}, 12, "finished at step 12; train it longer with", 12),
        ({"state": "finished", "step": 12}, 13, "", 13),
        ({"state": "finished", "step": 7}, None, "", 12),
    ],
)
def test_a_run_goes_on_where_something_is_left(
    start: Start, status: dict[str, Any] | None, asked: int | None, said: str, steps: int
) -> None:
    run = start("run")
    run.status_json.unlink(missing_ok=True)
    if status is not None:
        run.status_json.write_text(json.dumps(status))
    done = (status or {}).get("step", 0)
    if said:
        with pytest.raises(RunError) as told:
            resume_run(run, max_steps=asked)
        assert str(told.value) == f"run run {said} tinytui train --resume run --steps {2 * done}"
        assert longer(run, 7) == "tinytui train --resume run --steps 14"
    else:
        assert resume_run(run, max_steps=asked) is run
    assert read_config(run).train.max_steps == steps
    reader = RunReader(run)
    reader.poll()
    events = [(each["step"], each["value"], each["before"]) for each in reader.events if each["kind"] == "steps"]
    assert events == ([(done, steps, 12)] if steps != 12 else [])


@pytest.mark.parametrize("prompt", ["\n", "Once"])
@pytest.mark.parametrize("stops", [("<END>", "<ALSO>"), ()])
def test_the_first_example_is_asked_where_no_prompt_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, corpus: Path, prompt: str, stops: tuple[str, ...]
) -> None:
    class Template:
        def __init__(self) -> None:
            self.stops = stops

        def apply(self, example: str) -> str:
            return f"You: {example}"

        def to_dict(self) -> dict[str, Any]:
            return {}

    found = module.find_corpus(str(corpus))
    object.__setattr__(found, "template", Template())
    object.__setattr__(found, "examples", ("first", "second"))
    monkeypatch.setattr(module, "find_corpus", lambda name, folder: found)
    config = tiny_config().replace({"train.sample_prompt": prompt})
    run = module.start_run("tiny", config, tmp_path / "runs", name="run", device="cpu")
    train = read_config(run).train
    expected = ("You: first", stops[0] if stops else "") if prompt == "\n" else (prompt, "")
    assert (train.prompts, train.sample_stop) == ((expected[0],), expected[1])
