"""What `bench.gpu` does beside asking a GPU: with the CPU in its place."""

from __future__ import annotations

from typing import Any

import pytest

from bench import gpu
from engine.training.compile import Compiled
from tests.engine.training.conftest import tiny_config
from tests.engine.training.told import CPU


@pytest.mark.parametrize("found", [Compiled(True), Compiled(False, "no compiler")])
def test_a_step_that_is_not_compiled_is_called_that(monkeypatch: pytest.MonkeyPatch, found: Compiled) -> None:
    monkeypatch.setattr(gpu, "compile_step", lambda *_: found)
    step: Any = None
    plain, (name, note) = gpu.forms(step)
    assert plain == ("plain", "")
    assert (name, note) == ("NOT compiled", "no compiler") or (found.on and name == "compiled" and "made in" in note)


def test_a_prompt_beside_training_is_answered(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(gpu, "load_preset", lambda name: tiny_config())
    monkeypatch.setattr(gpu, "SETTINGS", gpu.SETTINGS.model_copy(update={"max_tokens": 2}))
    gpu.beside("any", CPU, 0.1)
    said = capsys.readouterr().out
    assert " ms a step (alone " in said and "tok/s" in said.splitlines()[-1]
