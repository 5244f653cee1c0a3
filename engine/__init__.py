"""Train and prompt small GPTs; knows no terminal.

    from engine import load_preset, start_run, TrainingHost, load_model, generate

Names are loaded when they are first used, so that importing `engine` costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from engine.config import Config, load_config, load_preset
    from engine.errors import UserError
    from engine.model import build_model
    from engine.runs.layout import RunDir, find_run, list_runs
    from engine.runs.reader import RunReader
    from engine.sampling.generate import generate
    from engine.sampling.settings import SamplingSettings
    from engine.text.catalog import find_corpus
    from engine.training.checkpoint import load_model
    from engine.training.host import TrainingHost
    from engine.training.start import resume_run, start_run

_HOMES = {
    "Config": "engine.config",
    "RunDir": "engine.runs.layout",
    "RunReader": "engine.runs.reader",
    "SamplingSettings": "engine.sampling.settings",
    "TrainingHost": "engine.training.host",
    "UserError": "engine.errors",
    "build_model": "engine.model",
    "find_corpus": "engine.text.catalog",
    "find_run": "engine.runs.layout",
    "generate": "engine.sampling.generate",
    "list_runs": "engine.runs.layout",
    "load_config": "engine.config",
    "load_model": "engine.training.checkpoint",
    "load_preset": "engine.config",
    "resume_run": "engine.training.start",
    "start_run": "engine.training.start",
}

__all__ = [
    "Config",
    "RunDir",
    "RunReader",
    "SamplingSettings",
    "TrainingHost",
    "UserError",
    "build_model",
    "find_corpus",
    "find_run",
    "generate",
    "list_runs",
    "load_config",
    "load_model",
    "load_preset",
    "resume_run",
    "start_run",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'engine' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
