"""What a run was trained with: versions, machine, threads. Recorded in `run.json`; no heavy import for it."""

from __future__ import annotations

from typing import Any

from engine.machine import cpu_model, usable_threads
from engine.runs.lock import hostname

_PACKAGES = ("tinytui", "torch", "numpy", "tokenizers", "safetensors")


def environment() -> dict[str, Any]:
    """Versions of Python and the packages that decide a run's numbers, platform, CPU, usable threads, host name."""
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
