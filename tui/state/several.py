"""Several processes that train one run: how many are asked for, and what is seen of each while they do."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from engine.errors import ConfigError
from tui.text import clean

MOST = 1024
"""Processes of a run on one machine."""
READINGS = 8
"""Steps over which ranks are compared: the last ones that were looked at."""
LEAST_READINGS = 4
BEHIND = 1.15
"""Times what the others take for a step from which on a rank is a straggler."""


def how_many(text: str, gpus: int) -> int:
    """Processes that a person asks for: a number, or `gpu` for one on each. Raises ConfigError."""
    if text == "gpu":
        if not gpus:
            raise ConfigError("gpu is one process for each GPU, and there is none here; give a number")
        return gpus
    if not (text.isascii() and text.isdecimal() and len(text) < 9 and 1 <= int(text) <= MOST):
        raise ConfigError(f"processes are a number from 1 to {MOST:,}, or gpu, not {text!r:.40}")
    return int(text)


@dataclass(frozen=True)
class Rank:
    """One of the processes: the mean of its own work for a step, in seconds, over that of the others, and its memory.

    `behind` is how many times the others' median its work takes; it says little before there are some readings.
    """

    rank: int
    host: str
    pid: int | None
    device: str
    seconds: float
    memory: int
    behind: float


@dataclass(frozen=True)
class Several:
    """The processes of a run as they were seen last; `straggler` is the one that keeps the others waiting, `lost` the
    one for which the run has failed."""

    ranks: tuple[Rank, ...]
    parallel: str = ""
    straggler: Rank | None = None
    lost: Rank | None = None

    @property
    def words(self) -> str:
        """`2 ranks · ddp`."""
        return f"{len(self.ranks):,} ranks" + (f" · {self.parallel}" if self.parallel else "")

    @property
    def hosts(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(each.host for each in self.ranks))

    @property
    def pids(self) -> frozenset[int]:
        return frozenset(each.pid for each in self.ranks if each.pid is not None)


class RankWatch:
    """Remembers what was read of each rank at the last few steps."""

    def __init__(self) -> None:
        self._readings: deque[tuple[int, tuple[float, ...]]] = deque(maxlen=READINGS)

    def look(self, status: Mapping[str, Any]) -> Several | None:
        """The processes that a run's status tells of; None where one alone trains it."""
        said = status.get("ranks") or ()
        if len(said) < 2:
            self._readings.clear()
            return None
        step, now = int(status.get("step") or 0), tuple(float(each["seconds"]) for each in said)
        if self._readings and (len(self._readings[-1][1]) != len(now) or step < self._readings[-1][0]):
            self._readings.clear()  # begun again, perhaps with others
        if not self._readings or step > self._readings[-1][0]:
            self._readings.append((step, now))
        means = [fmean(each) for each in zip(*(seconds for _, seconds in self._readings), strict=True)]
        ranks = tuple(
            Rank(
                int(each["rank"]),
                str(each.get("host") or ""),
                each.get("pid"),
                str(each.get("device") or ""),
                seconds,
                int(each["memory"]),
                behind,
            )
            for each, seconds, behind in zip(said, means, over_the_others(means), strict=True)
        )
        return Several(
            ranks,
            clean(str(status.get("parallel") or ""), keep_newlines=False),
            self._straggler(ranks, status),
            _lost(ranks, str(status.get("problem") or "")),
        )

    def _straggler(self, ranks: Sequence[Rank], status: Mapping[str, Any]) -> Rank | None:
        """The slowest, where it is behind in the mean and in most of the readings."""
        slowest = max(range(len(ranks)), key=lambda number: ranks[number].behind)
        if status.get("state") != "running" or len(self._readings) < LEAST_READINGS or ranks[slowest].behind < BEHIND:
            return None
        late = sum(over_the_others(seconds)[slowest] >= BEHIND for _, seconds in self._readings)
        return ranks[slowest] if 4 * late >= 3 * len(self._readings) else None


def _lost(ranks: Sequence[Rank], problem: str) -> Rank | None:
    """The rank that `problem` names, as ranks are named to each other, or the one whose process had the run."""

    def named(each: Rank) -> bool:
        whole = f"rank {each.rank} (process {each.pid} on {each.host})"
        return whole in problem or problem.startswith(f"its process {each.pid} ended")

    return next(filter(named, ranks), None)


def over_the_others(values: Sequence[float]) -> list[float]:
    """Each value over the median of the others; 1 where that is nothing. Of two or more."""
    order = sorted(range(len(values)), key=values.__getitem__)
    place = {number: at for at, number in enumerate(order)}
    row = [values[number] for number in order]
    left = len(values) - 1

    def other(at: int, gone: int) -> float:
        return row[at if at < gone else at + 1]

    found = []
    for number, value in enumerate(values):
        gone = place[number]
        median = (other((left - 1) // 2, gone) + other(left // 2, gone)) / 2
        found.append(value / median if median > 0 else 1.0)
    return found
