"""Reading a run, live or ended, while it is being written. Nothing here writes, locks for long, or asks the trainer."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engine.errors import RunError
from engine.runs import recall
from engine.runs.columns import LONG, Block, columns_of, records_of
from engine.runs.layout import RunDir
from engine.runs.schema import Event, Resumed, Sample, decode, problem_of
from engine.runs.series import Series
from engine.runs.status import ALIVE, read_info, read_said, true_status
from engine.runs.tail import MAX_LINE, TOO_LONG, Tail, split_lines

MAX_VIEWED = 5_000
"""Samples and events in a view: the newest."""
MAX_PROBLEMS = 20
"""Damaged lines named for each file; more are counted."""


@dataclass(frozen=True, eq=False)
class RunView:
    """A run as it stood at one look: nothing here changes, so that it can be handed to another thread.

    info: `run.json`; status: `status.json` made true; samples and events: the newest, oldest first; checkpoints:
    {step, path, val_loss} by step; changed: what is new since the view before, of info, status, series, samples and
    events.
    """

    run: RunDir
    info: dict[str, Any]
    status: dict[str, Any]
    series: Series
    samples: tuple[dict[str, Any], ...]
    events: tuple[dict[str, Any], ...]
    checkpoints: tuple[dict[str, Any], ...]
    problems: tuple[str, ...]
    changed: frozenset[str]


class RunReader:
    """Follows one run. `poll` reads what is new; between polls everything here stands still.

    Opening reads only run.json and status.json; the first `poll` reads the logs, a million records in about a second.
    Raises RunError when it is not a run, or of a later format than this program knows.
    """

    def __init__(
        self,
        run: RunDir,
        most: int | None = None,
        exact: bool = True,
        aside: Callable[[Path, int], Iterator[Block]] | None = None,
    ) -> None:
        """most: how many samples and events are held, the newest; all when None. exact: as of `Series`.

        aside: what reads long metrics, as `recall.blocks` does, for a process that has a screen to draw
        meanwhile.
        """
        self.run, self.most, self._aside = run, most, aside
        self.info: dict[str, Any] = {}
        """`run.json`."""
        self.status: dict[str, Any] = {}
        """`status.json` made true: `state` is crashed, and `problem` says so, when the trainer died."""
        self.series = Series(exact)
        self.samples: list[dict[str, Any]] = []
        self.events: list[dict[str, Any]] = []
        self.let_go = 0
        """Events that came before the first of `events`."""
        self.changed: frozenset[str] = frozenset()
        """What the last poll found changed: of info, status, series, samples, events."""
        self._said: dict[str, Any] | None = None
        self._damage: dict[str, str] = {}
        """What is wrong now with run.json and status.json."""
        self._facts: dict[Path, tuple[int, ...]] = {}
        self._kept = 0
        """Bytes of metrics of which is kept what they came to."""
        self._metrics = _JsonLines(run.metrics, self.series.clear)
        self._samples = _JsonLines(run.samples, self.samples.clear)
        self._events = _JsonLines(run.events, self._forget_events)
        self._touched(run.run_json)
        self.info = read_info(run)
        self._poll_status()

    def poll(self) -> bool:
        """Reads what is new; True when anything changed. Without changes it costs a stat a file."""
        changed = {
            "info": self._poll_info(),
            "status": self._poll_status(),
            "series": self._metrics.poll(self._add_metrics, self._leap if self._aside else None),
            "samples": self._samples.poll(self._add_sample),
            "events": self._events.poll(self._add_event),
        }
        self.changed = frozenset(name for name, is_so in changed.items() if is_so)
        return bool(self.changed)

    def view(self) -> RunView:
        """The run as the last poll found it."""
        return RunView(
            self.run,
            self.info,
            self.status,
            self.series.snapshot(),
            tuple(self.samples[-MAX_VIEWED:]),
            tuple(self.events[-MAX_VIEWED:]),
            tuple(self.checkpoints()),
            tuple(self.problems),
            self.changed,
        )

    def keep(self) -> None:
        """Now and then keeps what long metrics came to, for who opens the run next; see recall.py."""
        log, size = self._metrics, self._metrics.tail.offset
        if size - self._kept >= max(LONG, self._kept // 4) and not log.problems():
            self._kept = size
            recall.keep(self.run.metrics, size, log.tail.seam, log.line, self.series)

    @property
    def problems(self) -> list[str]:
        """What could not be read, a line each with file and line number, and why a dead trainer's run failed."""
        said = self.status.get("problem")
        return ([said] if said and said not in self.damage else []) + self.damage

    @property
    def damage(self) -> list[str]:
        """What could not be read, a line each; what it held is left out of everything here."""
        files = [said for said in self._damage.values() if said]
        return files + [problem for log in (self._metrics, self._samples, self._events) for problem in log.problems()]

    def checkpoints(self) -> list[dict[str, Any]]:
        """{step, path, val_loss} of each checkpoint folder, by step; val_loss is None where none was measured."""
        steps, losses = self.series.val_step, self.series.val_loss
        known = {int(step): float(loss) for step, loss in zip(steps, losses, strict=True) if loss == loss}
        return [
            {"step": step, "path": str(self.run.checkpoint(step)), "val_loss": known.get(step)}
            for step in self.run.checkpoint_steps()
        ]

    def _poll_info(self) -> bool:
        if not self._touched(self.run.run_json):
            return False
        try:
            info = read_info(self.run)
        except RunError as error:  # it was whole before, and what it said then still holds
            self._damage["info"] = str(error)
            return self.run.exists
        repaired = self._damage.pop("info", "") != ""
        if info == self.info and not repaired:
            return False
        self.info = info
        return True

    def _poll_status(self) -> bool:
        if self._touched(self.run.status_json):
            self._said, self._damage["status"] = read_said(self.run)
        elif self.status.get("state") not in (*ALIVE, "new"):
            if not self.run.exists and self.status.get("problem") != _GONE:
                self.status = {**self.status, "problem": _GONE}
                return True
            return False
        status = true_status(self.run, self._said, self._damage.get("status", ""))
        if not self.run.exists:
            status |= {"state": "failed", "problem": _GONE}
        if status == self.status:
            return False
        self.status = status
        return True

    def _touched(self, path: Path) -> bool:
        try:
            facts = path.stat()
        except OSError:
            now: tuple[int, ...] = ()
        else:
            now = (facts.st_ino, facts.st_size, facts.st_mtime_ns)
        before, self._facts[path] = self._facts.get(path), now
        return before != now

    def _add_metrics(self, block: bytes, log: _JsonLines) -> None:
        records = records_of(block)
        if records and (both := columns_of(records)) and self.series.extend(*both):
            log.line += len(records)
            return
        self._one_by_one(block, log)

    def _leap(self, log: _JsonLines) -> None:
        """Most of a long file, read by other processes."""
        assert self._aside is not None
        for block in self._aside(log.tail.path, log.tail.offset):
            if not block.before.endswith(log.tail.seam):  # the file was replaced meanwhile
                return
            if block.both and self.series.extend(*block.both):
                log.line += block.lines
                log.tail.skip(block.size, block.seam)
                if block.size >= LONG:
                    self._kept = block.size
            elif (lines := log.tail.again(block.size)).endswith(block.seam):
                self._one_by_one(lines, log)
                log.tail.skip(block.size, block.seam)
            else:
                return

    def _one_by_one(self, block: bytes, log: _JsonLines) -> None:
        for line in split_lines(block):
            log.read(line, self.series.add)

    def _add_sample(self, block: bytes, log: _JsonLines) -> None:
        def add(sample: dict[str, Any]) -> str | None:
            mark = "resumed" in sample
            if problem := problem_of(sample, Resumed if mark else Sample):
                return f"{problem}; left out"
            if mark:
                self.samples[:] = [kept for kept in self.samples if kept["step"] <= sample["resumed"]]
            else:
                self.samples.append(sample)
            return None

        for line in split_lines(block):
            log.read(line, add)
        self._newest(self.samples)

    def _add_event(self, block: bytes, log: _JsonLines) -> None:
        def add(event: dict[str, Any]) -> str | None:
            if problem := problem_of(event, Event):
                return f"{problem}; left out"
            self.events.append(event)
            return None

        for line in split_lines(block):
            log.read(line, add)
        self.let_go += self._newest(self.events)

    def _newest(self, found: list[dict[str, Any]]) -> int:
        """Lets go of all but the newest; of how many."""
        more = 0 if self.most is None else max(0, len(found) - self.most)
        del found[:more]
        return more

    def _forget_events(self) -> None:
        self.events.clear()
        self.let_go = 0


