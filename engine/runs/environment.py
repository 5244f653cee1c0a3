"""What a run was trained with: versions, machine, threads. Recorded in `run.json`; no heavy import for it."""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path
from typing import Any

from engine.runs.lock import hostname

_PACKAGES = ("tinytui", "torch", "numpy", "tokenizers", "safetensors")


def environment() -> dict[str, Any]:
    """Versions of Python and the packages that decide a run's numbers, platform, CPU, usable threads, host name."""
    import platform

    return {
        "python": platform.python_version(),
        **{name: _version(name) for name in _PACKAGES},
        "platform": platform.platform(),
        "cpu": cpu_model(),
        "threads": usable_threads(),
        "host": hostname(),
    }


def usable_threads() -> int:
    """CPUs this process may run on (not those of the whole machine)."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # not on macOS
        return os.cpu_count() or 1


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


def _version(package: str) -> str | None:
    from importlib.metadata import PackageNotFoundError, version  # slow to import, and wanted at a run's birth only

    try:
        return version(package)
    except PackageNotFoundError:
        return None
