from __future__ import annotations

import sys
import types
from typing import Any

import pytest

from engine.telemetry import Telemetry, devices


class NvmlError(Exception):
    pass


class Driver(types.ModuleType):
    """NVML as it may be met: two devices, some questions refused, gone at any time."""

    NVML_TEMPERATURE_GPU = 0

    def __init__(self) -> None:
        super().__init__("pynvml")
        self.loads = 0
        self.refused: set[str] = set()

    def __getattr__(self, name: str) -> Any:
        if not name.startswith("nvml"):
            raise AttributeError(name)

        def ask(*arguments: Any) -> Any:
            if name in self.refused or "all" in self.refused:
                raise NvmlError(name)
            return self.answer(name, *arguments)

        return ask

    def answer(self, name: str, *arguments: Any) -> Any:
        if name == "nvmlInit":
            self.loads += 1
        return {
            "nvmlInit": None,
            "nvmlShutdown": None,
            "nvmlDeviceGetCount": 2,
            "nvmlDeviceGetHandleByIndex": arguments[0] if arguments else None,
            "nvmlDeviceGetHandleByUUID": arguments[0] if arguments else None,
            "nvmlDeviceGetName": b"H200",
            "nvmlDeviceGetUtilizationRates": types.SimpleNamespace(gpu=91),
            "nvmlDeviceGetTemperature": 64,
            "nvmlDeviceGetPowerUsage": 412_345,
            "nvmlDeviceGetMemoryInfo": types.SimpleNamespace(used=1 << 30, total=1 << 37),
        }[name]


@pytest.fixture
def driver(monkeypatch: pytest.MonkeyPatch) -> Driver:
    made = Driver()
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setitem(sys.modules, "pynvml", made)
    return made


def test_without_nvml_there_are_no_devices(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", None)
    assert devices() == ()


def test_devices_are_told_in_plain_units(driver: Driver) -> None:
    telemetry = Telemetry()
    for _ in range(3):
        found = telemetry.devices()
    assert driver.loads == 1
    assert [device.index for device in found] == [0, 1]
    device = found[0]
    assert (device.name, device.utilization, device.temperature, device.power) == ("H200", 91.0, 64.0, 412.345)
    assert (device.memory_used, device.memory_total) == (1 << 30, 1 << 37)
    telemetry.close()
    assert telemetry.devices() == found and driver.loads == 2


@pytest.mark.parametrize(
    ("said", "handles"),
    [("1", [1]), ("1,0", [1, 0]), ("", []), ("-1", []), ("1,7,0", [1]), (" 0 , GPU-3f2a ", [0, "GPU-3f2a"])],
)
def test_devices_have_the_numbers_cuda_gives_them(
    driver: Driver, monkeypatch: pytest.MonkeyPatch, said: str, handles: list[object]
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", said)
    telemetry = Telemetry()
    assert [device.index for device in telemetry.devices()] == list(range(len(handles)))
    assert telemetry._handles is not None and [handle for *_, handle in telemetry._handles] == handles


def test_a_driver_that_refuses_or_dies_leaves_gaps_and_no_error(driver: Driver) -> None:
    telemetry = Telemetry()
    driver.refused = {"nvmlDeviceGetPowerUsage", "nvmlDeviceGetName"}
    device = telemetry.devices()[0]
    assert (device.name, device.power, device.temperature) == ("GPU", None, 64.0)
    driver.refused = {"all"}
    device = telemetry.devices()[0]
    assert (device.utilization, device.temperature, device.memory_used, device.memory_total) == (None,) * 4
    telemetry.close()


@pytest.mark.parametrize("refused", ["nvmlInit", "nvmlDeviceGetCount", "nvmlDeviceGetHandleByIndex"])
def test_a_machine_without_a_working_driver_has_no_devices(driver: Driver, refused: str) -> None:
    driver.refused = {refused}
    telemetry = Telemetry()
    assert telemetry.devices() == ()
    driver.refused = set()
    assert telemetry.devices() == ()
