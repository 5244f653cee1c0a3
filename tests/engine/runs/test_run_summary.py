from __future__ import annotations

import csv
import json
import math
from pathlib import Path

import pytest

from engine.errors import UserError
from engine.runs.layout import RunDir
from engine.runs.status import overview
from engine.runs.summary import CSV_COLUMNS, _cell, csv_lines, export_csv, summary
from engine.runs.writer import RunWriter

FIELDS = """name state step steps params tokens best_val_loss best_val_step last_val_loss val_perplexity
    val_bits_per_byte train_seconds eval_seconds tokens_per_second peak_memory_bytes corpus preset checkpoints"""
WANTED = set(FIELDS.split())


@pytest.fixture
def trained(run: RunDir) -> RunDir:
    with RunWriter(run) as writer:
        for step in range(1, 9):
            writer.metric(step=step, tokens=step * 100, time_s=step / 2, loss=3 - step / 10, mem_bytes=1000 + step % 3)
            if step % 2 == 0:
                writer.metric(
                    step=step,
                    tokens=step * 100,
                    time_s=step / 2,
                    val_loss=2 + abs(step - 6) / 10,
                    val_bpb=1,
                    eval_s=0.25,
                )
        writer.status(state="finished", step=8, steps=8)
    run.checkpoint(6).mkdir(parents=True)
    return run


def test_a_summary_tells_the_run_in_numbers(trained: RunDir) -> None:
    facts = summary(trained)
    assert set(facts) >= WANTED
    assert (facts["name"], facts["state"], facts["step"], facts["steps"]) == ("soap-1", "finished", 8, 8)
    assert (facts["best_val_loss"], facts["best_val_step"], facts["last_val_loss"]) == (2.0, 6, 2.2)
    assert facts["val_perplexity"] == pytest.approx(math.exp(2.2)) and facts["val_bits_per_byte"] == 1.0
    assert (facts["tokens"], facts["train_seconds"], facts["eval_seconds"]) == (800, 4.0, 1.0)
    assert (facts["tokens_per_second"], facts["peak_memory_bytes"]) == (200.0, 1002)
    assert facts["checkpoints"] == [{"step": 6, "path": str(trained.checkpoint(6)), "val_loss": 2.0}]
    json.dumps(facts, allow_nan=False)


@pytest.mark.parametrize("greatest", range(5))
def test_the_most_memory_is_found_wherever_in_the_run_it_was(run: RunDir, greatest: int) -> None:
    with RunWriter(run) as writer:
        for step in range(5):
            writer.metric(step=step, loss=1.0, mem_bytes=7_000_000 if step == greatest else 1_000_000 + step)
        writer.metric(step=5, loss=1.0)
    assert summary(run)["peak_memory_bytes"] == 7_000_000


def test_a_run_that_never_trained_has_a_summary_too(run: RunDir) -> None:
    facts = summary(run)
    assert set(facts) >= WANTED
    assert (facts["state"], facts["step"], facts["best_val_loss"], facts["checkpoints"]) == ("new", 0, None, [])
    assert facts["steps"] > 0


def test_a_loss_beyond_numbers_has_no_perplexity(run: RunDir) -> None:
    with RunWriter(run) as writer:
        writer.metric(step=1, loss=math.nan)
        writer.metric(step=1, val_loss=5000.0, val_bpb=math.nan)
        writer.metric(step=2, val_loss=math.inf, val_bpb=1.0)
    facts = summary(run)
    assert (facts["best_val_loss"], facts["last_val_loss"], facts["val_perplexity"]) == (5000.0, None, None)
    json.dumps(facts, allow_nan=False)


def test_the_overview_reads_no_logs(trained: RunDir) -> None:
    with RunWriter(trained) as writer:
        writer.status(state="finished", best_val_loss=2.0, last_val_loss=2.2, tokens=800, train_seconds=4.0, params=7)
    trained.metrics.write_bytes(b"garbage\n")
    facts = overview(trained)
    assert (facts["best_val_loss"], facts["params"], facts["tokens_per_second"]) == (2.0, 7, 200.0)
    assert WANTED - set(facts) == {"checkpoints"}
    trained.run_json.write_text("{")
    assert overview(trained)["state"] == "damaged"


def test_metrics_leave_as_csv(trained: RunDir, tmp_path: Path) -> None:
    file = tmp_path / "out.csv"
    assert export_csv(trained, file) == 8
    rows = list(csv.DictReader(file.open()))
    assert tuple(rows[0]) == CSV_COLUMNS
    assert [int(row["step"]) for row in rows] == list(range(1, 9))
    assert rows[0] | {"lr": ""} == rows[0]
    assert (rows[0]["loss"], rows[0]["mem_bytes"], rows[0]["val_loss"]) == ("2.9", "1001", "")
    assert (rows[5]["loss"], rows[5]["val_loss"], rows[5]["eval_s"]) == ("2.4", "2", "0.25")
    assert "\n".join(csv_lines(trained)) + "\n" == file.read_text()
    with pytest.raises(UserError, match="cannot write"):
        export_csv(trained, tmp_path / "no" / "out.csv")


@pytest.mark.parametrize(
    ("value", "cell"),
    [
        (0.0, "0"),
        (-3.0, "-3"),
        (2.5, "2.5"),
        (2.0**53 - 1, str(2**53 - 1)),
        (2.0**53, "9007199254740992.0"),
        (-(2.0**53), "-9007199254740992.0"),
        (1e300, "1e+300"),
        (math.nan, ""),
        (math.inf, ""),
        (-math.inf, ""),
    ],
)
def test_a_cell_is_whole_where_a_float_tells_whole_numbers(value: float, cell: str) -> None:
    assert _cell(value) == cell


def test_a_step_with_an_evaluation_alone_has_its_row(run: RunDir, tmp_path: Path) -> None:
    with RunWriter(run) as writer:
        writer.metric(step=0, tokens=0, val_loss=4.0)
        writer.metric(step=10, tokens=5, loss=2.0)
    assert list(csv_lines(run))[1:] == ["0,0,,,,,,,4,,", "10,5,,2,,,,,,,"]
    empty = tmp_path / "e.csv"
    run.metrics.unlink()
    assert export_csv(run, empty) == 0
    assert empty.read_text() == ",".join(CSV_COLUMNS) + "\n"
