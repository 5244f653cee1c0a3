"""A process that has loaded all a training needs and forks a child for each job, so that hundreds may be killed.

Jobs come as lines of JSON on standard input, one at a time; it answers with the child's pid, then with how it ended.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

from tests.forked import Forked

ROOT = Path(__file__).parents[2]


class Zygote:
    """The test's end: `begin` a job, then `end` it; use as a context manager.

    preload: a library that its processes load before libc (calls.c).
    """

    def __init__(self, preload: Path | None = None) -> None:
        self._preload = {} if preload is None else {"LD_PRELOAD": str(preload)}

    def __enter__(self) -> Zygote:
        self._process = Forked(
            [sys.executable, "-m", "tests.faults.zygote"],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1", **self._preload},
        )
        assert self._read() == "ready"
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(60)

    def begin(self, job: dict[str, Any]) -> int:
        """Starts a child on the job; its pid."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(job) + "\n")
        self._process.stdin.flush()
        return int(self._read())

    def end(self) -> int:
        """Waits for the child; its exit code, negative for the signal that killed it."""
        return int(self._read())

    def do(self, job: dict[str, Any]) -> int:
        self.begin(job)
        return self.end()

    def _read(self) -> str:
        assert self._process.stdout is not None
        line = self._process.stdout.readline().strip()
        assert line, "the zygote died"
        return line


def serve() -> None:
    """The process' end."""
    import torch

    import engine.training.host
    import engine.training.start
    import engine.training.trainer  # noqa: F401

    torch.set_num_threads(1)
    print("ready", flush=True)  # noqa: T201
    for line in sys.stdin:
        pid = os.fork()
        if pid == 0:
            code = 1
            try:
                code = work(json.loads(line))
            except BaseException:
                traceback.print_exc()
            os._exit(code)
        print(pid, flush=True)  # noqa: T201
        _, status = os.waitpid(pid, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)  # noqa: T201


def work(job: dict[str, Any]) -> int:
    """One job, in the child: 0, or 1 with why not in one line in the file `says`.

    With `folder` and `kill_at` it kills itself before that call there; with `folder` and `fails` (first, last + 1,
    errno) those system calls fail, and the file `counted` says how many there were.
    """
    from engine.errors import UserError
    from engine.runs.layout import RunDir
    from tests.faults.shim import Shim, killing
    from tests.faults.tiny import start, train

    os.environ["TINYTUI_CACHE"] = job["cache"]
    folder = job.get("folder")
    shim = Shim(Path(folder), killing(int(job["kill_at"]))).in_force() if "kill_at" in job else nullcontext()
    try:
        with shim, calls_failing(job) if "fails" in job else nullcontext():
            if job["do"] == "start":
                start(Path(job["path"]), job["name"], *job.get("sets", ()))
            elif (why := train(RunDir(Path(job["path"]))).error) is not None:
                raise UserError(why)
    except UserError as error:
        Path(job.get("says", os.devnull)).write_text(str(error), encoding="utf-8")
        return 1
    return 0


@contextmanager
def calls_failing(job: dict[str, Any]) -> Iterator[None]:
    """Inside, system calls fail as the job says, and nothing waits for long before it tries again."""
    import ctypes

    from engine.training import state

    state.RETRY_SECONDS, state.DISK_RETRY_SECONDS = 0.01, 0.02
    library = ctypes.CDLL(os.environ["LD_PRELOAD"])
    library.calls_arm(job["folder"].encode(), *map(ctypes.c_long, job["fails"][:2]), job["fails"][2])
    try:
        yield
    finally:
        Path(job["counted"]).write_text(str(library.calls_seen()))


if __name__ == "__main__":
    serve()
