"""A run in numbers from all that it logged: for `show`, and as CSV for others."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from engine.files import open_output
from engine.runs.layout import RunDir
from engine.runs.lines import TRAIN_KEYS, VAL_KEYS, copied_part, newest
from engine.runs.reader import RunReader
from engine.runs.series import Floats, Steps, Table
from engine.runs.status import facts_of, perplexity, rate

CSV_COLUMNS = TRAIN_KEYS + tuple(key for key in VAL_KEYS if key not in TRAIN_KEYS)
CSV_ROWS = 1 << 16
"""Made into text at a time."""


def summary(run: RunDir) -> dict[str, Any]:
    """What `runs show --json` prints; everything is None that was never measured.

    Losses are in nats a token, `val_perplexity` and `val_bits_per_byte` are of the last evaluation, times in seconds.
    `tokens_per_second` is over all training so far, evaluations left out. `copied` is of that sample of the newest step
    that is copied most (see lines.CopiedPart). Raises RunError when it is not a run.
    """
    reader = RunReader(run)
    reader.poll()
    facts = facts_of(run, reader.info, reader.status)
    if ranks := reader.status.get("ranks"):
        facts["ranks"] = ranks
    series = reader.series
    if len(series):
        facts["step"] = max(int(facts["step"] or 0), int(series.step[-1]))
        if facts["tokens"] is None:
            facts["tokens"] = _whole(series.tokens[-1])
        if facts["train_seconds"] is None:
            facts["train_seconds"] = _number(series.time_s[-1])
        if facts["peak_memory_bytes"] is None:
            facts["peak_memory_bytes"] = _whole(_greatest(series.mem_bytes))
    losses = series.val_loss
    if np.isfinite(losses).any():
        best = int(np.nanargmin(np.where(np.isfinite(losses), losses, np.nan)))
        facts["best_val_loss"] = float(losses[best])
        facts["best_val_step"] = int(series.val_step[best])
        facts["last_val_loss"] = _number(losses[-1])
        facts["val_bits_per_byte"] = _number(series.val_bpb[-1])
        facts["val_perplexity"] = perplexity(facts["last_val_loss"])
        if facts["eval_seconds"] is None:
            facts["eval_seconds"] = round(float(np.nansum(series.eval_s)), 3)
    facts["tokens_per_second"] = rate(facts)
    return {
        **facts,
        "checkpoints": reader.checkpoints(),
        "copied": _copied(reader),
        "config": reader.info.get("config"),
        "environment": reader.info.get("environment"),
        "problems": reader.problems,
    }


def _copied(reader: RunReader) -> dict[str, Any] | None:
    """How much of the newest step's samples is copied, of the one that is copied most, where the records tell."""
    parts = [(one["step"], part) for one in newest(reader.samples) if (part := copied_part(one)) is not None]
    if not parts:
        return None
    step, most = max(parts, key=lambda each: each[1].length)
    return {"step": step, **most._asdict()}


def export_csv(run: RunDir, file: Path, say: Callable[[str], None] | None = None) -> int:
    """Writes `csv_lines` to what a person named (`files.open_output`); returns the number of rows.

    Raises UserError when it cannot be written, RunError when it is not a run.
    """
    lines = csv_lines(run, say)
    rows = -1
    with open_output(file) as out:
        for rows, line in enumerate(lines):  # noqa: B007 - the last number is the count of rows below the header
            out.write(line.encode() + b"\n")
    return rows


def csv_lines(run: RunDir, say: Callable[[str], None] | None = None) -> Iterator[str]:
    """All metrics as CSV: a header, then a row a step with an empty cell where nothing was logged; no line ends.

    `say` is told what is damaged in the run and left out, a line each.
    """
    reader = RunReader(run)
    reader.poll()
    if say is not None:
        for problem in reader.damage:
            say(problem)
    train, val = reader.series.train, reader.series.val
    steps = np.union1d(train.steps, val.steps)
    yield ",".join(CSV_COLUMNS)
    for start in range(0, len(steps), CSV_ROWS):
        some = steps[start : start + CSV_ROWS]
        columns = [[str(step) for step in some.tolist()]]
        columns += [[_cell(value) for value in _merged(some, key, val, train).tolist()] for key in CSV_COLUMNS[1:]]
        yield from map(",".join, zip(*columns, strict=True))


def _merged(steps: Steps, key: str, *tables: Table) -> Floats:
    """The column `key` at `steps`, NaN where no table has a value; of two the last table's counts."""
    cells = np.full(len(steps), np.nan)
    for table in tables:
        if key in table.keys:
            first, last = np.searchsorted(table.steps, (steps[0], steps[-1] + 1))
            values = table.column(key)[first:last]
            known = ~np.isnan(values)
            cells[np.searchsorted(steps, table.steps[first:last][known])] = values[known]
    return cells


def _cell(value: float) -> str:
    if not math.isfinite(value):
        return ""
    return str(int(value)) if value.is_integer() and abs(value) < 2**53 else repr(value)


def _number(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None


def _whole(value: float) -> int | None:
    return int(value) if math.isfinite(value) else None


def _greatest(values: Floats) -> float:
    finite = values[np.isfinite(values)]
    return float(finite.max()) if len(finite) else math.nan
