"""Small things about training: where compiled code is kept, when a rate set by hand holds, whose step a file is of."""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from engine.config import TrainConfig
from engine.runs.schema import DamagedError
from engine.training import compile as compiling
from engine.training.state import _scale_after
from engine.training.verify import _check_step


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


UP = {"learning_rate": 1.0, "min_learning_rate": 0.5, "warmup_steps": 50, "decay_fraction": 0.9}
DOWN = {"learning_rate": 1e-9, "min_learning_rate": 0.0, "warmup_steps": 0, "decay_fraction": 0.01}


@pytest.mark.parametrize("sets", [{name: value} for each in (UP, DOWN) for name, value in each.items()])
def test_a_rate_set_by_hand_holds_for_its_schedule_alone(sets: dict[str, float]) -> None:
    def scale(changed: dict[str, float], by_hand: float = 0.25, at: int = 60) -> float:
        before = TrainConfig(max_steps=100, warmup_steps=10, min_learning_rate=1e-5, decay_fraction=0.5)
        trainer = SimpleNamespace(config=SimpleNamespace(train=before.model_copy(update=changed)))
        saved = SimpleNamespace(state={"lr_scale": by_hand}, config=SimpleNamespace(train=before), step=at)
        return _scale_after(trainer, saved)  # type: ignore[arg-type]

    assert scale(sets) == 1.0 and scale({}) == 0.25 and scale({"batch_size": 3}) == 0.25
    for steps in (50, 100, 200):
        assert scale({"max_steps": steps}) == 0.25
    assert scale({"max_steps": 50}, 4.0) == scale({}, 4.0) == 4.0
    assert 1.0 <= scale({"max_steps": 200}, 4.0, at=99) < 4.0, "late in the old schedule the rate was low"


@pytest.mark.parametrize(
    ("name", "step", "good"),
    [("step-5", 5, True), ("step-5", 4, False), ("step-0", 1, False), ("step-0", 0, True), ("copy", 3, True)],
)
def test_a_checkpoint_is_of_the_step_in_its_name(name: str, step: int, good: bool) -> None:
    if good:
        _check_step(Path(name), "state.json", step)
    else:
        with pytest.raises(DamagedError, match=f"state.json: it is of step {step}, not of {name}"):
            _check_step(Path(name), "state.json", step)
