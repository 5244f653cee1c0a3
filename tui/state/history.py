"""Every prompt of a run with its settings, seed, checkpoint and output: `RUN/prompts.jsonl`, newest last."""

from __future__ import annotations

import fcntl
import json
import os
import stat
import threading
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from time import monotonic, sleep
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field

from engine.errors import UserError
from engine.files import open_atomic, open_regular, stands_at
from engine.runs.schema import Entry, Number, Text, Time, Whole, load_line

if TYPE_CHECKING:
    from engine.runs.layout import RunDir

KEEP = 500
"""Prompts of a run that can be recalled."""
KEEP_BYTES = 4 << 20
"""Of the file's end, where they are read from; and what is kept of it when it has grown to twice as many."""
PATIENCE = 0.5
"""Seconds in which another process, which appends or shortens, gives the file free."""


@dataclass(frozen=True)
class Prompted:
    """One prompt and what came of it. `step` is the weights' step; `source` how they were asked for.

    `text` is as the model wrote it, to be cleaned before it is shown; `problem` is why it was not answered to its end.
    `ids` are its tokens; `how` it came from another answer: `on` from its end, with another `token`, `edited`, or "".
    """

    prompt: str
    text: str = ""
    source: str = ""
    step: int | None = None
    settings: dict[str, Any] = field(default_factory=dict)
    templated: bool = False
    time: float = 0.0
    stop_reason: str = ""
    tokens: int = 0
    tokens_per_second: float = 0.0
    problem: str = ""
    ids: tuple[int, ...] = ()
    how: str = ""


class Line(Entry):
    """A line of `prompts.jsonl`, as a `Prompted`."""

    prompt: Text
    text: Text = ""
    source: Text = ""
    step: Whole | None = None
    settings: dict[str, Any] = Field(default_factory=dict)
    templated: bool = False
    time: Time = 0.0
    stop_reason: Text = ""
    tokens: Whole = 0
    tokens_per_second: Number = 0.0
    problem: Text = ""
    ids: list[Annotated[int, Field(ge=0, lt=1 << 31)]] = Field(default_factory=list)
    how: Text = ""


class PromptHistory:
    """Read once, then appended to, from any thread; the newest KEEP are held. Damaged lines are skipped; where the file
    cannot be written it lasts as long as the program."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._first = 0
        self._entries: list[Prompted] = []
        self._lock = threading.Lock()

    @property
    def entries(self) -> list[Prompted]:
        """Newest last."""
        return self.numbered()[1]

    def numbered(self) -> tuple[int, list[Prompted]]:
        """The entries, and the number of the first. An entry keeps its number, whatever comes before or goes."""
        with self._lock:
            return self._first, [*self._entries]

    def read(self) -> list[Prompted]:
        """What the file holds, for `take`; from any thread."""
        return _read(self.path)[-KEEP:]

    def take(self, entries: Sequence[Prompted]) -> None:
        """Put what was read before what was asked since."""
        with self._lock:
            older = [entry for entry in entries if entry not in self._entries]
            self._entries[:0] = older
            self._first -= len(older)
            self._let_go()

    def hold(self, entry: Prompted) -> None:
        """Keep `entry` for as long as the program runs."""
        with self._lock:
            self._entries.append(entry)
            self._let_go()

    def _let_go(self) -> None:
        more = max(0, len(self._entries) - KEEP)
        del self._entries[:more]
        self._first += more

    def append(self, entry: Prompted) -> None:
        """Keep `entry`, in one write after a whole line. A full disk costs the history, never the prompt."""
        self.hold(entry)
        with suppress(OSError, UserError):
            _append(self.path, json.dumps(asdict(entry)).encode() + b"\n")

    def prompts(self) -> list[str]:
        """The prompts, newest last, each once."""
        return list(dict.fromkeys(reversed([entry.prompt for entry in self.entries])))[::-1]


def _append(path: Path, line: bytes) -> None:
    fd, alone = _opened(path)
    try:
        facts = os.fstat(fd)
        if not stat.S_ISREG(facts.st_mode):
            return
        torn = facts.st_size > 0 and os.pread(fd, 1, facts.st_size - 1) != b"\n"
        os.write(fd, b"\n" + line if torn else line)
        if alone and facts.st_size > 2 * KEEP_BYTES and not path.is_symlink():
            _shorten(path, fd)
    finally:
        os.close(fd)


def _opened(path: Path) -> tuple[int, bool]:
    """The file to append to, and whether no other process appends to it or replaces it meanwhile."""
    give_up = monotonic() + PATIENCE
    while True:
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_NONBLOCK, 0o644)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if not isinstance(error, BlockingIOError) or monotonic() > give_up:  # there are no locks, or never for us
                return fd, False
        else:
            if stands_at(fd, path):
                return fd, True
        os.close(fd)
        sleep(0.001)


def _shorten(path: Path, fd: int) -> None:
    """Keep the last KEEP_BYTES, from the beginning of a line on."""
    end = os.fstat(fd)
    _, _, whole = os.pread(fd, KEEP_BYTES, end.st_size - KEEP_BYTES).partition(b"\n")
    if whole:
        with open_atomic(path) as file:
            os.fchmod(file.fileno(), stat.S_IMODE(end.st_mode))
            file.write(whole)


def _read(path: Path) -> list[Prompted]:
    entries = []
    for line in _end_of(path).splitlines():
        try:
            record = load_line(line, Line)
        except ValueError:
            continue
        record["ids"] = tuple(record.get("ids", ()))
        entries.append(Prompted(**{name: record[name] for name in Line.model_fields if name in record}))
    return entries


def _end_of(path: Path) -> bytes:
    """The last KEEP_BYTES of a plain file; nothing of what is none."""
    try:
        with open_regular(path) as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - KEEP_BYTES))
            return file.read(KEEP_BYTES)
    except OSError:
        return b""


def prompts_elsewhere(runs_dir: Path, here: RunDir | None, most: int = KEEP) -> list[tuple[str, str]]:
    """What was asked of other runs, each text once, with the name of the run it was asked of last; newest first."""
    from engine.runs.layout import list_runs

    found: list[tuple[float, str, str]] = []
    try:
        runs = list_runs(runs_dir)
    except UserError:
        return []
    for run in runs:
        if here is None or run.path != here.path:
            found += [(entry.time, entry.prompt, run.name) for entry in _read(run.path / "prompts.jsonl")]
    newest = dict[str, str]()
    for _, prompt, name in sorted(found, reverse=True):
        if prompt.strip():
            newest.setdefault(prompt, name)
    return list(newest.items())[:most]
