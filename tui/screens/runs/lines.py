"""The lines of the table of runs: which columns fit, and a run in them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import overload

from rich.cells import cell_len

from tui.state.runsreader import Facts
from tui.state.runstable import MARKS, Line
from tui.state.summary import ago, state_part, step_of
from tui.text import MISSING, Part, Row, clean, fit, fmt_count, fmt_duration, fmt_loss

# name, most cells, right-aligned, rank: the highest ranks leave first as the terminal narrows
COLUMNS = (
    ("state", 11, False, 1),
    ("run", 40, False, 0),
    ("step", 21, True, 3),
    ("val", 7, True, 2),
    ("best", 18, True, 6),
    ("bpb", 6, True, 9),
    ("params", 7, True, 4),
    ("corpus", 12, False, 7),
    ("preset", 12, False, 8),
    ("tok/s", 6, True, 10),
    ("time", 7, True, 11),
    ("when", 11, True, 5),
    ("note", 18, False, 12),
)
NAME, LEAST = 28, 14
"""Cells of a run's name that come before another column, and before its state."""
GAP = 2
MARK = 2
"""Cells before the columns, of a mark."""


class Lines(Sequence[Row]):
    """The table's lines as rows, each made when it is to be seen."""

    def __init__(
        self, lines: Sequence[Line], columns: Sequence[tuple[str, int, bool, int]], marked: Sequence[str]
    ) -> None:
        self._lines, self._columns, self._marked = lines, columns, list(marked)

    def __len__(self) -> int:
        return len(self._lines)

    def path(self, index: int) -> str:
        """The run of a line."""
        return self._lines[index].path

    @overload
    def __getitem__(self, index: int) -> Row: ...
    @overload
    def __getitem__(self, index: slice) -> list[Row]: ...
    def __getitem__(self, index: int | slice) -> Row | list[Row]:
        if isinstance(index, slice):
            return [self[each] for each in range(*index.indices(len(self)))]
        each = self._lines[index]
        place = self._marked.index(each.path) if each.path in self._marked else None
        mark: Part = ("  ", "") if place is None else (f"{MARKS[place]} ", f"series-{place + 1} bold")
        return [mark, *line(each.facts, self._columns, each.branch)]


def sizes_of(facts: Iterable[Facts], lines: Iterable[Line]) -> dict[str, int]:
    """Cells that the longest text of a column takes, of those that differ much from run to run; all runs are looked at,
    so that no column moves as a filter is typed."""
    sizes = {"run": 0, "step": 0, "best": 0, "corpus": 0, "preset": 0, "note": 0}
    for each in facts:
        step, best = max(int(each["step"] or 0), int(each["steps"] or 0)), int(each["best_val_step"] or 0)
        for name, size in (
            ("run", _cells(each["name"])),
            ("step", len(f"{step:,}") * (2 if each["steps"] else 1) + 1),
            ("best", len(f"{best:,}") + 8),
            ("corpus", _cells(each["corpus"])),
            ("preset", _cells(each["preset"] or "custom")),
            ("note", _cells(each.get("note"))),
        ):
            if size > sizes[name]:
                sizes[name] = size
    forks = (_cells(each.facts["name"]) + len(each.branch) for each in lines if each.branch)
    return {**sizes, "run": max(sizes["run"], *forks, 0)}


@lru_cache(8192)
def _cells(text: object) -> int:
    return cell_len(clean(str(text or ""), keep_newlines=False))


def columns_for(width: int, sizes: Mapping[str, int] | None = None) -> list[tuple[str, int, bool, int]]:
    """The columns that fit `width`, each as wide as the longest of its texts (`sizes`, the most without) and its title
    with the mark of the order; a column of notes where there are any. What is over goes to what is longer."""
    width -= MARK
    told = sizes or {}
    wanted = [
        (title, max(len(title) + 1, min(most, told.get(title, most))), right, rank)
        for title, most, right, rank in COLUMNS
        if title != "note" or told.get("note", 1)
    ]
    name = next(size for _, size, _, rank in wanted if rank == 0)
    for most in range(len(COLUMNS) - 1, -1, -1):
        kept = [column for column in wanted if column[3] <= most]
        left = width - sum(size + GAP for _, size, _, rank in kept if rank)
        if left >= min(name, NAME if most > 1 else LEAST) or most == 0:
            name = max(4, min(name, left))
            left -= name
            columns = []
            for title, size, right, rank in kept:
                more = max(0, min(left, told.get(title, size) - size)) if rank else 0
                left -= more
                columns.append((title, size + more if rank else name, right, rank))
            return columns
    return []


def heading(columns: Sequence[tuple[str, int, bool, int]], sort: str) -> str:
    """The names of the columns, with a mark at the one that the table is sorted by."""
    names = [
        (f"{name}▾" if name in (sort, "run" if sort == "name" else "") else name, size, right)
        for name, size, right, _ in columns
    ]
    cells = [f"{name:>{size}}" if right else f"{name:<{size}}" for name, size, right in names]
    return " " * MARK + (" " * GAP).join(cells)


def line(facts: Facts, columns: Sequence[tuple[str, int, bool, int]], branch: str = "") -> list[Part]:
    """One run as a row of the table."""
    mark, look = state_part(str(facts["state"]))
    best = facts["best_val_loss"]
    bpb = facts["val_bits_per_byte"]
    texts = {
        "run": (branch + str(facts["name"]), "bright"),
        "state": (mark.rstrip(), look),
        "step": (step_of(int(facts["step"] or 0), int(facts["steps"] or 0)).strip(), "foreground"),
        "val": (fmt_loss(facts["last_val_loss"]), "val"),
        "best": (f"{fmt_loss(best)} @{facts['best_val_step']:,}" if best is not None else MISSING, "good"),
        "bpb": (f"{bpb:.3f}" if bpb is not None else MISSING, "foreground"),
        "params": (fmt_count(facts["params"]), "foreground"),
        "corpus": (str(facts["corpus"] or ""), "foreground"),
        "preset": (str(facts["preset"] or "custom"), "dim"),
        "tok/s": (fmt_count(facts["tokens_per_second"]), "foreground"),
        "time": (fmt_duration(facts["train_seconds"]), "foreground"),
        "when": (_when(facts), "dim"),
        "note": (str(facts.get("note") or ""), "accent"),
    }
    row: list[Part] = []
    for name, size, right, _ in columns:
        text, look = texts[name]
        if row:
            row.append((" " * GAP, ""))
        row.append((fit(text, size, "right" if right else "left"), look))
    return row


def _when(facts: Facts) -> str:
    """When the run was begun; of one that crashed, when it was last heard of."""
    if facts["state"] == "crashed" and facts.get("heartbeat"):
        return ago(float(facts["heartbeat"]))
    return ago(float(facts["created"])) if facts["created"] else MISSING
