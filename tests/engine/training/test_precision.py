"""The arithmetic that `auto` comes to: tried where it can pay, recorded, kept for the machine, and nobody else's."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from engine.config import Config
from engine.plan.forecast import forecast
from engine.plan.measure import made_up
from engine.plan.pace import Pace, pace_key
from engine.preset_files import load_preset
from engine.runs.layout import RunDir
from engine.runs.reader import RunReader
from engine.runs.status import read_config
from engine.tokenizers.dataset import TokenDataset
from engine.training import precision, trials
from engine.training.checkpoint import load_checkpoint
from engine.training.precision import choose, decided, settled, too_small, trial_config
from engine.training.start import resume_run
from engine.training.verify import verify_checkpoint

from .conftest import tiny_config, train

CPU = torch.device("cpu")


@pytest.fixture
def tried(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every run is long enough for a trial, and no trial takes long."""
    monkeypatch.setattr(precision, "LEAST_FLOPS", 0.0)
    monkeypatch.setattr(precision, "LEAST_STEP", 0.0)
    monkeypatch.setattr(precision, "TRIAL_SECONDS", 0.0)
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: True)


def tokens(config: Config) -> TokenDataset:
    return made_up(config, 30, CPU)


def fails(*_: Any) -> Any:
    raise AssertionError("it was tried")


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        ({"fp32": 2.0, "bf16": 1.0}, "bf16"),
        ({"fp32": 1.1, "bf16": 1.0}, "bf16"),
        ({"fp32": 1.09, "bf16": 1.0}, "fp32"),
        ({"fp32": 1.0, "bf16": 2.0}, "fp32"),
        ({"fp32": 1.0}, "fp32"),
        ({"fp32": 1.0, "bf16": 0.0}, "fp32"),
        ({}, "fp32"),
    ],
)
def test_bf16_is_taken_where_it_is_clearly_faster(seconds: dict[str, float], expected: str) -> None:
    assert decided(seconds).precision == expected


def test_the_choice_is_said_with_what_was_measured() -> None:
    assert decided({"fp32": 0.0312, "bf16": 0.0156}).why.endswith("takes 31.2 ms in fp32, 15.6 in bf16")


def test_what_cannot_gain_is_not_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(precision, "_tried", fails)
    config = tiny_config()
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: True)
    assert choose(config, tokens(config), CPU).precision == "fp32", "a run that is over at once"
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)
    monkeypatch.setattr(precision, "LEAST_FLOPS", 0.0)
    monkeypatch.setattr(precision, "LEAST_STEP", 0.0)
    assert choose(config, tokens(config), CPU) == ("fp32", "this CPU does not multiply bf16", {})
    for able, expected in ((True, "bf16"), (False, "fp32")):
        monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation, able=able: able)
        assert choose(config, tokens(config), torch.device("cuda", 0)).precision == expected


def test_what_is_too_small_goes_by_the_step_and_the_whole_run() -> None:
    nano = load_preset("nano")
    assert not too_small(nano, 65) and too_small(nano.replace({"train.max_steps": 100}), 65)
    assert not too_small(nano.replace({"train.max_steps": 100, "train.grad_accum": 40}), 65)
    tiny = nano.replace({"model.n_embd": 16, "model.block_size": 32, "train.max_steps": 10**8})
    assert too_small(tiny, 65), "it is not the products that take the time"
    assert too_small(load_preset("bigram"), 65), "there is no product in it"


def test_a_trial_is_made_once_for_a_machine_and_a_shape(tried: None, monkeypatch: pytest.MonkeyPatch) -> None:
    config = tiny_config()
    first = choose(config, tokens(config), CPU)
    assert set(first.seconds) == {"fp32", "bf16"} and all(each > 0 for each in first.seconds.values())
    with monkeypatch.context() as patch:
        patch.setattr(precision, "_tried", fails)
        assert choose(config, tokens(config), CPU) == first
        assert choose(config.replace({"train.seed": 5, "train.max_steps": 90}), tokens(config), CPU) == first
        for change in ({"train.batch_size": 2}, {"model.n_embd": 32}, {"train.recompute": True}):
            with pytest.raises(AssertionError, match="it was tried"):
                choose(config.replace(change), tokens(config), CPU)
    kept = precision.TRIALS.path
    assert list(json.loads(kept.read_bytes()).values()) == [first.seconds]
    for damaged in (b"", b"[1]", b'{"a": {"fp32": "x"}}', b"\xff", b"[" * 99_999):
        kept.write_bytes(damaged)
        assert choose(config, tokens(config), CPU).seconds
        assert len(json.loads(kept.read_bytes())) == 1


