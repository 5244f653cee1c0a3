"""All runs as a table: in which order, which of them, which are marked, and on which the cursor stands."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from operator import is_
from pathlib import Path

from engine.errors import UserError
from engine.runs.filter import parse_filter
from engine.runs.layout import RunDir
from tui.state.runsreader import Facts

LIVE = ("running", "paused")
MARKS = "12345678"
"""Of the runs in one picture, in the order in which they were marked; they stand on the curves, too."""
MOST_MARKED = len(MARKS)

SORTS: dict[str, tuple[str, bool]] = {
    "when": ("created", True),
    "name": ("name", False),
    "val": ("last_val_loss", False),
    "best": ("best_val_loss", False),
    "bpb": ("val_bits_per_byte", False),
    "step": ("step", True),
    "params": ("params", True),
    "tok/s": ("tokens_per_second", True),
    "time": ("train_seconds", True),
    "corpus": ("corpus", False),
    "preset": ("preset", False),
}
"""Column -> the fact it goes by, and whether the greatest comes first."""


@dataclass(frozen=True)
class Line:
    """A run in the table; `branch` is what is drawn before its name where it hangs below the run it was forked from."""

    facts: Facts
    branch: str = ""

    @property
    def path(self) -> str:
        return str(self.facts["path"])


class RunsTable:
    """What is shown of `facts`. The cursor is a run, wherever its line stands."""

    def __init__(self, sort: str = "when", last: str = "") -> None:
        """`last` is the path of the run that was shown last, on which the cursor stands first."""
        self.facts: list[Facts] | None = None
        """All runs as they were read last; None before."""
        self.left = 0
        """How many have not been read yet."""
        self.problem = ""
        self.sort = sort if sort in SORTS else "when"
        self.backwards = False
        self.typed = ""
        self.wrong = ""
        """What is wrong with the filter that is being typed; the one before still holds."""
        self.tree = False
        self.marked: list[str] = []
        self.cursor = ""
        self._last = last
        self._placed = False
        """Whether a person put the cursor where it is."""
        self.lines: list[Line] = []
        self._holds: Callable[[Facts], bool] = lambda _: True

    # -- what is shown -------------------------------------------------------------------------------------------------

    def take(self, facts: Sequence[Facts], problem: str = "", left: int = 0) -> None:
        """The runs as they are now, without those that are `left` to be read; the cursor stays on its run, or on the
        nearest that is left. Until all are read, and nobody moved it, it stands where it is to stand then."""
        before, all_read = self.facts, self.facts is not None and not self.left
        same = before is not None and len(before) == len(facts) and all(map(is_, before, facts))
        self.problem, self.left = problem, left
        if same and all_read:
            return
        self.facts = list(facts)
        paths = {str(each["path"]) for each in facts}
        if not left:
            self.marked = [path for path in self.marked if path in paths]
        if not all_read and not self._placed:
            self.cursor = self._last if self._last in paths else ""
            self.lines = []
        self._arrange()

    def filter(self, typed: str) -> None:
        """Show the runs of which `typed` holds (see `engine.runs.filter`)."""
        self.typed = typed
        try:
            self._holds, self.wrong = parse_filter(typed), ""
        except UserError as error:
            self.wrong = str(error)
        self._arrange()

    def sort_by(self, column: str) -> None:
        """Sort by a column; by the same once more the other way around."""
        self.backwards = not self.backwards if column == self.sort else False
        self.sort = column
        self._arrange()

    def toggle_tree(self) -> None:
        """Forks below the run they come from, or all in one order."""
        self.tree = not self.tree
        self._arrange()

    def _arrange(self) -> None:
        before = [line.path for line in self.lines]
        shown = in_order([each for each in self.facts or () if self._holds(each)], self.sort, self.backwards)
        self.lines = as_tree(shown) if self.tree else [Line(each) for each in shown]
        self.cursor = follow(before, self.cursor, [line.path for line in self.lines])

    # -- the cursor, and what is marked --------------------------------------------------------------------------------

    @property
    def index(self) -> int:
        """The cursor's line."""
        return next((i for i, line in enumerate(self.lines) if line.path == self.cursor), 0)

    def go(self, index: int) -> None:
        """Put the cursor on a line."""
        if self.lines:
            self._placed = True
            self.cursor = self.lines[max(0, min(index, len(self.lines) - 1))].path

    def go_to(self, path: str) -> None:
        """Put the cursor on a run, where it is shown."""
        if any(line.path == path for line in self.lines):
            self._placed, self.cursor = True, path

    @property
    def chosen(self) -> Facts | None:
        """The run under the cursor."""
        return self.lines[self.index].facts if self.lines else None

    @property
    def run(self) -> RunDir | None:
        return RunDir(Path(self.cursor)) if self.lines else None

    def mark(self) -> str:
        """Mark the run under the cursor, or take its mark away; what keeps it from being marked."""
        if not self.lines:
            return "there is no run to mark"
        if self.cursor in self.marked:
            self.marked.remove(self.cursor)
        elif len(self.marked) >= MOST_MARKED:
            return f"{MOST_MARKED} runs are marked, and one picture holds no more; space on one of them unmarks it"
        else:
            self.marked.append(self.cursor)
        return ""

    def facts_of(self, path: str) -> Facts | None:
        """A run's facts by its path."""
        return next((each for each in self.facts or () if each["path"] == path), None)


