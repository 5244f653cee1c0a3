"""A checkpoint whose system calls fail, whoever makes them: Python, or a library beneath it."""

from __future__ import annotations

import errno
import itertools
import os
import random
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from engine.training.saving import remove_orphans

from .conftest import WHOLE, Campaign
from .tiny import Outcome, start, state_of
from .zygote import Zygote

SOURCE = Path(__file__).with_name("calls.c")
HALF = 0  # no error: a write takes half of what it is given
KINDS = (errno.ENOSPC, errno.EIO, HALF)
TIMES = (1, 1, 2, 7)


@pytest.fixture(scope="module")
def preload(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The library that counts calls and lets them fail."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        pytest.skip("no C compiler here")
    library = tmp_path_factory.mktemp("calls") / "calls.so"
    subprocess.run([compiler, "-shared", "-fPIC", "-O1", "-o", library, SOURCE, "-ldl"], check=True)
    return library


@pytest.mark.skipif(not WHOLE, reason="some seconds to begin with; make faults")
def test_a_system_call_of_a_checkpoint_that_fails(
    tmp_path: Path, campaign: Callable[..., Campaign], preload: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every call that opens, writes, syncs, renames or removes there, in Python and beneath it (LD_PRELOAD)."""
    promise = campaign(
        "a system call of a checkpoint (open, write, sync, rename, remove) that fails, or writes half, costs nothing: "
        "the checkpoint is written again, whole, and the training comes to the numbers of an undisturbed one",
        quick=2,
        whole=600,
    )
    monkeypatch.setenv("TINYTUI_CACHE", str(tmp_path / "cache"))
    counted, says = tmp_path / "counted", tmp_path / "says"

    with Zygote(preload) as zygote:

        def train(name: str, first: int, last: int, error: int) -> tuple[Outcome, int]:
            run = start(tmp_path, name)
            job = {"do": "train", "path": str(run.path), "cache": str(tmp_path / "cache"), "says": str(says)}
            job |= {"folder": str(run.checkpoints), "fails": (first, last, error), "counted": str(counted)}
            code = zygote.do(job)
            assert code == 0, says.read_text() if says.exists() else f"exit code {code}"
            assert state_of(run) == "finished"
            made = int(counted.read_text())
            if last > made - 6:  # up to the very end: what could not be removed goes when the run is next trained
                remove_orphans(run)
            return Outcome.of(run), made

        expected, calls = train("whole", 0, 0, HALF)
        assert calls > 100, "it sees them all"
        every = list(itertools.product(range(calls), KINDS))
        random.Random(7).shuffle(every)
        for number in promise:
            at, error = every[number % len(every)]
            times = TIMES[number % len(TIMES)]
            what = errno.errorcode.get(error, "half a write")
            with promise.trial(f"calls {at} to {at + times - 1} of {calls}: {what}"):
                outcome, made = train(f"r{number}", at, at + times, error)
                assert outcome == expected
                assert made > at
                shutil.rmtree(tmp_path / "runs" / f"r{number}")


def test_the_library_counts_what_goes_by_python(tmp_path: Path, preload: Path) -> None:
    """Or the campaign would show nothing: an error really comes from the system, to a program in C too."""
    arm = "import ctypes, os; ctypes.CDLL(os.environ['LD_PRELOAD']).calls_arm(os.environ['PLACE'].encode(), 0, 9, 28);"
    place = {**os.environ, "LD_PRELOAD": str(preload), "PLACE": str(tmp_path)}
    command = [sys.executable, "-c", f"{arm} import shutil; shutil.copyfile('/etc/passwd', {str(tmp_path / 'x')!r})"]
    done = subprocess.run(command, env=place, capture_output=True, text=True)
    assert "No space left on device" in done.stderr and not (tmp_path / "x").exists()
