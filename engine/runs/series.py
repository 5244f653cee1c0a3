"""The numbers of a run as growing columns: append is amortised, reading is a view."""

from __future__ import annotations

import mmap
import reprlib
from collections.abc import Container
from typing import Any, overload

import numpy as np
import numpy.typing as npt

from engine.runs.columns import Columns
from engine.runs.lines import TRAIN_KEYS, VAL_KEYS

Floats = npt.NDArray[np.floating]
Steps = npt.NDArray[np.int64]

MAX_STEP = 2**53
"""From here on floats are no longer all the whole numbers."""
ROOM = 4
"""Times the rows there are, when there is no more room."""
NARROW = ("tokens", "loss", "lr", "grad_norm", "tokens_per_s", "mem_bytes")
"""All but `time_s`, of which a screen shows differences of neighbours."""


class Table:
    """Rows of numbers with strictly rising steps. NaN where a record lacks a field."""

    def __init__(self, keys: tuple[str, ...], narrow: Container[str] = ()) -> None:
        """keys: of the columns, after `step`; narrow: those that are kept as float32."""
        self.keys = keys[1:]
        wide_first = sorted(self.keys, key=lambda key: key in narrow)  # so that all are aligned
        self._kinds = {key: np.dtype(np.float32 if key in narrow else np.float64) for key in wide_first}
        self._steps: Steps = np.empty(0, np.int64)
        self._columns: dict[str, Floats] = {key: np.empty(0, kind) for key, kind in self._kinds.items()}
        self.rows = 0
        self._shared = False

    @property
    def steps(self) -> Steps:
        """(rows,) the steps, rising."""
        return self._steps[: self.rows]

    def column(self, key: str) -> Floats:
        """(rows,) one column; a view that holds until the next poll."""
        return self._columns[key][: self.rows]

    @property
    def nbytes(self) -> int:
        """What it takes in memory when it is full."""
        return sum(each.nbytes for each in (self._steps, *self._columns.values()))

    def _grow(self, rows: int) -> None:
        if rows > len(self._steps):
            self._move(max(rows, ROOM * len(self._steps), 1024))

    def _move(self, size: int) -> None:
        """Goes on in memory of its own with room for `size` rows; who has the old sees what it saw.

        It is of pages of its own, which take memory when they are written, and give it back at once. On the heap a
        table that grows leaves holes behind it, and its room for more would be of pages used before.
        """
        before = self._steps, self._columns
        at = 8 * size
        pages = mmap.mmap(-1, at + size * sum(kind.itemsize for kind in self._kinds.values()), flags=mmap.MAP_PRIVATE)
        self._steps, self._columns, self._shared = np.frombuffer(pages, np.int64, size), {}, False
        self._steps[: self.rows] = before[0][: self.rows]
        for key, kind in self._kinds.items():
            self._columns[key] = np.frombuffer(pages, kind, size, at)
            self._columns[key][: self.rows] = before[1][key][: self.rows]
            at += size * kind.itemsize

    def steps_of(self, columns: Columns) -> Steps | None:
        """(n,) the steps of n records, when they are whole numbers that go on rising from the last row."""
        if "step" not in columns:
            return None
        floats = np.asarray(columns["step"])
        last = self._steps[self.rows - 1] if self.rows else -1
        if not (last < floats[0] and floats[-1] < MAX_STEP and (floats[1:] > floats[:-1]).all()):  # NaN is neither
            return None
        steps = floats.astype(np.int64)
        return steps if (steps == floats).all() else None

    def extend(self, steps: Steps, columns: Columns) -> None:
        """Appends records with these steps."""
        end = self.rows + len(steps)
        self._grow(end)
        self._steps[self.rows : end] = steps
        with np.errstate(over="ignore"):
            for key, column in self._columns.items():
                column[self.rows : end] = columns.get(key, np.nan)
        self.rows = end

    def add(self, step: int, values: dict[str, float]) -> str | None:
        """Appends one row; the last record of a step counts. Returns what is wrong when the step falls back.

        A step can only fall back after a rewind. Without one, the step that stands out is the damaged one and goes.
        """
        problem = None
        last = int(self._steps[self.rows - 1]) if self.rows else -1
        if step <= last:
            if step < last:
                if self.rows > 1 and step <= self._steps[self.rows - 2]:
                    return f"step {step} after step {last}; left out"
                problem = f"step {step} after step {last}, which was left out"
            self._take_back(self.rows - 1)
        self._grow(self.rows + 1)
        self._steps[self.rows] = step
        with np.errstate(over="ignore"):
            for key, column in self._columns.items():
                column[self.rows] = values.get(key, np.nan)
        self.rows += 1
        return problem

    def rewind(self, step: int) -> None:
        """Forgets the rows beyond `step`."""
        self._take_back(int(np.searchsorted(self.steps, step, side="right")))

    def clear(self) -> None:
        self._take_back(0)

    def snapshot(self) -> Table:
        """The table as it stands, for ever: rows that are appended lie behind it, rows taken back are copied before."""
        same = Table(())
        same.keys, same._kinds, same.rows = self.keys, self._kinds, self.rows
        same._steps, same._columns = self._steps, self._columns
        self._shared = True
        return same

    def _take_back(self, rows: int) -> None:
        if rows < self.rows:
            self.rows = rows
            if self._shared:  # what is shown elsewhere stays as it was
                self._move(len(self._steps))