def in_order(facts: Sequence[Facts], sort: str = "when", backwards: bool = False) -> list[Facts]:
    """Live runs first, whatever the order; what has no value for it comes last. Equal ones stay in the order of their
    birth, so that no line moves because another run wrote its heartbeat."""
    key, greatest_first = SORTS[sort]
    newest = sorted(facts, key=lambda each: (-_number(each["created"]), str(each["name"])))
    known = [each for each in newest if each.get(key) is not None]
    unknown = [each for each in newest if each.get(key) is None]
    known.sort(key=lambda each: _rank(each[key]), reverse=greatest_first != backwards)
    found = known + unknown
    return [each for each in found if each["state"] in LIVE] + [each for each in found if each["state"] not in LIVE]


def _number(value: object) -> float:
    return float(value) if isinstance(value, int | float) else 0.0


def _rank(value: object) -> tuple[int, float, str]:
    if isinstance(value, int | float) and value == value:
        return 0, float(value), ""
    return 1, 0.0, str(value).lower()


def as_tree(facts: Sequence[Facts]) -> list[Line]:
    """Each run with the runs forked from it below it, as far as they are shown."""
    by_name = {str(each["name"]): each for each in facts}
    children: dict[str, list[Facts]] = {}
    roots = []
    for each in facts:
        parent = parent_name(each)
        if parent in by_name and not _above(each, parent, by_name):
            children.setdefault(parent, []).append(each)
        else:
            roots.append(each)
    lines: list[Line] = []
    stack = [(each, "", "") for each in reversed(roots)]
    while stack:
        each, branch, below = stack.pop()
        lines.append(Line(each, branch))
        mine = children.get(str(each["name"]), [])
        for number, child in reversed(list(enumerate(mine))):
            last = number == len(mine) - 1
            stack.append((child, below + ("└ " if last else "├ "), below + ("  " if last else "│ ")))
    return lines


def parent_name(facts: Facts) -> str:
    """The run that this one was forked from; "" where there is none."""
    parent = facts.get("parent")
    return str(parent.get("run") or "") if isinstance(parent, dict) else ""


def _above(facts: Facts, parent: str, by_name: dict[str, Facts]) -> bool:
    """Whether the run is among the parents of its parent, as a folder copied by hand may claim."""
    seen = {str(facts["name"])}
    while parent in by_name:
        if parent in seen:
            return True
        seen.add(parent)
        parent = parent_name(by_name[parent])
    return False


def follow(before: Sequence[str], cursor: str, after: Sequence[str]) -> str:
    """Where the cursor stands in `after`: on its run, or when that is gone on its nearest neighbour there, of those
    below it first."""
    if cursor in after or not after:
        return cursor if cursor in after else ""
    at = before.index(cursor) if cursor in before else 0
    there = set(after)
    return next((path for path in [*before[at:], *before[:at][::-1]] if path in there), after[0])
