"""What can be seen of a GPU's step where there is none; see `pretended.py`."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from engine import process


@pytest.mark.skipif(os.environ.get("FAULTS") != "whole", reason="it computes for ten seconds; make faults")
@pytest.mark.skipif(shutil.which("g++") is None, reason="a part of it is C++")
@pytest.mark.skipif(torch.version.cuda is not None, reason="this PyTorch knows GPUs itself")
def test_a_step_on_a_pretended_gpu_mixes_nothing_and_waits_once(tmp_path: Path) -> None:
    command = (sys.executable, "-m", "tests.cuda.pretended", str(tmp_path))
    done = subprocess.run(command, cwd=process.HOME, capture_output=True, text=True, timeout=170)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("ranks 1: ") == done.stdout.count("ranks 4: ") == 6