class _Column:
    """Reads one column of one of the two tables as an attribute of Series."""

    def __init__(self, table: str, key: str) -> None:
        self.table, self.key = table, key

    @overload
    def __get__(self, series: None, owner: type) -> _Column: ...
    @overload
    def __get__(self, series: Series, owner: type) -> Floats: ...
    def __get__(self, series: Series | None, owner: type) -> _Column | Floats:
        if series is None:
            return self
        table: Table = getattr(series, self.table)
        return table.column(self.key)


class Series:
    """A run's metrics as 1-D arrays of one length for training, and one for evaluations; NaN where a field is absent.

    Arrays are views that hold until the next poll. Losses are in nats a token, times in seconds, memory in bytes.
    """

    def __init__(self, exact: bool = True) -> None:
        """exact: whether numbers are kept as they were read. What a screen shows has 6 digits, which float32 holds."""
        self.train = Table(TRAIN_KEYS, () if exact else NARROW)
        self.val = Table(VAL_KEYS)

    tokens = _Column("train", "tokens")
    time_s = _Column("train", "time_s")
    loss = _Column("train", "loss")
    lr = _Column("train", "lr")
    grad_norm = _Column("train", "grad_norm")
    tokens_per_s = _Column("train", "tokens_per_s")
    mem_bytes = _Column("train", "mem_bytes")
    val_tokens = _Column("val", "tokens")
    val_time_s = _Column("val", "time_s")
    val_loss = _Column("val", "val_loss")
    val_bpb = _Column("val", "val_bpb")
    eval_s = _Column("val", "eval_s")

    @property
    def step(self) -> Steps:
        return self.train.steps

    @property
    def val_step(self) -> Steps:
        return self.val.steps

    def __len__(self) -> int:
        return self.train.rows

    def extend(self, train: Columns, val: Columns) -> bool:
        """Adds many records at once; False, and none is added, when they have to be added one by one."""
        found = []
        for table, columns in ((self.train, train), (self.val, val)):
            if columns:
                if (steps := table.steps_of(columns)) is None:
                    return False
                found.append((table, steps, columns))
        for table, steps, columns in found:
            table.extend(steps, columns)
        return True

    def add(self, record: dict[str, Any]) -> str | None:
        """Adds one record or rewinds by its marker; returns what is wrong with it, if anything."""
        if "resumed" in record:
            step = record["resumed"]
            if not _is_step(step):
                return f"resumed from {reprlib.repr(step)}, which is no step; left out"
            self.train.rewind(step)
            self.val.rewind(step)
            return None
        step = record.pop("step", None)
        if not _is_step(step):
            return "no step; left out"
        values: dict[str, float] = {}
        for key, value in record.items():
            if value is None:
                continue
            if isinstance(value, bool) or not isinstance(value, int | float):
                return f"{key:.40} is not a number; left out"
            try:
                values[key] = float(value)
            except OverflowError:
                return f"{key:.40} is out of range; left out"
        return (self.val if "val_loss" in record else self.train).add(int(step), values)

    def snapshot(self) -> Series:
        """The numbers as they stand, for another thread; the arrays are shared, not copied."""
        same = Series()
        same.train, same.val = self.train.snapshot(), self.val.snapshot()
        return same

    def clear(self) -> None:
        self.train.clear()
        self.val.clear()


def _is_step(value: object) -> bool:
    return (
        isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < MAX_STEP and value == int(value)
    )
