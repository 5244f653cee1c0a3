"""Other processes of this very program, and whether this one is one of several that train together."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import IO

HOME = Path(__file__).resolve().parents[1]
"""Where `engine` and `tui` lie."""


def command(module: str, *arguments: str) -> list[str]:
    """What runs a module in the Python that runs this one."""
    return [sys.executable, "-m", module, *arguments]


def environment(**more: str) -> dict[str, str]:
    """This process' own, with `more`; the program is found in it from any folder, also when it is not installed."""
    path = os.pathsep.join(filter(None, (str(HOME), os.environ.get("PYTHONPATH"))))
    return {**os.environ, "PYTHONPATH": path, **more}


def start(
    module: str,
    *arguments: str,
    stdin: int = subprocess.DEVNULL,
    stdout: int | IO[bytes] = subprocess.DEVNULL,
    stderr: int | IO[bytes] = subprocess.DEVNULL,
    **more: str,
) -> subprocess.Popen[bytes]:
    """A process of `module`, with `more` in its environment. Raises OSError when there can be none.

    It has a session of its own: signals at this one's terminal are not for it, and it ends with all that it starts.
    """
    return subprocess.Popen(
        command(module, *arguments),
        stdin=stdin,
        stdout=stdout,
        stderr=stderr,
        env=environment(**more),
        start_new_session=True,
    )


def start_group(
    module: str, *arguments: str, size: int, restarts: int = 0, threads: int, log: IO[bytes]
) -> subprocess.Popen[bytes]:
    """So many processes of `module` that find each other, by PyTorch's launcher: the process that looks after them.

    Each has `threads`, unless the environment says how many. When one of them dies it ends the others, and begins again
    with all of them, `restarts` times at most.
    """
    count = os.environ.get("OMP_NUM_THREADS") or str(threads)
    options = ("--standalone", f"--nproc-per-node={size}", f"--max-restarts={restarts}", "-m", module)
    return start("torch.distributed.run", *options, *arguments, stdout=log, stderr=log, OMP_NUM_THREADS=count)


def rank() -> int | None:
    """This process' number among those that a launcher (`torchrun`, `srun`) started to train together; None alone."""
    if os.environ.get("WORLD_SIZE", "1") == "1" or not {"RANK", "MASTER_ADDR"} <= os.environ.keys():
        return None
    return int(os.environ["RANK"])


def group_size() -> int:
    """How many processes a launcher started with this one, itself included."""
    return 1 if rank() is None else int(os.environ["WORLD_SIZE"])
