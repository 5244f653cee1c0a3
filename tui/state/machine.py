"""How busy this machine is with a run: looked at once a second in a thread, so that the screen never waits for it."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import Any

EVERY = 1.0
"""Seconds between two looks."""


@dataclass(frozen=True)
class Load:
    """The trainer's process: its share of all usable cores, 0..1; its memory and the machine's, bytes."""

    cpu: float
    memory: int
    memory_total: int


@dataclass(frozen=True)
class Gpu:
    """The device trained on; None where it does not tell."""

    name: str
    utilization: float | None  # 0..1
    temperature: float | None  # degrees Celsius
    power: float | None  # watts
    memory_used: int | None
    memory_total: int | None


class MachineWatch:
    """Watches process `pid` and, for a run on `cuda:N`, device N. `load` and `gpu` are the newest looks."""

    def __init__(self, pid: int, device: str) -> None:
        self.pid, self.device = pid, device
        self.load: Load | None = None
        self.gpu: Gpu | None = None
        self._ended = threading.Event()
        threading.Thread(target=self._watch, name="machine", daemon=True).start()

    def end(self) -> None:
        """Look no more."""
        self._ended.set()

    def _watch(self) -> None:
        import psutil

        from engine.telemetry import Telemetry

        telemetry = Telemetry() if self.device.startswith("cuda") else None
        try:
            process = psutil.Process(self.pid)
            process.cpu_percent()
            while not self._ended.wait(EVERY):
                self.load = _load(process)
                if telemetry is not None:
                    self.gpu = _gpu(telemetry, self.device)
        except psutil.Error:
            self.load = None
        finally:
            if telemetry is not None:
                telemetry.close()


def _load(process: Any) -> Load:
    import psutil

    from engine.runs.environment import usable_threads

    share = process.cpu_percent() / 100 / usable_threads()
    return Load(min(1.0, share), int(process.memory_info().rss), int(psutil.virtual_memory().total))


def _gpu(telemetry: Any, device: str) -> Gpu | None:
    number = int(device.partition(":")[2] or 0)
    for each in telemetry.sample().devices:
        if each.index == number:
            busy = None if each.utilization is None else each.utilization / 100
            return Gpu(each.name, busy, each.temperature, each.power, each.memory_used, each.memory_total)
    return None
