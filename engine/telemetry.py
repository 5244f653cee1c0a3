"""What memory there is, and what each NVIDIA device is doing, as NVML tells it.

Nothing here imports torch, and nothing raises: what cannot be measured is None.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import psutil


@dataclass(frozen=True)
class Device:
    """One NVIDIA device, by the number CUDA gives it (`cuda:0`); None where it does not tell.

    `utilization` is percent of the last sampling period in which a kernel ran, `temperature` degrees Celsius, `power`
    watts, memory bytes of all processes, `clock` MHz of the multiprocessors. `processes` compute on it: pid and bytes.
    """

    index: int
    name: str
    utilization: float | None
    temperature: float | None
    power: float | None
    memory_used: int | None
    memory_total: int | None
    clock: float | None = None
    processes: tuple[tuple[int, int | None], ...] = ()


class Telemetry:
    """Looks when asked. NVML is loaded at the first look, once; may be shared by threads."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._nvml: Any = None
        self._handles: list[tuple[int, str, Any]] | None = None

    def devices(self) -> tuple[Device, ...]:
        """One look, of a few milliseconds; empty without an NVIDIA driver."""
        with self._guard:
            if self._handles is None:
                self._handles = self._open()
            return tuple(self._look(index, name, handle) for index, name, handle in self._handles)

    def close(self) -> None:
        """Lets NVML go; the next look would load it again."""
        with self._guard:
            if self._nvml is not None:
                _ask(self._nvml.nvmlShutdown)
            self._nvml, self._handles = None, None

    def _open(self) -> list[tuple[int, str, Any]]:
        """Loads NVML; [] for good on a machine without it."""
        try:
            import pynvml

            pynvml.nvmlInit()
        except Exception:  # no module, no library, no driver, no permission
            return []
        self._nvml = pynvml
        handles = []
        for index, place in enumerate(visible_devices(_ask(pynvml.nvmlDeviceGetCount) or 0)):
            by_number = isinstance(place, int)
            find = pynvml.nvmlDeviceGetHandleByIndex if by_number else pynvml.nvmlDeviceGetHandleByUUID
            handle = _ask(partial(find, place))
            if handle is not None:
                name = _ask(partial(pynvml.nvmlDeviceGetName, handle)) or "GPU"
                handles.append((index, name.decode(errors="replace") if isinstance(name, bytes) else str(name), handle))
        return handles

    def _look(self, index: int, name: str, handle: Any) -> Device:
        nvml = self._nvml
        memory = _ask(lambda: nvml.nvmlDeviceGetMemoryInfo(handle))
        processes = _ask(lambda: nvml.nvmlDeviceGetComputeRunningProcesses(handle)) or []
        return Device(
            index=index,
            name=name,
            utilization=_ask(lambda: float(nvml.nvmlDeviceGetUtilizationRates(handle).gpu)),
            temperature=_ask(lambda: float(nvml.nvmlDeviceGetTemperature(handle, nvml.NVML_TEMPERATURE_GPU))),
            power=_ask(lambda: nvml.nvmlDeviceGetPowerUsage(handle) / 1000),
            memory_used=None if memory is None else int(memory.used),
            memory_total=None if memory is None else int(memory.total),
            clock=_ask(lambda: float(nvml.nvmlDeviceGetClockInfo(handle, nvml.NVML_CLOCK_SM))),
            processes=tuple((int(each.pid), each.usedGpuMemory) for each in processes),
        )


def devices() -> tuple[Device, ...]:
    """The devices there are, looked at once."""
    telemetry = Telemetry()
    found = telemetry.devices()
    telemetry.close()
    return found


def whole_memory(device: str = "auto") -> tuple[int | None, bool]:
    """(bytes of memory there are, whether they are a GPU's) for `device`; for `auto` the larger of both."""
    main = int(psutil.virtual_memory().total)
    if device == "cpu":
        return main, False
    gpus = {f"cuda:{each.index}": each.memory_total for each in devices()}
    if device.startswith("cuda"):
        return gpus.get("cuda:0" if device == "cuda" else device), True
    largest = max((total for total in gpus.values() if total is not None), default=0)
    return max(main, largest), largest > 0


def available_memory() -> tuple[int | None, bool]:
    """(bytes free, whether they are a GPU's): of the first GPU when there is one, else of main memory."""
    return available_by_device()["auto"]


def available_by_device() -> dict[str, tuple[int | None, bool]]:
    """What is free, as `available_memory` says it, by the names that a device can have: auto, cpu, cuda:0, …"""
    main: tuple[int | None, bool] = (int(psutil.virtual_memory().available), False)
    gpus: dict[str, tuple[int | None, bool]] = {
        f"cuda:{each.index}": (each.memory_total - each.memory_used, True)
        for each in devices()
        if each.memory_total is not None and each.memory_used is not None
    }
    return {"auto": next(iter(gpus.values()), main), "cpu": main, **gpus}


def visible_devices(count: int) -> list[int | str]:
    """Of `count` devices those CUDA shows, in its order: numbers in NVML, or UUIDs where the user names them so.

    CUDA_VISIBLE_DEVICES is read as CUDA reads it: what comes after a device that is not there does not count.
    """
    said = os.environ.get("CUDA_VISIBLE_DEVICES")
    if said is None:
        return list(range(count))
    shown: list[int | str] = []
    for name in (part.strip() for part in said.split(",")):
        if name.isdigit() and int(name) < count:
            shown.append(int(name))
        elif name.startswith(("GPU-", "MIG-")):
            shown.append(name)
        else:
            break
    return shown


def _ask(question: Callable[[], Any]) -> Any:
    """The answer, or None: a driver may refuse any question, or die between two."""
    try:
        return question()
    except Exception:
        return None
