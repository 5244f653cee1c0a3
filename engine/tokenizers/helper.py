"""A process of our own that does work in turn: orders to it are lines of JSON, answers come back as bytes.

It shares no state with a terminal program that started it, and ends by itself when its parent is gone.
"""

from __future__ import annotations

import contextlib
import json
import struct
import subprocess
import sys
from typing import Any

from engine import process

_LENGTH = struct.Struct("<Q")


class Helper:
    """A process of `module`, which asks for `orders` and gives an `answer` to each but the first."""

    def __init__(self, module: str) -> None:
        self._process = process.start(
            module,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            TOKENIZERS_PARALLELISM="false",
            OMP_NUM_THREADS="1",
        )

    def order(self, order: object) -> None:
        """Tells what to do; what a dead process does not take shows in `answer`."""
        assert self._process.stdin is not None
        with contextlib.suppress(OSError):
            self._process.stdin.write(json.dumps(order).encode() + b"\n")
            self._process.stdin.flush()

    def answer(self) -> bytes | None:
        """What it made of the first order that is not answered yet; None from one that is dead."""
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


def first_order() -> Any:
    """In the helping process: what it is told once."""
    return json.loads(sys.stdin.buffer.readline())


def answer(data: bytes) -> None:
    """In the helping process: what the parent's `answer` gives."""
    sys.stdout.buffer.write(_LENGTH.pack(len(data)) + data)
    sys.stdout.buffer.flush()
