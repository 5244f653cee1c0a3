"""How busy this machine is: looked at once a second in a thread, so that the screen never waits for it.

watch = MachineWatch(folder)            # looks from now on; the disk is that of `folder`
watch.follow(pid, "cuda:0")             # and at this process and its device
watch.load, watch.gpu                   # of the process followed
watch.machine, watch.hour("cpu")        # of the whole machine, and of the last hour
"""

from __future__ import annotations

import shutil
import threading
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import Any

EVERY = 1.0
"""Seconds between two looks."""
HOUR = 3600
"""Looks that are remembered."""
LEAST_TIME = 60.0
"""Seconds of looking before it is said when a disk will be full."""
FILL_TIME = 600.0
"""Seconds over which it is seen how fast a disk fills."""


@dataclass(frozen=True)
class Load:
    """The trainer's process: its share of all usable cores, 0..1; its memory and the machine's, bytes."""

    cpu: float
    memory: int
    memory_total: int


@dataclass(frozen=True)
class Process:
    """One that computes on a GPU; what it does not tell is empty or None. `memory` in bytes."""

    pid: int
    owner: str
    name: str
    memory: int | None


@dataclass(frozen=True)
class Gpu:
    """A device; None where it does not tell."""

    name: str
    utilization: float | None  # 0..1
    temperature: float | None  # degrees Celsius
    power: float | None  # watts
    memory_used: int | None
    memory_total: int | None
    clock: float | None = None  # MHz
    index: int = 0
    processes: tuple[Process, ...] = ()


@dataclass(frozen=True)
class Machine:
    """One look at the machine: cores 0..1 each, bytes, and seconds until the disk is full at the rate of late."""

    gpus: tuple[Gpu, ...]
    cores: tuple[float, ...]
    memory: int
    memory_total: int
    disk_free: int | None = None
    disk_total: int | None = None
    full_in: float | None = None


class MachineWatch:
    """Looks until it is ended; see the module's text."""

    def __init__(self, folder: Path) -> None:
        self.pid: int | None = None
        self.device = ""
        self.load: Load | None = None
        self.machine: Machine | None = None
        self._folder = folder
        self._hours: dict[str, deque[float]] = {}
        self._free: deque[tuple[float, int]] = deque(maxlen=int(FILL_TIME / EVERY))
        self._lock = threading.Lock()
        self._names: dict[int, tuple[str, str]] = {}
        self._ended = threading.Event()
        threading.Thread(target=self._watch, name="machine", daemon=True).start()

    def follow(self, pid: int | None, device: str = "") -> None:
        """Look at process `pid` too, and for a run on `cuda:N` at device N; at none with None."""
        if (pid, device) != (self.pid, self.device):
            self.load = None
            self.pid, self.device = pid, device

    @property
    def gpu(self) -> Gpu | None:
        """The device of the process followed."""
        if self.pid is None or not self.device.startswith("cuda") or self.machine is None:
            return None
        number = int(self.device.partition(":")[2] or 0)
        return next((each for each in self.machine.gpus if each.index == number), None)

    def hour(self, name: str) -> list[float]:
        """What was seen of `cpu`, `memory` or `gpu N`, 0..1, oldest first, a value a second."""
        with self._lock:
            return list(self._hours.get(name, ()))

    def end(self) -> None:
        """Look no more."""
        self._ended.set()

    # -- in the thread -------------------------------------------------------------------------------------------------

    def _watch(self) -> None:
        import psutil

        from engine.telemetry import Telemetry

        telemetry = Telemetry()
        psutil.cpu_percent(percpu=True)
        process: Any = None
        try:
            while not self._ended.wait(EVERY):
                pid = self.pid
                process, load = _load(process, pid)
                self.machine = self._look(telemetry)
                if pid == self.pid:
                    self.load = load
        finally:
            telemetry.close()

    def _look(self, telemetry: Any) -> Machine:
        import psutil

        memory = psutil.virtual_memory()
        used = int(memory.total - memory.available)
        cores = tuple(min(1.0, each / 100) for each in psutil.cpu_percent(percpu=True))
        gpus = tuple(self._gpu(each) for each in telemetry.devices())
        free, total = self._disk()
        with self._lock:
            self._remember("cpu", sum(cores) / max(1, len(cores)))
            self._remember("memory", used / max(1, memory.total))
            for gpu in gpus:
                self._remember(f"gpu {gpu.index}", gpu.utilization or 0.0)
        return Machine(gpus, cores, used, int(memory.total), free, total, time_until_full(self._free))

    def _remember(self, name: str, value: float) -> None:
        self._hours.setdefault(name, deque(maxlen=HOUR)).append(value)

    def _disk(self) -> tuple[int | None, int | None]:
        try:
            usage = shutil.disk_usage(next(each for each in (self._folder, *self._folder.parents) if each.exists()))
        except (OSError, StopIteration):
            return None, None
        self._free.append((monotonic(), usage.free))
        return usage.free, usage.total

    def _gpu(self, device: Any) -> Gpu:
        busy = None if device.utilization is None else device.utilization / 100
        processes = tuple(Process(pid, *self._named(pid), memory) for pid, memory in device.processes)
        seen = (device.temperature, device.power, device.memory_used, device.memory_total, device.clock)
        return Gpu(device.name, busy, *seen, index=device.index, processes=processes)

    def _named(self, pid: int) -> tuple[str, str]:
        """Owner and name of a process, asked once."""
        import psutil

        if pid not in self._names:
            if len(self._names) > HOUR:
                self._names.clear()
            try:
                process = psutil.Process(pid)
                self._names[pid] = process.username(), process.name()
            except (psutil.Error, KeyError):  # of another container, or gone
                self._names[pid] = "", ""
        return self._names[pid]


def _load(process: Any, pid: int | None) -> tuple[Any, Load | None]:
    """The process followed and its load; None at its first look and when it is gone."""
    import psutil

    from engine.machine import usable_threads

    try:
        if pid is None:
            return None, None
        if process is None or process.pid != pid:
            process = psutil.Process(pid)
            process.cpu_percent()
            return process, None
        share = process.cpu_percent() / 100 / usable_threads()
        return process, Load(min(1.0, share), int(process.memory_info().rss), int(psutil.virtual_memory().total))
    except psutil.Error:
        return None, None


def time_until_full(free: Sequence[tuple[float, int]]) -> float | None:
    """Seconds until nothing is left, from (seconds, bytes free) over a while; None where it does not fill."""
    if len(free) < 2 or free[-1][0] - free[0][0] < LEAST_TIME:
        return None
    lost = free[0][1] - free[-1][1]
    return free[-1][1] * (free[-1][0] - free[0][0]) / lost if lost > 0 else None
