"""The machine as a process has it, and as it takes it."""

from __future__ import annotations

import errno
import platform
import threading
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest
import torch

from engine import machine
from engine.machine import memory_now, memory_peak, one_thread, usable_threads


def failing(error: Exception) -> Callable[..., Any]:
    def fails(*_: object, **__: object) -> Any:
        raise error

    return fails


# -- threads -----------------------------------------------------------------------------------------------------------


def test_only_the_thread_that_asks_computes_alone() -> None:
    seen: dict[str, int] = {}
    inside, looked = threading.Event(), threading.Event()

    def alone() -> None:
        torch.set_num_threads(3)
        with one_thread():
            seen["alone"] = torch.get_num_threads()
            inside.set()
            looked.wait(60)
        seen["after"] = torch.get_num_threads()
        with pytest.raises(ZeroDivisionError), one_thread():
            raise ZeroDivisionError
        seen["after an error"] = torch.get_num_threads()

    def other() -> None:
        inside.wait(60)
        seen["other"] = torch.get_num_threads()  # one that computes for the first time meanwhile
        looked.set()

    before = torch.get_num_threads()
    pair = [threading.Thread(target=alone), threading.Thread(target=other)]
    for thread in pair:
        thread.start()
    for thread in pair:
        thread.join()
    torch.set_num_threads(before)
    if machine._of_c("omp_set_num_threads") is None:
        pytest.skip("no OpenMP to be told")
    assert seen == {"alone": 1, "after": 3, "after an error": 3, "other": 3}


def test_without_openmp_nothing_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "_of_c", lambda name: None)
    before = torch.get_num_threads()
    with one_thread():
        assert torch.get_num_threads() == before


# -- CPUs --------------------------------------------------------------------------------------------------------------


def test_the_cpu_is_told_as_well_as_the_system_tells_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def model(told: object) -> str:
        machine.cpu_model.cache_clear()
        monkeypatch.setattr(Path, "read_text", told)
        return machine.cpu_model()

    assert model(lambda *_, **__: "flags : x\nmodel name\t: Some CPU @ 2 GHz \nmodel name : B") == "Some CPU @ 2 GHz"
    for told in (lambda *_, **__: "nothing", failing(OSError(errno.EIO, "no"))):
        monkeypatch.setattr(platform, "processor", lambda: "processor")
        assert model(told) == "processor"
        monkeypatch.setattr(platform, "processor", lambda: "")
        assert model(told) == platform.machine()
    machine.cpu_model.cache_clear()


@pytest.mark.parametrize(
    ("quota", "cpus"),
    [(None, 6), ("max 100000", 6), ("", 6), ("150000 100000", 2), ("50000 100000", 1), ("1600000 100000", 6)],
)
def test_cpus_are_those_of_the_process_and_of_its_container(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, quota: str | None, cpus: int
) -> None:
    monkeypatch.setattr(machine, "QUOTA", tmp_path / "cpu.max")
    if quota is not None:
        (tmp_path / "cpu.max").write_text(f"{quota}\n")
    monkeypatch.setattr(machine.os, "sched_getaffinity", lambda process: set(range(6)), raising=False)
    assert usable_threads() == cpus


def test_without_a_list_of_cpus_their_number_counts(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(machine, "QUOTA", tmp_path / "cpu.max")
    monkeypatch.delattr(machine.os, "sched_getaffinity", raising=False)
    for cores, told in ((5, 5), (None, 1)):
        monkeypatch.setattr(machine.os, "cpu_count", lambda cores=cores: cores)
        assert usable_threads() == told


# -- memory ------------------------------------------------------------------------------------------------------------


def test_memory_in_use_is_that_of_the_process_in_bytes() -> None:
    cpu = torch.device("cpu")
    now = psutil.Process().memory_info().rss
    assert memory_now(cpu) == pytest.approx(now, rel=0.05)
    assert memory_peak(cpu) >= 0.95 * now and memory_peak(cpu) < 2**40


def test_memory_of_a_gpu_is_what_pytorch_has_there(monkeypatch: pytest.MonkeyPatch) -> None:
    gpu = torch.device("cuda", 1)
    assert (memory_now(gpu), memory_peak(gpu)) == (0, 0), "nothing was ever put there"
    told = {"allocated_bytes": {"all": {"current": 71, "peak": 91}}}
    monkeypatch.setattr(torch.cuda, "memory_stats_as_nested_dict", lambda device: told if device == gpu else {})
    assert (memory_now(gpu), memory_peak(gpu)) == (71, 91)


def test_where_glibc_is_not_there_is_nothing_to_tell_it(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[tuple[int, int]] = []
    monkeypatch.setattr(
        machine.ctypes, "CDLL", lambda name: SimpleNamespace(mallopt=lambda *said: told.append(said) or 1)
    )
    assert machine.keep_freed_memory() and told == [(-3, 32 << 20), (-1, 1 << 30)]
    for answers in ([0, 1], [1, 0]):
        replies = iter(answers)
        monkeypatch.setattr(
            machine.ctypes, "CDLL", lambda name, replies=replies: SimpleNamespace(mallopt=lambda *_: next(replies))
        )
        assert machine.keep_freed_memory() is False
    for error in (AttributeError(), OSError(), TypeError()):
        monkeypatch.setattr(machine.ctypes, "CDLL", failing(error))
        assert machine.keep_freed_memory() is False
