"""Small things about a forecast: where a run fits, what a measuring process said, what is timed."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from engine.config import ModelConfig
from engine.model.sizes import attention_shape, count_parameters, flops_per_token
from engine.plan import bench, measure, pace
from engine.plan.forecast import LEAST_EVALUATED, forecast
from engine.plan.pace import Measuring, Pace
from engine.preset_files import load_preset
from engine.tokenizers.table import expected_vocab
from engine.training.compile import Compiled

from .conftest import tiny_config

PACE = Pace(step_seconds=0.02, eval_token_seconds=1e-5, sample_token_seconds=1e-3, device="cpu", threads=2)


@pytest.mark.parametrize(("available", "fits"), [(1000, False), (1001, True), (999, False), (1, False), (None, None)])
def test_a_run_fits_with_a_tenth_to_spare(available: int | None, fits: bool | None) -> None:
    told = replace(
        forecast(load_preset("nano"), 65),
        weights=500,
        gradients=200,
        optimizer=150,
        activations=50,
        available=available,
    )
    assert told.memory == 900 and told.fits is fits


@pytest.mark.parametrize(
    ("seconds", "enough"),
    [(1e-9, None), (1e-3, LEAST_EVALUATED), (1e-1, LEAST_EVALUATED), (1e3, LEAST_EVALUATED)],
)
def test_so_many_tokens_are_enough_and_never_fewer(seconds: float, enough: int | None) -> None:
    config = load_preset("nano").replace({"train.max_steps": 100, "train.sample_tokens": 0})
    told = forecast(config, 65, 900_000, val_tokens=1 << 20, pace=replace(PACE, eval_token_seconds=seconds))
    assert told.enough == enough


def test_enough_is_the_power_of_two_below_a_tenth_of_the_time() -> None:
    config = load_preset("nano").replace({"train.max_steps": 10_000, "train.sample_tokens": 0})
    told = forecast(config, 65, 900_000, val_tokens=1 << 20, pace=PACE)
    assert told.enough is not None and told.enough > LEAST_EVALUATED and told.enough & (told.enough - 1) == 0
    for times, share in ((1, (0.04, 0.1)), (2, (0.1, 0.2))):
        evaluated = told.evaluations * told.enough * times * PACE.eval_token_seconds
        assert share[0] < evaluated / (evaluated + 10_000 * PACE.step_seconds) <= share[1]


@pytest.mark.parametrize("before", ["", "a library's warning\n", '{"problem": "not the last line"}\n\n'])
def test_the_last_line_of_a_measuring_process_is_what_it_found(monkeypatch: pytest.MonkeyPatch, before: str) -> None:
    monkeypatch.setattr(pace, "known", {})
    monkeypatch.setattr(Measuring, "_run", lambda self: None)
    measuring = Measuring(load_preset("nano"), 65, "cpu")
    assert measuring._take((before + json.dumps(asdict(PACE)) + "\n").encode(), 0) == PACE
    assert pace.known == {measuring.key: PACE}
    assert measuring._take((before + '{"problem": "no memory"}').encode(), 0) == "no memory"
    assert measuring._take(before.encode() + b"half a l", 3) == "not measured: the process was killed (3)"
    assert measuring._take(b"", -9) == "not measured: the process was killed, perhaps for its memory"


@pytest.mark.parametrize(
    ("kind", "layers", "weights"),
    [
        ("bigram", 0, 0),
        ("single-head", 1, 3 * 16 * 16 + 64 * 16),
        ("multi-head", 1, 4 * 16 * 16 + 64 * 16),
        ("blocks", 3, 3 * (4 + 8) * 16 * 16 + 64 * 16),
        ("gpt", 3, 3 * (4 + 8) * 16 * 16 + 64 * 16),
    ],
)
def test_operations_are_six_a_weight_and_those_of_attention(kind: str, layers: int, weights: int) -> None:
    shape = {"n_layer": 3, "n_head": 2, "n_embd": 16, "block_size": 10, "bias": False}
    config = ModelConfig.model_validate({"kind": kind, **shape})
    found = flops_per_token(config, 64)
    assert found == (0 if kind == "bigram" else 6 * weights + 12 * layers * 16 * 10)
    assert attention_shape(config) == (layers, {"bigram": 0, "single-head": 1}.get(kind, 2))


def test_an_evaluation_of_a_short_text_is_timed_on_all_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    config = tiny_config()
    seen: list[int] = []
    monkeypatch.setattr(measure, "median_seconds", lambda work, *_: work() or 6.0)
    monkeypatch.setattr(measure, "evaluate", lambda model, part, *_: seen.append(len(part.val)))
    step: Any = SimpleNamespace(config=config, device=torch.device("cpu"), model=None)
    whole = measure.made_up(config, 9, step.device)
    assert measure.time_evaluation(step, replace(whole, val=whole.val[:13]), 0.1) == 6.0 / 12
    assert seen == [13]


@pytest.mark.parametrize(
    ("sets", "why", "made"),
    [
        ((), None, "one operation after the other"),
        (("train.compile=true",), "", "compiled"),
        (("train.compile=true",), "no compiler", "not compiled (no compiler)"),
    ],
)
def test_the_speed_of_a_device_is_what_was_timed(
    monkeypatch: pytest.MonkeyPatch, sets: tuple[str, ...], why: str | None, made: str
) -> None:
    config, told = tiny_config("train.precision=fp32", *sets), list[tuple[str, float]]()
    compiled: list[int] = []

    def steps(take_step: Any, seconds: float, report: Any) -> float:
        report(0.5)
        return 0.25 if seconds == 3.0 else -1.0

    def compiles(take_step: Any, step: int) -> Compiled:
        compiled.append(step)
        return Compiled(not why, why or "")

    monkeypatch.setattr(bench, "compile_step", compiles)
    monkeypatch.setattr(bench, "time_steps", steps)
    monkeypatch.setattr(bench, "time_writing", lambda model, data, tokens, seconds: (tokens == 100) * seconds / 1500)
    found = bench.bench_device(config, torch.device("cpu"), 3.0, lambda what, done: told.append((what, done)))
    assert told == [("making the step for cpu", 0.0), ("training on cpu", 0.5), ("writing on cpu", 0.0)]
    assert compiled == ([] if why is None else [0])
    params = count_parameters(config.model, expected_vocab(config.data))
    facts = asdict(found)
    assert facts.pop("peak_memory_bytes") > 1 << 20 and facts.pop("name").endswith(" threads")
    assert facts == {
        "device": "cpu",
        "precision": "fp32",
        "step": made,
        "params": params,
        "tokens_per_step": config.tokens_per_step,
        "step_ms": 250.0,
        "train_tokens_per_second": config.tokens_per_step / 0.25,
        "decode_tokens_per_second": 500.0,
    }
