"""The weights a prompt is answered with are those of the run that was asked, whatever was asked before."""

from __future__ import annotations

import re
import shutil
import threading
from pathlib import Path
from typing import Any

import pytest

from engine.errors import CheckpointError, UserError
from engine.runs.layout import RunDir
from engine.sampling.settings import SamplingSettings
from engine.text.catalog import add_corpus
from tui.state.prompting import LoadedModels, PromptJob, Request

KEPT = Path(__file__).parents[1] / "kept" / "format-1" / "runs"
ONE, OTHER = "adamw-average", "grouped-heads"


def put(folder: Path, kept: str) -> RunDir:
    """The kept run, as the run `folder`, in the place of what was there."""
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(KEPT / kept, folder)
    return RunDir(folder)


def weights(loaded: tuple[Any, Any, int]) -> list[tuple[str, tuple[int, ...]]]:
    return sorted((name, tuple(value.shape)) for name, value in loaded[0].named_parameters())


@pytest.mark.parametrize("source", ["best", "last", 20])
def test_a_run_made_anew_under_an_old_name_answers_with_its_own_weights(tmp_path: Path, source: str | int) -> None:
    models = LoadedModels()
    run = put(tmp_path / "run", ONE)
    first = models.get(run, source, print)
    assert models.get(run, source, print) is first, "loaded once"
    put(tmp_path / "run", OTHER)
    second = models.get(run, source, print)
    assert weights(second) == weights(LoadedModels().get(put(tmp_path / "b", OTHER), source, print)) != weights(first)


def test_two_runs_asked_at_once_keep_their_weights(tmp_path: Path) -> None:
    runs = [put(tmp_path / "a", ONE), put(tmp_path / "b", OTHER)]
    right = [weights(LoadedModels().get(run, "best", print)) for run in runs]
    models, wrong, start = LoadedModels(), list[str](), threading.Barrier(4)

    def ask(which: int) -> None:
        start.wait()
        for _ in range(5):
            if weights(models.get(runs[which], "best", print)) != right[which]:
                wrong.append(runs[which].name)

    threads = [threading.Thread(target=ask, args=(number % 2,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_one_that_cannot_be_loaded_leaves_none_in_its_name(tmp_path: Path) -> None:
    models = LoadedModels()
    run, other = put(tmp_path / "a", ONE), put(tmp_path / "b", OTHER)
    good = models.get(run, "best", print)
    model = other.checkpoint(20) / "model.safetensors"
    data = bytearray(model.read_bytes())
    data[-1] ^= 1
    model.write_bytes(data)
    with pytest.raises(CheckpointError):
        models.get(other, 20, print)
    with pytest.raises(CheckpointError):
        models.get(other, 20, print)
    assert weights(models.get(run, "best", print)) == weights(good)


def test_a_checkpoint_in_8_bits_is_another_model_and_says_what_that_costs(tmp_path: Path) -> None:
    add_corpus(KEPT.parent / "corpora" / "kept.txt", corpora_dir=tmp_path / "corpora")
    models, run, told = LoadedModels(tmp_path / "corpora"), put(tmp_path / "run", OTHER), list[str]()
    whole = models.get(run, "best", print)
    packed = models.get(run, "best", print, told.append)
    assert packed[0] is not whole[0] and packed[2] == whole[2]
    assert models.get(run, "best", print, told.append) is packed, "loaded once"
    assert told == [models.cost] and re.fullmatch(
        r"int8: val loss \d\.\d{4} for \d\.\d{4}, on [\d,]+ held-out tokens", models.cost
    )
    again = models.get(run, "best", print)
    assert again[0] is not packed[0] and weights(again) == weights(whole)


def test_what_has_no_matrices_answers_in_no_8_bits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> str:
        raise UserError("int8 is for matrices on a CPU, and this model (kind bigram) has none; leave --int8 out")

    monkeypatch.setattr("engine.plan.int8.in_int8", refuse)
    models, run = LoadedModels(), put(tmp_path / "run", ONE)
    job = PromptJob(Request(run, "best", "a", "a", SamplingSettings(), int8=True), models, lambda _: None)
    job.start()
    job.join(60)
    said = "int8 is for matrices on a CPU, and this model (kind bigram) has none; ctrl+o takes the 8 bits off"
    assert job.error == said
