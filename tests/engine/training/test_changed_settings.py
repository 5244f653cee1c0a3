"""Settings that change in the middle: what they newly need begins fresh, or is refused by name before anything is
written; and what is counted goes on."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from engine.config import make_config
from engine.errors import RunError
from engine.preset_files import override
from engine.runs.layout import RunDir
from engine.runs.reader import RunReader
from engine.training import device
from engine.training.checkpoint import load_checkpoint
from engine.training.device import SCALE_START
from engine.training.fork import FREE_IN_A_FORK, fine_tuning_config, fork_run
from engine.training.start import resume_run, start_run

from .conftest import tiny_text, train

OTHER: dict[str, Any] = {
    "batch_size": 8,
    "grad_accum": 2,
    "max_steps": 10,
    "learning_rate": 2e-3,
    "min_learning_rate": 1e-4,
    "muon_learning_rate": 0.01,
    "embd_lr_scale": 2.0,
    "head_lr_scale": 3.0,
    "schedule": "cosine",
    "warmup_steps": 3,
    "decay_fraction": 0.5,
    "weight_decay": 0.2,
    "beta1": 0.8,
    "beta2": 0.9,
    "grad_clip": 0.5,
    "precision": "bf16",
    "recompute": True,
    "parallel": "fsdp",
    "eval_every": 5,
    "eval_first": 9,
    "checkpoint_every": 3,
    "keep_last": 1,
    "sample_prompt": "the dog",
    "sample_prompts": ("the dog", "a cat"),
    "sample_stop": ".",
    "sample_tokens": 3,
    "seed": 5,
    "early_stop": 2,
    "spike_rollback": 9.0,
}
ASIDE = {"compile"}
"""Where training is compiled has tests of its own, and takes longer."""


@pytest.fixture
def anywhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """fp16 on a CPU too: slow, and good enough for a loss scale."""
    monkeypatch.setattr(device, "check_precision", lambda name, device: None)


def read(run: RunDir) -> RunReader:
    reader = RunReader(run)
    reader.poll()
    assert reader.problems == []
    return reader


def test_every_setting_that_a_fork_may_change_can_be_changed(start: Callable[..., RunDir], tmp_path: Path) -> None:
    assert OTHER.keys() | ASIDE == FREE_IN_A_FORK
    run = start("origin", "train.max_steps=9", "train.sample_tokens=0")
    train(run)
    for number in range(5):
        changes = {f"train.{setting}": value for setting, value in list(OTHER.items())[number::5]}
        fork = fork_run(run, 8, tmp_path / "runs", name=f"other-{number}", changes=changes)
        host = train(fork)
        assert (host.state, host.error) == ("finished", None), changes


@pytest.mark.parametrize("how", ["fork", "fine-tune"])
def test_fp16_begins_with_a_fresh_scale(how: str, anywhere: None, start: Callable[..., RunDir], tmp_path: Path) -> None:
    """A run in fp32 has none: KeyError 'scaler.scale'."""
    run = start("origin")
    train(run)
    if how == "fork":
        half = fork_run(run, 8, tmp_path / "runs", name="half", changes={"train.precision": "fp16"})
    else:
        half = fine_tune(run, tmp_path, "train.precision=fp16")
    host = train(half)
    assert (host.state, host.error) == ("finished", None)
    last = load_checkpoint(half.checkpoint(12)).optimizer
    assert float(last["scaler.scale"]) == SCALE_START
    assert float(last["scaler.good"]) == (4.0 if how == "fork" else 12.0)
    whole = fork_run(half, 12, tmp_path / "runs", name="whole", changes={"train.precision": "fp32"})
    assert train(resume_run(whole, max_steps=14)).state == "finished", "and back"


def test_fp16_goes_on_with_its_own_scale(anywhere: None, start: Callable[..., RunDir]) -> None:
    run = start("half", "train.precision=fp16")
    train(run)
    assert train(resume_run(run, max_steps=14)).state == "finished"
    assert float(load_checkpoint(run.checkpoint(14)).optimizer["scaler.good"]) == 14.0


def fine_tune(run: RunDir, tmp_path: Path, *sets: str) -> RunDir:
    other = tmp_path / "other.txt"
    other.write_text(tiny_text(seed=7))
    config = override(fine_tuning_config(run, "last"), sets=sets)
    return start_run(str(other), config, tmp_path / "runs", name="tuned", device="cpu", base=(run, "last"))


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (("train.optimizer=muon",), ("train.optimizer=adamw",)),
        (("train.optimizer=adamw",), ("train.optimizer=muon",)),
        ((), ("train.ema=0.9",)),
        (("train.ema=0.9",), ("train.ema=0",)),
        (("train.ema=0.9",), ("train.ema=0.5", "train.optimizer=adamw")),
    ],
    ids=" ".join,
)
def test_fine_tuning_begins_every_state_anew(
    before: tuple[str, ...], after: tuple[str, ...], start: Callable[..., RunDir], tmp_path: Path
) -> None:
    run = start("parent", "train.max_steps=4", *before)
    train(run)
    tuned = fine_tune(run, tmp_path, "train.max_steps=3", *after)
    host = train(tuned)
    assert (host.state, host.error) == ("finished", None)
    assert train(resume_run(tuned, max_steps=5)).state == "finished"


@pytest.mark.parametrize(
    "change",
    [{"optimizer": "adamw"}, {"lora_r": 2}, {"optimizer": "adamw", "precision": "bf16"}],
    ids=" ".join,
)
def test_a_state_that_does_not_fit_is_refused_by_name_and_nothing_is_written(
    change: dict[str, Any], start: Callable[..., RunDir]
) -> None:
    """Settings edited by hand in run.json; it was a KeyError in the midst of resuming."""
    run = start("edited", "train.sample_tokens=0")
    train(run)
    info = json.loads(run.run_json.read_text())
    info["config"]["train"] |= change | {"max_steps": 20}
    run.run_json.write_text(json.dumps(info))
    before = run.metrics.read_bytes()
    host = train(resume_run(run))
    assert host.state == "failed" and host.error is not None
    assert "\n" not in host.error and "checkpoint" in host.error
    assert ("optimizer adamw" in host.error) == ("optimizer" in change)
    assert run.metrics.read_bytes() == before
    assert run.checkpoint_steps()[-1] == 12
    assert "traceback" not in run.events.read_text()


def test_an_average_asked_for_later_begins_with_the_weights(start: Callable[..., RunDir]) -> None:
    run = start("edited", "train.sample_tokens=0")
    train(run)
    weights = load_checkpoint(run.checkpoint(12)).weights
    info = json.loads(run.run_json.read_text())
    info["config"]["train"] |= {"ema": 0.75, "max_steps": 13}
    run.run_json.write_text(json.dumps(info))
    assert train(resume_run(run)).state == "finished"
    last = load_checkpoint(run.checkpoint(13))
    for name, tensor in weights.items():
        moved = torch.lerp(tensor, last.weights[name], 1 - 13 / 22)  # still warming: below its decay of 0.75
        torch.testing.assert_close(last.averaged[name], moved)


def test_a_fork_with_another_batch_size_goes_on_counting_tokens(start: Callable[..., RunDir], tmp_path: Path) -> None:
    """They were steps times what a step has now, also for the steps before."""
    run = start("origin")
    train(run)
    changes = {"train.batch_size": 8, "train.grad_accum": 3}
    fork = fork_run(run, 8, tmp_path / "runs", name="wider", changes=changes)
    assert train(fork).state == "finished"
    expected = [64 * step for step in range(1, 9)] + [512 + 384 * step for step in range(1, 5)]
    reader = read(fork)
    assert reader.series.tokens.tolist() == expected
    assert load_checkpoint(fork.checkpoint(12)).state["tokens"] == expected[-1]
    assert reader.status["tokens"] == expected[-1]
    evaluations = [json.loads(line) for line in fork.metrics.read_text().splitlines() if "val_loss" in line]
    assert [line["tokens"] for line in evaluations] == [64 * 6, expected[-1]]
    train(resume_run(fork, max_steps=13))
    assert read(fork).series.tokens[-1] == expected[-1] + 384


def test_a_finished_run_offers_the_command_that_goes_on(start: Callable[..., RunDir]) -> None:
    run = start("done", "train.max_steps=4", "train.sample_tokens=0")
    train(run)
    with pytest.raises(RunError, match=r"tinytui train --resume done --steps 8$"):
        resume_run(run)
    run.status_json.write_text(run.status_json.read_text().replace("finished", "stopped"))
    with pytest.raises(RunError, match=r"at step 4 already; .*tinytui train --resume done --steps 8$"):
        resume_run(run, max_steps=3)
    assert make_config(json.loads(run.run_json.read_text())["config"]).train.max_steps == 4
