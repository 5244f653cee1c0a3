"""The numbers of a run, each from where it belongs: the log's last, its best, or what the trainer said."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest

from engine.preset_files import load_preset
from engine.runs.layout import RunDir, new_name
from engine.runs.lines import CopiedPart, copied_part, newest
from engine.runs.status import overview, perplexity
from engine.runs.summary import export_csv, summary
from engine.runs.writer import RunWriter


def logged(run: RunDir, **status: Any) -> RunDir:
    """Four evaluations, no two of them alike in anything."""
    with RunWriter(run) as writer:
        for step in range(10, 60, 10):
            writer.metric(step=step, tokens=step * 7, time_s=step / 4, loss=4 - step / 100, mem_bytes=9000 - step)
        for step, loss, bpb, seconds in ((10, 2.9, 1.4, 0.5), (20, 2.1, 1.1, math.nan), (30, 2.5, 1.3, 2.0)):
            writer.metric(step=step, val_loss=loss, val_bpb=bpb, eval_s=seconds)
        writer.metric(step=50, val_loss=2.3, val_bpb=1.2, eval_s=4.0006)
        writer.status(state="finished", **status)
    return run


def test_what_only_the_log_knows_is_taken_from_its_end(run: RunDir) -> None:
    facts = summary(logged(run))
    told = {name: facts[name] for name in ("step", "tokens", "train_seconds", "eval_seconds", "peak_memory_bytes")}
    assert told == {"step": 50, "tokens": 350, "train_seconds": 12.5, "eval_seconds": 6.501, "peak_memory_bytes": 8990}
    assert (facts["best_val_loss"], facts["best_val_step"], facts["last_val_loss"]) == (2.1, 20, 2.3)
    assert (facts["val_bits_per_byte"], facts["val_perplexity"]) == (1.2, math.exp(2.3))
    assert facts["tokens_per_second"] == 28.0 and facts["problem"] is None and facts["copied"] is None


def test_what_the_trainer_said_counts_before_the_log(run: RunDir) -> None:
    said = {
        "tokens": 7000,
        "train_seconds": 3.0,
        "eval_seconds": 1.5,
        "peak_memory_bytes": 5,
        "ranks": [{"rank": 0, "seconds": 1.5, "memory": 7}],
    }
    facts = summary(logged(run, step=60, steps=70, **said))
    assert {name: facts[name] for name in said} == said and (facts["step"], facts["steps"]) == (60, 70)
    assert facts["tokens_per_second"] == 2333.3
    assert "ranks" not in summary(logged(run, ranks=[])) and overview(run)["step"] == 60


def test_the_overview_is_of_what_was_said(run: RunDir) -> None:
    said = {"step": 5, "last_val_loss": 1.0, "last_val_bpb": 0.5, "best_val_loss": 0.9, "best_val_step": 4,
            "tokens": 100, "train_seconds": 0.0, "eval_seconds": 2.0, "device": "cpu", "params": 7}  # fmt: skip
    facts = overview(logged(run, **said))
    named = {**{name: name for name in said}, "last_val_bpb": "val_bits_per_byte"}
    assert {name: facts[named[name]] for name in said} == said
    assert facts["val_perplexity"] == math.e and facts["tokens_per_second"] is None
    assert facts["steps"] == load_preset("nano").train.max_steps
    assert (facts["corpus"], facts["parent"], facts["preset"], facts["note"]) == ("soap", None, "", "")
    assert isinstance(facts["learning_rate"], float) and facts["seed"] is not None


@pytest.mark.parametrize(
    ("loss", "told"),
    [(None, None), (0.0, 1.0), (-1.0, math.exp(-1)), (699.9, math.exp(699.9)), (700.0, None), (math.nan, None)],
)
def test_a_perplexity_is_told_where_it_is_a_number(loss: float | None, told: float | None) -> None:
    assert perplexity(loss) == told


def test_of_the_newest_samples_the_one_that_is_copied_most_counts(run: RunDir) -> None:
    def copied(length: int, **more: Any) -> dict[str, Any]:
        return {"length": length, "start": 1, "checked": 10, "of": 10, **more}

    with RunWriter(run) as writer:
        for step, length in ((1, 90), (2, 3), (2, 20), (2, 5)):
            writer.sample(step=step, prompt="", text="x" * 100, copied=copied(length))
        writer.sample(step=2, prompt="", text="x")
    assert summary(run)["copied"] == {"step": 2, "length": 20, "start": 1, "whole": True, "too_much": False}


def test_what_a_sample_says_of_copying() -> None:
    good = {"length": 2, "start": 0, "checked": 5, "of": 9, "too_much": True}
    assert copied_part({"copied": good}) == CopiedPart(2, 0, False, True)
    assert copied_part({"copied": {**good, "of": 5}}) == CopiedPart(2, 0, True, True)
    assert copied_part({"copied": {**good, "too_much": 1, "of": 4}}) == CopiedPart(2, 0, True, False)
    for wrong in (None, 3, [], {}, *({**good, name: value} for name in ("length", "of") for value in (-1, 1.5, True))):
        assert copied_part({"copied": wrong}) is None
    assert copied_part({"copied": dict.fromkeys(("length", "start", "checked", "of"), 0)}) == CopiedPart(
        0, 0, True, False
    )
    said = [
        str(CopiedPart(length, 0, whole, False)) for length, whole in ((0, True), (1, False), (2, True), (1234, False))
    ]
    assert said == ["0 characters at most", "1 character or more", "2 characters at most", "1,234 characters or more"]
    samples = [{"step": 1, "n": 1}, {"step": 2, "n": 2}, {"step": 1, "n": 3}, {"step": 2, "n": 4}]
    assert [each["n"] for each in newest(samples)] == [2, 4] and newest([]) == []


def test_of_nothing_there_are_no_rows(run: RunDir, tmp_path: Path) -> None:
    assert export_csv(logged(run), tmp_path / "out.csv") == 5


@pytest.mark.parametrize(
    ("corpus", "preset", "names", "name"),
    [
        ("soap notes.csv", "nano", (), "soap-notes-nano-1"),
        (
            "soap",
            "nano",
            ("soap-nano-2", "soap-nano-10", "soap-nano-x", "other-nano-99", "soap-nano-3-1"),
            "soap-nano-11",
        ),
        ("x" * 100, "nano", (), f"{'x' * 90}-1"),
        ("é", "", (), "run-1"),
    ],
)
def test_a_new_run_s_name_is_one_above_the_highest(
    corpus: str, preset: str, names: tuple[str, ...], name: str, tmp_path: Path
) -> None:
    for each in names:
        (tmp_path / each).mkdir()
    assert new_name(tmp_path, corpus, preset) == name and new_name(tmp_path / "none", "a", "b") == "a-b-1"
