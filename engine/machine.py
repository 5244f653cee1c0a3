"""The machine as this process has it: CPUs, memory, versions, how a computation takes them. No heavy import for it."""

from __future__ import annotations

import ctypes
import math
import os
import resource
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

_PACKAGES = ("tinytui", "torch", "numpy", "tokenizers", "safetensors")
QUOTA = Path("/sys/fs/cgroup/cpu.max")
"""How much of its CPUs a container may use: `200000 100000` is two of them."""


def usable_threads() -> int:
    """CPUs this process may use: not those of the whole machine, nor more than its container is given."""
    try:
        cpus = len(os.sched_getaffinity(0))
    except AttributeError:  # not on macOS
        cpus = os.cpu_count() or 1
    try:
        quota, period = map(int, QUOTA.read_text().split())
    except (OSError, ValueError):  # `max`: no quota
        return cpus
    return max(1, min(cpus, math.ceil(quota / period)))


@cache
def cpu_model() -> str:
    """The CPU's name, as well as the system tells it."""
    try:
        for line in Path("/proc/cpuinfo").read_text(errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    import platform

    return platform.processor() or platform.machine()


def hostname() -> str:
    """Its name in the network."""
    return os.uname().nodename


def is_suspended(pid: object) -> bool:
    """Whether that process of this machine was stopped, as by ctrl+z, and was not told to go on."""
    import psutil

    try:
        return isinstance(pid, int) and psutil.Process(pid).status() == psutil.STATUS_STOPPED
    except (psutil.Error, ValueError, OverflowError):
        return False


def environment() -> dict[str, Any]:
    """What a run records: versions of Python and the packages that decide its numbers, platform, CPU, usable threads,
    host name."""
    import platform

    return {
        "python": platform.python_version(),
        **{name: version(name) for name in _PACKAGES},
        "platform": platform.platform(),
        "cpu": cpu_model(),
        "threads": usable_threads(),
        "host": hostname(),
    }


def version(package: str) -> str | None:
    """Of an installed package; None for one that is not."""
    from importlib import metadata  # slow to import, and wanted at a run's birth only

    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def peak_rss() -> int:
    """Most bytes of memory this process ever held."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return int(peak if sys.platform == "darwin" else peak * 1024)


def memory_now(device: torch.device) -> int:
    """Bytes in use: allocated on the GPU, or the process' resident memory."""
    if device.type == "cuda":
        return _allocated(device, "current")
    return int(_process(os.getpid()).memory_info().rss)


@cache
def _process(number: int) -> Any:
    """Asked each step: to make one takes twice as long as to ask it."""
    import psutil

    return psutil.Process(number)


def memory_peak(device: torch.device) -> int:
    """The most bytes that were in use at once since the process started."""
    return _allocated(device, "peak") if device.type == "cuda" else peak_rss()


def _allocated(device: torch.device, when: str) -> int:
    """Bytes on a GPU. Asked each step: PyTorch's `memory_allocated` sorts all it knows of the device each time."""
    import torch

    told = torch.cuda.memory_stats_as_nested_dict(device)
    return int(told["allocated_bytes"]["all"][when]) if told else 0


def keep_freed_memory() -> bool:
    """Tell glibc to keep what is freed for the next step instead of giving it back; whether it could be told.

    A step of a small model frees and takes the same few megabytes hundreds of times; each time the system must map
    and clear them again, which costs a tenth of the step and more. For the process, once; peak memory stays as it is.
    """
    trim_threshold, mmap_threshold = -1, -3  # names of <malloc.h>
    mallopt = _of_c("mallopt")  # glibc's alone
    return mallopt is not None and bool(mallopt(mmap_threshold, 32 * 2**20) and mallopt(trim_threshold, 2**30))


@contextmanager
def one_thread() -> Iterator[None]:
    """What this thread computes inside, it computes alone; other threads go on with as many as they have.

    For small work beside training: a thread that helps with it may wait a hundred times as long for a core as the work
    takes. `torch.set_num_threads` is for the whole process. Where OpenMP cannot be told, nothing changes.
    """
    import torch

    tell = _of_c("omp_set_num_threads")
    before = torch.get_num_threads()  # of this thread; asked first, or torch would set it anew
    if tell is None or before == 1:
        yield
        return
    tell(1)
    try:
        yield
    finally:
        tell(before)


def _of_c(name: str) -> Callable[..., int] | None:
    """A function of whole numbers, of the C libraries in this process; None where none of them has it."""
    try:
        found: Callable[..., int] = getattr(ctypes.CDLL(None), name)
    except (AttributeError, OSError, TypeError):
        return None
    return found
