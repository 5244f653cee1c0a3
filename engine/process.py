"""Other processes of this very program, and whether this one is one of several that train together."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import struct
import subprocess
import sys
from collections import deque
from collections.abc import Generator, Iterable
from pathlib import Path
from typing import IO, Any, TypeVar

Order = TypeVar("Order")

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


PIPE = 1 << 20
"""Bytes that a helper's pipe takes, where that can be set."""
_LENGTH = struct.Struct("<Q")


class Helper:
    """A process of `module` that does work in turn: orders to it are lines of JSON, its answers are bytes.

    It asks for orders by `first_order` and from its input, and gives an answer to each of those. It ends by itself when
    this process is gone.
    """

    def __init__(self, module: str) -> None:
        self._process = start(
            module,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            TOKENIZERS_PARALLELISM="false",
            OMP_NUM_THREADS="1",
        )
        if sys.platform == "linux" and self._process.stdout is not None:  # fewer, larger reads
            with contextlib.suppress(OSError):  # a user's pipes may be used up
                fcntl.fcntl(self._process.stdout, fcntl.F_SETPIPE_SZ, PIPE)

    def order(self, order: object) -> None:
        """Tells what to do; what a dead process does not take shows in `answer`."""
        assert self._process.stdin is not None
        with contextlib.suppress(OSError):
            self._process.stdin.write(json.dumps(order).encode() + b"\n")
            self._process.stdin.flush()

    def answer(self) -> bytes | None:
        """The next of its answers; None from one that has ended."""
        assert self._process.stdout is not None
        header = self._process.stdout.read(_LENGTH.size)
        if len(header) < _LENGTH.size:
            return None
        data = self._process.stdout.read(*_LENGTH.unpack(header))
        return data if len(data) == _LENGTH.unpack(header)[0] else None

    def close(self) -> None:
        """Ends the process and frees what it held."""
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            assert pipe is not None
            with contextlib.suppress(OSError):  # what could not be written to a dead process
                pipe.close()


def in_turn(
    module: str, count: int, first: object, orders: Iterable[Order]
) -> Generator[tuple[Order, bytes | None], None, None]:
    """Each order, in their order, with what one of `count` processes of `module` made of it; None: that one is lost.

    They take turns; `first` is what each is told once. To be closed where it is not gone through to the end. Raises
    OSError when there can be no more processes.
    """
    helpers: list[Helper] = []
    under_way: deque[tuple[Order, Helper]] = deque()
    try:
        for _ in range(count):
            helpers.append(Helper(module))
            helpers[-1].order(first)
        for turn, order in enumerate(orders):
            helpers[turn % count].order(order)
            under_way.append((order, helpers[turn % count]))
            if len(under_way) == 2 * count:  # so that each has its next order before its last is taken
                told, helper = under_way.popleft()
                yield told, helper.answer()
        for told, helper in under_way:
            yield told, helper.answer()
    finally:
        for helper in helpers:
            helper.close()


def first_order() -> Any:
    """In the helping process: what it is told once."""
    return json.loads(sys.stdin.buffer.readline())


def answer(data: bytes) -> None:
    """In the helping process: what the parent's `answer` gives."""
    sys.stdout.buffer.write(_LENGTH.pack(len(data)) + data)
    sys.stdout.buffer.flush()


def rank() -> int | None:
    """This process' number among those that a launcher (`torchrun`, `srun`) started to train together; None alone."""
    if os.environ.get("WORLD_SIZE", "1") == "1" or not {"RANK", "MASTER_ADDR"} <= os.environ.keys():
        return None
    return int(os.environ["RANK"])


def group_size() -> int:
    """How many processes a launcher started with this one, itself included."""
    return 1 if rank() is None else int(os.environ["WORLD_SIZE"])
