"""One browser's workbench: what goes between the page and a process of its own.

The page sends JSON lists, as textual-serve's script has them (`["stdin", text]`, `["resize", {...}]`), and receives the
terminal's bytes. It is not trusted to keep to that: what it may not say ends the session. And however a session ends,
its process does.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from contextlib import suppress

from aiohttp import WSCloseCode, WSMessage, WSMsgType, web

from engine.files import reason
from tui.serve.limits import Limits
from tui.serve.process import AppProcess, BrokenProcess
from tui.serve.protocol import meta, packet
from tui.text import clean

_RESTORE = b"\x1b[?1000l\x1b[?1002l\x1b[?1006l\x1b[?1049l\x1b[0m\x1b[?25l\x1b[2J\x1b[H"  # no mouse; an empty screen


class BadMessage(Exception):
    """A browser said what no page of ours says."""


class Session:
    """A process behind a websocket; `run` once."""

    def __init__(self, command: Sequence[str], browser: web.WebSocketResponse, limits: Limits, *, may_train: bool):
        self._command = list(command)
        self._browser = browser
        self._limits = limits
        self._may_train = may_train
        self._app: AppProcess | None = None
        self._told: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    def end(self, why: str) -> None:
        """Have `run` end the session."""
        if not self._told.done():
            self._told.set_result(why)

    def kill(self) -> None:
        """End the process at once, unless it may have a training to see to."""
        if self._app is not None and not self._may_train:
            self._app.kill()

    async def run(self, columns: int, rows: int) -> None:
        """Until the browser goes, the app ends, nothing is typed, or `end`; then nothing is left of it."""
        try:
            app = self._app = await AppProcess.start(self._command, *self._limits.size(columns, rows))
        except OSError as error:
            await self._part(f"the workbench could not be opened: {reason(error)}")
            return
        drawn = asyncio.create_task(self._to_browser(app))
        typed = asyncio.create_task(self._from_browser(app))
        try:
            await asyncio.wait({drawn, typed, self._told}, return_when=asyncio.FIRST_COMPLETED)
            await self._part(next(each.result() for each in (self._told, drawn, typed) if each.done()))
        finally:
            drawn.cancel()
            typed.cancel()
            await asyncio.wait({drawn, typed})
            await app.end(self._limits.saving if self._may_train else self._limits.ending)

    async def _to_browser(self, app: AppProcess) -> str:
        """Show the browser what the app draws; returns why no more is to come, "" when the app ended by itself."""
        why = ""
        try:
            await app.opened(self._limits.opening)
            async for data in app.drawn():
                await self._browser.send_bytes(data)
        except BrokenProcess as error:
            why = str(error)
        except ConnectionError:
            return ""
        if words := await app.last_words():
            return f"{why or 'the workbench ended by an error'}: {words}"
        return why

    async def _from_browser(self, app: AppProcess) -> str:
        """Hand on what the browser says; returns why no more is to come, "" when it has gone."""
        loop = asyncio.get_running_loop()
        last_typed = loop.time()
        while True:
            try:
                async with asyncio.timeout_at(last_typed + self._limits.idle):  # its own begins anew with every pong
                    message = await self._browser.receive()
            except TimeoutError:
                return f"nothing was typed for {self._limits.idle / 60:.0f} minutes"
            if message.type is not WSMsgType.TEXT and message.type is not WSMsgType.BINARY:
                return ""
            try:
                kind, answer = self._take(app, message)
            except BadMessage:
                return "the page said what it never says"
            if kind == "stdin":
                last_typed = loop.time()
            if kind == "ping":
                await self._browser.send_json(["pong", answer])
            await app.drain()
            await asyncio.sleep(1 / self._limits.rate + len(message.data) / self._limits.flow)

    def _take(self, app: AppProcess, message: WSMessage) -> tuple[str, str]:
        """Give a message of the browser to the app; its kind, and what is answered to a ping."""
        try:
            said = json.loads(message.data) if message.type is WSMsgType.TEXT else None
        except (ValueError, RecursionError):
            raise BadMessage from None
        match said:
            case ["stdin", str(text)]:
                app.write(packet(b"D", text.encode("utf-8", "replace")))
                return "stdin", ""
            case ["resize", {"width": int(columns), "height": int(rows)}]:
                columns, rows = self._limits.size(columns, rows)
                app.write(meta("resize", width=columns, height=rows))
                return "resize", ""
            case ["ping", str(text)]:
                return "ping", text[:64]
            case ["focus" | "blur" as kind]:
                app.write(meta(kind))
                return kind, ""
        raise BadMessage

    async def _part(self, why: str) -> None:
        """Tell the browser why, if it is still there, and hang up."""
        with suppress(ConnectionError, TimeoutError):
            async with asyncio.timeout(self._limits.ending):
                if why and not self._browser.closed:
                    await self._browser.send_bytes(farewell(why))
                await self._browser.close(code=WSCloseCode.GOING_AWAY)


def farewell(why: str) -> bytes:
    """The last line of a session, on a terminal that may be in any state."""
    return _RESTORE + f"tinytui: {clean(why, keep_newlines=False)}".encode("utf-8", "replace")
