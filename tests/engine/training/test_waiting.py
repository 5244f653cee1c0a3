"""What is said of a run that ends without being written."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from engine.runs.layout import RunDir
from engine.training.state import unsaved


def trainer_of(run: RunDir, lost: list[str], saved: bool) -> Any:
    return SimpleNamespace(writer=SimpleNamespace(run=run, unsaved=lambda: lost), saved=saved, step=25)


@pytest.mark.parametrize(
    ("steps", "lost", "saved", "said"),
    [
        ((4, 10, 20), [], False, "the checkpoint of step 25; the last checkpoint is of step 20"),
        ((4,), ["metrics since step 7"], True, "metrics since step 7; the last checkpoint is of step 4"),
        ((), ["run.json"], False, "run.json, the checkpoint of step 25; there is no checkpoint"),
        ((20, 25), [], True, "the status; the last checkpoint is of step 25"),
    ],
)
def test_what_is_lost_and_what_stands_is_said(
    tmp_path: Path, steps: tuple[int, ...], lost: list[str], saved: bool, said: str
) -> None:
    run = RunDir(tmp_path)
    for step in steps:
        run.checkpoint(step).mkdir(parents=True)
    error = unsaved(trainer_of(run, lost, saved), "the disk is full")
    assert str(error) == f"the disk is full; stopped without saving {said}"
