"""Small things about a forecast: where a run fits, what a measuring process said, where compiled code is kept."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
import torch

from engine.config import load_preset
from engine.plan import pace
from engine.plan.forecast import LEAST_EVALUATED, forecast
from engine.plan.pace import Measuring, Pace
from engine.training import compile as compiling

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
    monkeypatch.setattr(pace, "_known", {})
    monkeypatch.setattr(Measuring, "_run", lambda self: None)
    measuring = Measuring(load_preset("nano"), 65, "cpu")
    assert measuring._take((before + json.dumps(asdict(PACE)) + "\n").encode(), 0) == PACE
    assert pace.known_pace(measuring.key) == PACE
    assert measuring._take((before + '{"problem": "no memory"}').encode(), 0) == "no memory"
    assert measuring._take(before.encode() + b"half a l", 3) == "not measured: the process was killed (3)"
    assert measuring._take(b"", -9) == "not measured: the process was killed, perhaps for its memory"


def test_what_is_compiled_is_kept_in_the_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("TINYTUI_CACHE", str(tmp_path))
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", "elsewhere")
    asked: list[dict[str, Any]] = []

    def compiles(function: Any, **how: Any) -> Any:
        asked.append(how)
        return function

    monkeypatch.setattr(torch, "compile", compiles)

    class Model:
        def loss(self) -> int:
            return 3

    assert compiling.compile_loss(Model())() == 3  # type: ignore[arg-type,call-arg]
    assert os.environ["TORCHINDUCTOR_CACHE_DIR"] == str(tmp_path / "compiled") and asked == [{"dynamic": False}]
