"""The process of one browser's workbench, as the server has it: packets in, packets out, and an end that is certain."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import suppress
from typing import Any, Self

from engine import process
from tui.serve.protocol import PRELUDE, meta

DRIVER = "tui.serve.driver:BrowserDriver"

LAST_WORDS_WITHIN = 2.0
"""Seconds that a process which has closed its screen has to say why."""

FORCED = 5.0
"""Seconds between SIGTERM and SIGKILL."""

_LARGEST = 1 << 24  # bytes of a packet
_LAST_WORDS = 1 << 14  # bytes kept of what it says on stderr


class BrokenProcess(Exception):
    """The process ended, or said what no workbench says; why, in a few words."""


class AppProcess:
    """A process with pipes for stdin, stdout and stderr, in a session of its own: signals at the server's terminal are
    the server's. When the server is killed its stdin ends, and so does it."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        assert process.stdin is not None and process.stdout is not None and process.stderr is not None
        self._process = process
        self._stdin, self._stdout, self._stderr = process.stdin, process.stdout, process.stderr
        self._heard = bytearray()
        self._said_exit = False
        self._listening = asyncio.create_task(self._listen())

    @classmethod
    async def start(cls, command: Sequence[str], columns: int, rows: int) -> Self:
        """Raises OSError where no process can be started."""
        pipe = asyncio.subprocess.PIPE
        surroundings = environment(process.environment(), columns, rows)
        return cls(
            await asyncio.create_subprocess_exec(
                *command, stdin=pipe, stdout=pipe, stderr=pipe, env=surroundings, start_new_session=True
            )
        )

    def write(self, data: bytes) -> None:
        """Queue a packet; one that is dead takes anything."""
        with suppress(ConnectionError):
            self._stdin.write(data)

    async def drain(self) -> None:
        """Wait until it has taken most of what was written."""
        with suppress(ConnectionError):
            await self._stdin.drain()

    async def opened(self, within: float) -> None:
        """Wait until it is about to draw. Raises BrokenProcess when it does not."""
        try:
            async with asyncio.timeout(within):
                while await self._stdout.readline() != PRELUDE:
                    if self._stdout.at_eof():
                        raise BrokenProcess("the workbench could not be opened")
        except TimeoutError:
            raise BrokenProcess(f"the workbench did not open within {within:.0f} seconds") from None
        except ValueError:  # a line without end
            raise BrokenProcess("the workbench could not be opened") from None

    async def drawn(self) -> AsyncIterator[bytes]:
        """What it draws, until it says that it has ended. Raises BrokenProcess when it ends without."""
        try:
            while True:
                head = await self._stdout.readexactly(5)
                if (size := int.from_bytes(head[1:], "big")) > _LARGEST:
                    break
                content = await self._stdout.readexactly(size)
                if head[:1] == b"D":
                    yield content
                elif head[:1] == b"M" and _is_exit(content):
                    self._said_exit = True
                    return
        except asyncio.IncompleteReadError:
            pass
        raise BrokenProcess("the workbench broke off")

    async def last_words(self) -> str:
        """The line it said last on stderr, where it has ended by an error, or does so about now."""
        if not (self._said_exit or self._stdout.at_eof()):
            return ""
        with suppress(TimeoutError):
            async with asyncio.timeout(LAST_WORDS_WITHIN):
                await self._process.wait()
                await asyncio.shield(self._listening)
        if not self._process.returncode:
            return ""
        lines = self._heard.decode("utf-8", "replace").strip().splitlines()
        return lines[-1].removeprefix("tinytui: ") if lines else f"exit code {self._process.returncode}"

    async def end(self, patience: float) -> None:
        """Tell it to end, and wait; after `patience` seconds SIGTERM asks, and then SIGKILL does."""
        self.write(meta("quit"))
        self._stdin.close()
        emptied = asyncio.create_task(self._empty())  # or it would wait for a reader
        try:
            for seconds, number in ((patience, signal.SIGTERM), (FORCED, signal.SIGKILL)):
                try:
                    await asyncio.wait_for(self._process.wait(), seconds)
                    return
                except TimeoutError:
                    self._send(number)
            await self._process.wait()
        finally:
            emptied.cancel()
            self._listening.cancel()

    def kill(self) -> None:
        """End it at once."""
        self._send(signal.SIGKILL)

    def _send(self, number: signal.Signals) -> None:
        if self._process.returncode is None:
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, number)

    async def _empty(self) -> None:
        while await self._stdout.read(1 << 16):
            pass

    async def _listen(self) -> None:
        while data := await self._stderr.read(1 << 12):
            self._heard = (self._heard + data)[-_LAST_WORDS:]


def environment(own: Mapping[str, str], columns: int, rows: int) -> dict[str, str]:
    """The surroundings of a session's process: this server's, with a terminal as the page has it."""
    kept = {name: value for name, value in own.items() if name not in ("SSH_CONNECTION", "SSH_TTY", "TMUX", "STY")}
    return kept | {
        "TEXTUAL_DRIVER": DRIVER,
        "TEXTUAL_COLOR_SYSTEM": "truecolor",
        "TERM": "xterm-256color",
        "COLORTERM": "truecolor",
        "TERM_PROGRAM": "textual",
        "COLUMNS": str(columns),
        "ROWS": str(rows),
        "LINES": str(rows),
        "PYTHONDONTWRITEBYTECODE": "1",
    }


def _is_exit(content: bytes) -> bool:
    try:
        told: Any = json.loads(content)
    except ValueError:
        return False
    return isinstance(told, dict) and told.get("type") == "exit"
