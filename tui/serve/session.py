"""One browser's workbench: a process of its own, and what goes between the two.

Both sides speak textual-serve's protocol. The browser sends JSON lists (`["stdin", text]`, `["resize", {...}]`, ...) and
receives the terminal's bytes. The process reads and writes packets: a letter (D data, M a JSON object), four bytes of
length, the content. Neither is trusted to keep to it: what it may not say ends the session.

However a session ends, its process does: it is told to, then its stdin closes, which it also knows for the end when
this server was killed; and when all that brings nothing within `Limits.ending` it is ended by force.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

from aiohttp import WSCloseCode, WSMessage, WSMsgType, web

from tui.serve.limits import Limits
from tui.text import clean

PRELUDE = b"__GANGLION__\n"
"""What an app says before its first packet."""

DRIVER = "tui.serve.driver:BrowserDriver"

_LARGEST = 1 << 24  # bytes of a packet of the process
_LAST_WORDS = 1 << 14  # bytes kept of what it says on stderr


class BadMessage(Exception):
    """A browser said what no page of ours says."""


def packet(kind: bytes, content: bytes) -> bytes:
    """A packet as a process reads it."""
    return kind + len(content).to_bytes(4, "big") + content


def meta(kind: str, **fields: int) -> bytes:
    """A packet about the terminal."""
    return packet(b"M", json.dumps({"type": kind, **fields}).encode())


class Session:
    """A process behind a websocket; `run` once."""

    def __init__(self, command: Sequence[str], browser: web.WebSocketResponse, limits: Limits, *, may_train: bool):
        self._command = list(command)
        self._browser = browser
        self._limits = limits
        self._patience = limits.saving if may_train else limits.ending
        self._last_words = bytearray()
        self._opened = asyncio.Event()

    async def run(self, columns: int, rows: int) -> None:
        """Until the browser goes, the app ends, the session is idle, or the task is cancelled; then nothing is left."""
        columns, rows = self._limits.size(columns, rows)
        self._process = await asyncio.create_subprocess_exec(
            *self._command,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env=environment(os.environ, columns, rows),
            start_new_session=True,  # a Ctrl-C at the server's terminal is the server's
        )
        drawn = asyncio.create_task(self._to_browser())
        heard = asyncio.create_task(self._listen())
        typed = asyncio.create_task(self._from_browser())
        late = asyncio.create_task(self._wait_for_opening())
        try:
            await asyncio.wait({drawn, typed, late}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (typed, late):
                task.cancel()
            try:
                await asyncio.shield(asyncio.ensure_future(self._finish(drawn, typed, late)))
            finally:
                drawn.cancel()
                heard.cancel()

    # -- what goes to and fro ------------------------------------------------------------------------------------------

    async def _from_browser(self) -> str:
        """Hand on what the browser says; returns why no more is to come."""
        loop = asyncio.get_running_loop()
        last_typed = loop.time()
        while True:
            left = last_typed + self._limits.idle - loop.time()
            try:
                message = await self._browser.receive(timeout=max(left, 0.001))
            except TimeoutError:
                return f"nothing was typed for {self._limits.idle / 60:.0f} minutes"
            if message.type is not WSMsgType.TEXT:
                return "" if message.type is not WSMsgType.BINARY else "the page said what it never says"
            try:
                kind, answer = self._take(message)
            except BadMessage:
                return "the page said what it never says"
            if kind == "stdin":
                last_typed = loop.time()
            if kind == "ping":
                await self._browser.send_json(["pong", answer])
            await self._drain()
            await asyncio.sleep(1 / self._limits.rate + len(message.data) / self._limits.flow)

    def _take(self, message: WSMessage) -> tuple[str, str]:
        """Give a message of the browser to the process; its kind, and what is answered to a ping."""
        try:
            said = json.loads(message.data)
        except (ValueError, RecursionError):
            raise BadMessage from None
        match said:
            case ["stdin", str(text)]:
                self._write(packet(b"D", text.encode("utf-8", "replace")))
                return "stdin", ""
            case ["resize", {"width": int(columns), "height": int(rows)}]:
                columns, rows = self._limits.size(columns, rows)
                self._write(meta("resize", width=columns, height=rows))
                return "resize", ""
            case ["ping", str(text)]:
                return "ping", text[:64]
            case ["focus" | "blur" as kind]:
                self._write(meta(kind))
                return kind, ""
        raise BadMessage

    async def _to_browser(self) -> str:
        """Show the browser what the process draws; returns why no more is to come."""
        output = self._process.stdout
        assert output is not None
        try:
            while await output.readline() != PRELUDE:
                if output.at_eof():
                    return "the workbench could not be opened"
            self._opened.set()
            while True:
                head = await output.readexactly(5)
                size = int.from_bytes(head[1:], "big")
                if size > _LARGEST:
                    return "the workbench broke off"
                content = await output.readexactly(size)
                if head[:1] == b"D":
                    await self._browser.send_bytes(content)
                elif head[:1] == b"M" and _is_exit(content):
                    return "-"
        except asyncio.IncompleteReadError:
            return "the workbench broke off"
        except ValueError:  # a line without end before the first packet
            return "the workbench could not be opened"
        except ConnectionError:
            return ""

    async def _wait_for_opening(self) -> str:
        try:
            await asyncio.wait_for(self._opened.wait(), self._limits.opening)
        except TimeoutError:
            return f"the workbench did not open within {self._limits.opening:.0f} seconds"
        return await asyncio.Future()

    async def _listen(self) -> None:
        """Keep the end of what the process says on stderr."""
        errors = self._process.stderr
        assert errors is not None
        while data := await errors.read(1 << 12):
            self._last_words = (self._last_words + data)[-_LAST_WORDS:]

    def _write(self, data: bytes) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(data)

    async def _drain(self) -> None:
        assert self._process.stdin is not None
        with suppress(ConnectionError):
            await self._process.stdin.drain()

    # -- the end -------------------------------------------------------------------------------------------------------

    async def _finish(self, drawn: asyncio.Task[str], *others: asyncio.Task[str]) -> None:
        """Tell the browser why, end the process, and wait for both."""
        why = next((task.result() for task in (drawn, *others) if task.done() and not task.cancelled()), "")
        drawn.cancel()
        if not self._browser.closed:
            with suppress(ConnectionError, TimeoutError):
                await asyncio.wait_for(self._say(why), self._limits.ending)
        await self._end_process()

    async def _say(self, why: str) -> None:
        if why and why != "-":
            await asyncio.sleep(0)  # what was said on stderr at the same time
            words = self._last_words.decode("utf-8", "replace").strip().splitlines()
            if words and self._process.returncode != 0 and why.startswith("the workbench"):
                why += f": {words[-1].removeprefix('tinytui: ')}"
            await self._browser.send_bytes(farewell(why))
        await self._browser.close(code=WSCloseCode.GOING_AWAY)

    async def _end_process(self) -> None:
        process = self._process
        assert process.stdin is not None and process.stdout is not None
        self._write(meta("quit"))
        process.stdin.close()
        emptied = asyncio.create_task(_empty(process.stdout))  # or it would wait for a reader
        try:
            for patience, number in ((self._patience, signal.SIGTERM), (self._limits.ending, signal.SIGKILL)):
                try:
                    await asyncio.wait_for(process.wait(), patience)
                    return
                except TimeoutError:
                    with suppress(ProcessLookupError):
                        os.killpg(process.pid, number)
            await process.wait()
        finally:
            emptied.cancel()


def farewell(why: str) -> bytes:
    """The last line of a session, on a screen that may hold anything: the terminal is left as it was found."""
    line = f"tinytui: {clean(why, keep_newlines=False)}"
    return b"\x1b[?1000l\x1b[?1002l\x1b[?1006l\x1b[?1049l\x1b[0m\x1b[?25l\x1b[2J\x1b[H" + line.encode("utf-8", "replace")


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


async def _empty(stream: asyncio.StreamReader) -> None:
    while await stream.read(1 << 16):
        pass