_GONE = "its folder is gone"


class _JsonLines:
    """One JSONL file on its way in: where it is at, and what was wrong with it."""

    def __init__(self, path: Path, forget: Callable[[], None]) -> None:
        self.tail = Tail(path)
        self.line = 0
        self._forget = forget
        self._bad: list[tuple[int, str]] = []
        self._more = self._last_bad = 0
        self._unreadable = ""

    def poll(self, take: Callable[[bytes, _JsonLines], None], leap: Callable[[_JsonLines], None] | None = None) -> bool:
        """Hands every new block to `take`; True when there was any, or what was read before is void.

        Of much that is new, `leap` first goes as far as it can.
        """
        if not self.tail.changed():
            return False
        rewritten = self._begin_anew()
        line = self.line
        try:
            if leap is not None and self.tail.look() >= LONG:
                leap(self)
                rewritten = self._begin_anew() or rewritten
            for block in self.tail.blocks():
                take(block, self)
            self._unreadable = ""
        except OSError as error:
            self._unreadable = f"{self.tail.path.name} cannot be read: {error.strerror}"
            return True
        return rewritten or self.line > line

    def _begin_anew(self) -> bool:
        """Forgets what was read where that is no longer what the file holds."""
        if not self.tail.rewritten():
            return False
        self.line, self._bad, self._more, self._last_bad = 0, [], 0, 0
        self._forget()
        return True

    def read(self, line: bytes, add: Callable[[dict[str, Any]], str | None]) -> None:
        """One line: its record to `add`, or a note of what is wrong with it."""
        if not line.strip():
            self.note(None)
            return
        if line == TOO_LONG:
            self.note(f"longer than {MAX_LINE >> 20} MiB; left out")
            return
        try:
            record = decode(line)
        except ValueError as error:
            self.note(f"{str(error).removeprefix('it is ')}; left out")
            return
        if not isinstance(record, dict):
            self.note("not a record; left out")
        elif "torn" in record:
            self._excuse()
        else:
            self.note(add(record))

    def note(self, problem: str | None) -> None:
        """Counts a line, and keeps what is wrong with it."""
        self.line += 1
        if problem is None:
            return
        self._last_bad = self.line
        if len(self._bad) < MAX_PROBLEMS:
            self._bad.append((self.line, problem))
        else:
            self._more += 1

    def _excuse(self) -> None:
        """The writer says that the line before was cut short by a kill: no damage."""
        if self._last_bad == self.line and self._more:
            self._more -= 1
        elif self._last_bad == self.line and self._bad:
            self._bad.pop()
        self.line += 1

    def problems(self) -> list[str]:
        name = self.tail.path.name
        said = [self._unreadable] if self._unreadable else []
        said += [f"{name} line {line}: {problem}" for line, problem in self._bad]
        return said + ([f"{name}: {self._more} more lines like these"] if self._more else [])
