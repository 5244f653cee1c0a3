"""The numbers of a run as a table, made some rows at a time."""

from __future__ import annotations

import pytest

from engine.runs import summary
from engine.runs.layout import RunDir
from engine.runs.writer import RunWriter


@pytest.mark.parametrize("rows", [1, 2, 3, 7, 8])
def test_each_step_is_one_line_however_many_are_made_at_a_time(
    run: RunDir, rows: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    with RunWriter(run) as writer:
        for step in range(1, 8):
            writer.metric(step=step, loss=step / 4)
            if step % 3 == 0:
                writer.metric(step=step, val_loss=step / 8)
    expected = list(summary.csv_lines(run))
    monkeypatch.setattr(summary, "CSV_ROWS", rows)
    assert list(summary.csv_lines(run)) == expected
    assert [line.partition(",")[0] for line in expected] == ["step", *map(str, range(1, 8))]
