"""Tries mutants in a copy of the tree: a process that has loaded what all tests need forks a child for each.

    with Trial(folder) as trial:
        trial.notices(mutant, tests)  # the test that failed, why else it is noticed, or "" when all tests pass

Until a test fails they are run one after the other; one that takes far longer than it did hangs, and a person would
notice.
"""

from __future__ import annotations

import gc
import json
import math
import os
import select
import shutil
import signal
import subprocess
import sys
import time
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import Any

from tests.faults.changes import ROOT, Mutant

COPIED = ("engine", "tui", "tests", "bench", "docs", "pyproject.toml", "corpora")
LOADED = ("numpy", "torch", "pydantic", "safetensors.torch", "tokenizers", "psutil", "typer", "hypothesis", "pytest")
PLUGINS = ("_hypothesis_pytestplugin", "pytest_asyncio.plugin")
BEGIN_SECONDS = 180.0
"""Time to import the tests."""
TIMES, MORE_SECONDS = 20.0, 60.0
"""A test hangs when it takes so many times as long as it did, and so much more."""


class Trial:
    """A copy of the tree, and the process that runs its tests."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        for name in COPIED:
            source = ROOT / name
            if source.is_dir():
                shutil.copytree(source, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copy(source, folder / name)
        env = {**os.environ, "PYTHONPATH": str(folder), "OMP_NUM_THREADS": "1"}
        subprocess.run([sys.executable, "-m", "compileall", "-q", "engine", "tui", "tests"], cwd=folder, check=False)
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.faults.trials"],
            cwd=folder,
            env={
                **env,
                "PYTHONDONTWRITEBYTECODE": "1",  # a change may be of the same second and size
                "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
            },
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def __enter__(self) -> Trial:
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(60)

    def notices(self, mutant: Mutant, tests: list[tuple[str, float]]) -> str:
        """What tells the mutant from the program, of tests with the seconds that each took; nothing does: empty."""
        file = self.folder / mutant.file
        before, stat = file.read_bytes(), file.stat()
        try:
            file.write_text(mutant.code, encoding="utf-8")
            os.utime(file, (time.time(), time.time() + 1000))  # no compiled file is of it
            # most are noticed by the first tests: the modules of the others need not be imported
            return next(filter(None, map(self.run, filter(None, (tests[:12], tests[12:60], tests[60:])))), "")
        finally:
            file.write_bytes(before)
            os.utime(file, ns=(stat.st_atime_ns, stat.st_mtime_ns))

    def run(self, tests: list[tuple[str, float]]) -> str:
        """The first of the tests that fails, or why else they end; empty when all pass."""
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write(json.dumps(tests) + "\n")
        self._process.stdin.flush()
        said: str = json.loads(self._process.stdout.readline())
        return said


# -- the process' end --------------------------------------------------------------------------------------------------


def serve() -> None:
    for name in (*LOADED, *PLUGINS):
        with suppress(ImportError):
            import_module(name)
    gc.collect()
    gc.freeze()  # else every child looks through all that was loaded, and copies its memory for it, again and again
    said = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    for line in sys.stdin:
        said.write(json.dumps(_run(json.loads(line))) + "\n")
        said.flush()


def _run(tests: list[tuple[str, float]]) -> str:
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(read)
        os.setsid()
        code = 1
        try:
            code = _child([name for name, _ in tests], write)
        finally:
            os._exit(code)
    os.close(write)
    limits = dict(tests)
    told, now, until = b"", "the import of the tests", time.monotonic() + BEGIN_SECONDS
    while True:
        ended, status = os.waitpid(child, os.WNOHANG)  # before reading: what it said last is still to come
        while select.select([read], [], [], 0.0 if ended else 0.1)[0] and (piece := os.read(read, 1 << 16)):
            told += piece
            *lines, told = told.split(b"\n")
            if lines:
                now = lines[-1].decode()
                until = time.monotonic() + TIMES * limits.get(now, 0.0) + MORE_SECONDS
        if ended:
            break
        if time.monotonic() > until:
            os.kill(child, signal.SIGKILL)
            now, until = f"{now} hangs", math.inf
    os.close(read)
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(child, signal.SIGKILL)  # what its tests have left
    return now if status else ""


def _child(tests: list[str], write: int) -> int:
    import pytest

    null = os.open(os.devnull, os.O_RDWR)
    for number in (0, 1, 2):
        os.dup2(null, number)

    class Told:
        def pytest_runtest_logstart(self, nodeid: str) -> None:
            os.write(write, nodeid.encode() + b"\n")

    chosen = Path(f"chosen-{os.getpid()}.txt")
    chosen.write_text("\n".join(tests), encoding="utf-8")
    asked: list[Any] = ["-x", "-q", "-p", "no:cacheprovider", "-o", "addopts=", "--assert=plain"]
    asked += [part for name in PLUGINS for part in ("-p", name)]
    try:
        return int(pytest.main([*asked, f"@{chosen}"], plugins=[Told()]))
    finally:
        chosen.unlink()


if __name__ == "__main__":
    serve()