def test_of_many_trials_the_newest_are_kept(tried: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trials, "MOST_KEPT", 2)
    for number in range(4):
        precision.TRIALS.keep(str(number), {"fp32": 1.0, "bf16": 1.0})
    assert list(json.loads((precision.TRIALS.path).read_bytes())) == ["2", "3"]


def test_what_cannot_be_kept_is_chosen_all_the_same(
    tried: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("TINYTUI_CACHE", str(tmp_path / "file"))
    config = tiny_config()
    assert choose(config, tokens(config), CPU).seconds


@pytest.mark.parametrize("why", ["little is left", "it runs out"])
def test_without_memory_for_a_trial_it_is_fp32_and_not_kept(
    why: str, tried: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tiny_config()
    if why == "little is left":
        monkeypatch.setattr(precision, "available_memory", lambda: (1000, False))
    else:

        def full(*_: Any) -> float:
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes")

        monkeypatch.setattr(precision, "_seconds", full)
    assert choose(config, tokens(config), CPU).precision == "fp32"
    assert not (precision.TRIALS.path).exists()


def test_a_trial_ends_when_its_time_is_over(tried: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Steps of a minute of a run of an hour: one round, and no more."""
    made: list[int] = []
    monkeypatch.setattr(precision, "_seconds", lambda take_step, step: made.append(step) or 60.0)
    config = tiny_config("train.max_steps=60")
    choose(config, tokens(config), CPU)
    assert 4 <= len(made) <= 2 + 2 * precision.ROUNDS


def test_a_trial_is_of_few_sequences_and_of_one_micro_batch() -> None:
    large = trial_config(load_preset("gpt2"))
    assert (large.train.batch_size, large.train.grad_accum, large.train.compile) == (1, 1, False)
    assert trial_config(load_preset("nano")).train.batch_size == 2
    assert trial_config(load_preset("nanogpt-char")).train.batch_size == 4


@pytest.mark.parametrize("chosen", ["fp32", "bf16"])
def test_a_run_is_as_if_its_arithmetic_had_been_named(
    chosen: str, tried: None, start: Callable[..., RunDir], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The trial moves no weight and no random number; the run says what it came to, and keeps to it."""
    monkeypatch.setattr(precision, "WORTH", 0.0 if chosen == "bf16" else 1e9)
    named, auto = start("named", f"train.precision={chosen}", "model.dropout=0.1"), start("auto", "model.dropout=0.1")
    assert read_config(auto).train.precision == "auto"
    assert train(named).state == "finished" and train(auto).state == "finished"
    assert read_config(auto).train.precision == chosen
    assert load_checkpoint(auto.checkpoint(8)).config.train.precision == chosen
    ends = [verify_checkpoint(run.checkpoint(12)).weights_sha256 for run in (named, auto)]
    assert ends[0] == ends[1]
    reader = RunReader(auto)
    reader.poll()
    (told,) = [event for event in reader.events if event["kind"] == "precision"]
    assert told["precision"] == chosen and set(told["seconds"]) == {"fp32", "bf16"} and "ms in fp32" in told["why"]
    monkeypatch.setattr(precision, "choose", fails)
    assert train(resume_run(auto, max_steps=13)).state == "finished"


def test_a_named_arithmetic_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(precision, "choose", fails)
    config = tiny_config("train.precision=bf16")
    assert settled(config, tokens(config), CPU) == (config, None)


def test_the_pace_of_auto_is_known_by_whether_it_is_tried() -> None:
    nano = load_preset("nano")
    short, fp32 = nano.replace({"train.max_steps": 9}), nano.replace({"train.precision": "fp32"})
    assert pace_key(short, 65) == pace_key(fp32, 65) != pace_key(nano, 65)


def test_the_forecast_is_of_what_was_measured() -> None:
    nano = load_preset("nano")
    pace = Pace(0.01, 1e-5, 1e-3, "cpu", 2, precision="bf16")
    half = forecast(nano.replace({"train.precision": "bf16"}), 65)
    assert forecast(nano, 65, pace=pace).activations == half.activations < forecast(nano, 65).activations


def test_half_and_whole_learn_the_same(start: Callable[..., RunDir]) -> None:
    """The loss on held-out text after some steps is within a hundredth."""
    losses = []
    for name in ("fp32", "bf16"):
        run = start(name, f"train.precision={name}", "train.max_steps=30", "train.eval_every=30", "model.n_embd=32")
        assert train(run).state == "finished"
        losses.append(load_checkpoint(run.checkpoint(30)).state["val_loss"])
    assert losses[0] == pytest.approx(losses[1], abs=0.01)
