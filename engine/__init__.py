"""Train and prompt small GPTs; knows no terminal.

    from engine import load_preset, start_run, TrainingHost, load_model, generate

Names are loaded when they are first used, so that importing `engine` costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from engine.config import Config as Config
    from engine.errors import UserError as UserError
    from engine.model import build_model as build_model
    from engine.preset_files import load_config as load_config
    from engine.preset_files import load_preset as load_preset
    from engine.runs.layout import RunDir as RunDir
    from engine.runs.layout import find_run as find_run
    from engine.runs.layout import list_runs as list_runs
    from engine.runs.reader import RunReader as RunReader
    from engine.sampling.generate import generate as generate
    from engine.sampling.settings import SamplingSettings as SamplingSettings
    from engine.text.catalog import find_corpus as find_corpus
    from engine.training.checkpoint import load_model as load_model
    from engine.training.host import TrainingHost as TrainingHost
    from engine.training.start import resume_run as resume_run
    from engine.training.start import start_run as start_run

_HOMES = {
    "Config": "engine.config",
    "load_config": "engine.preset_files",
    "load_preset": "engine.preset_files",
    "UserError": "engine.errors",
    "build_model": "engine.model",
    "RunDir": "engine.runs.layout",
    "find_run": "engine.runs.layout",
    "list_runs": "engine.runs.layout",
    "RunReader": "engine.runs.reader",
    "generate": "engine.sampling.generate",
    "SamplingSettings": "engine.sampling.settings",
    "find_corpus": "engine.text.catalog",
    "load_model": "engine.training.checkpoint",
    "TrainingHost": "engine.training.host",
    "resume_run": "engine.training.start",
    "start_run": "engine.training.start",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'engine' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
