from __future__ import annotations

import subprocess
import sys

import pytest
from conftest import process_environment  # type: ignore[import-not-found]

from tui.cli.app import PANELS, app

COMMANDS = {
    "": {"demo", "train", "open", "sample", "chat", "runs", "corpora", "tokenizer", "presets", "bench", "doctor"},
    "runs": {"list", "show", "plot", "compare", "verify", "fork", "export", "rm"},
    "corpora": {"list", "show", "add", "fetch", "rm"},
    "tokenizer": {"show", "train", "encode"},
}
