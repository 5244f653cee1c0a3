"""What the machine does for a run: the trainer's share of the CPU and its memory, read from the system, not from it."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Load:
    """`cpu`: share of all usable cores, 0..1; memory in bytes of the process and of the machine."""

    cpu: float
    memory: int
    memory_total: int


class ProcessLoad:
    """Reads one process' load; cheap (two small files of /proc), None once the process is gone."""

    def __init__(self) -> None:
        self._process: Any = None
        self._total = 0
        self._cores = 1

    def read(self, pid: int) -> Load | None:
        """The load since the last call for the same process; the first call gives no CPU share yet."""
        import psutil

        try:
            if self._process is None or self._process.pid != pid:
                self._process = psutil.Process(pid)
                self._total = psutil.virtual_memory().total
                self._cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
            percent = self._process.cpu_percent()
            return Load(min(1.0, percent / 100 / self._cores), self._process.memory_info().rss, self._total)
        except psutil.Error:
            self._process = None
            return None
