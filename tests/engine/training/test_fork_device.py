"""A fork has the room of the devices that it will be trained on, which are its parent's unless others are asked for."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from engine.runs.layout import RunDir
from engine.training import fork

from .conftest import train


def test_a_fork_is_measured_against_its_parents_device(
    start: Callable[..., RunDir], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, asked = start("parent", "train.max_steps=2"), []
    train(run)
    monkeypatch.setattr(fork, "check_memory", lambda config, vocab_size, *where: asked.append(where))
    facts = json.loads(run.run_json.read_text())
    environments: list[Any] = [facts["environment"], {**facts["environment"], "device": "cuda:7", "ranks": 3}, {}, None]
    for number, environment in enumerate(environments):
        run.run_json.write_text(json.dumps({**facts, "environment": environment}))
        made = fork.fork_run(run, 2, tmp_path / "runs", name=f"fork-{number}")
        assert json.loads(made.run_json.read_text())["environment"] == (environment or {})
    fork.fork_run(run, 2, tmp_path / "runs", name="in-five", ranks=5)
    assert asked == [("cpu", 1), ("cuda:7", 3), ("auto", 1), ("auto", 1), ("auto", 5)]
