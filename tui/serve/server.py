"""The server: what it answers, to whom, and how much of everything.

    async with Serving(gate, limits, command, listening, may_train=False, report=print):
        await the_end

There is one handler: the gate first, then a name among a handful, or `ws`, a session. No router, no folder, no cookie.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Self

from aiohttp import WSCloseCode, web
from aiohttp.web_protocol import RequestHandler

from tui.serve.assets import load_assets
from tui.serve.gate import Gate
from tui.serve.limits import Limits
from tui.serve.session import Session, farewell

SOCKET = "ws"

_SILENT = logging.getLogger("tinytui.serve")  # of what strangers send; what is wrong here is reported in a line
_SILENT.addHandler(logging.NullHandler())
_SILENT.propagate = False

_HEADERS = {
    "Cache-Control": "no-store",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; font-src 'self'; img-src 'self' data:; "
    "connect-src ws://{host} wss://{host}; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)  # the terminal's script writes its own style sheets


class Serving:
    """A server at work between entering and leaving; leaving ends every session and waits for it."""

    def __init__(
        self,
        gate: Gate,
        limits: Limits,
        command: Sequence[str],
        listening: socket.socket,
        *,
        may_train: bool,
        report: Callable[[str], None],
    ):
        self._gate = gate
        self._limits = limits
        self._command = command
        self._listening = listening
        self._may_train = may_train
        self._report = report
        self._assets = load_assets()
        self._sessions: set[Session] = set()
        self._waiting: OrderedDict[RequestHandler, asyncio.TimerHandle] = OrderedDict()
        self._over = asyncio.Event()
        """Whether, once it is to end, nothing has to be waited for any more."""

    async def __aenter__(self) -> Self:
        loop = asyncio.get_running_loop()
        self._http = web.Server(
            self._answer,
            access_log=None,
            logger=_SILENT,
            keepalive_timeout=30.0,
            lingering_time=0.0,
            tcp_keepalive=True,
        )
        self._server = await loop.create_server(self._connect, sock=self._listening, backlog=64)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for session in self._sessions:
            session.end("tinytui serve has ended")
        if self._sessions:
            await self._over.wait()
        await self._http.shutdown(1.0)

    def hurry(self) -> None:
        """While it ends: wait no longer. What trains writes its checkpoint and ends by itself, for its stdin has."""
        for session in self._sessions:
            session.kill()
        self._over.set()

    @property
    def sessions(self) -> int:
        """Sessions there are, those included that are ending."""
        return len(self._sessions)

    # -- connections ---------------------------------------------------------------------------------------------------

    def _connect(self) -> asyncio.Protocol:
        """The protocol of a new connection, which waits outside until it has shown the token, and not for long."""
        if len(self._http.connections) >= self._limits.connections:
            return _TurnedAway()
        handler = self._http()
        if len(self._waiting) >= self._limits.waiting:
            self._turn_away(next(iter(self._waiting)))
        loop = asyncio.get_running_loop()
        self._waiting[handler] = loop.call_later(self._limits.knock, self._turn_away, handler)
        return handler

    def _turn_away(self, handler: RequestHandler) -> None:
        self._let_in(handler)
        asyncio.get_running_loop().call_soon(_hang_up, handler)  # after its connection was made: that stands in line

    def _let_in(self, handler: RequestHandler) -> None:
        timer = self._waiting.pop(handler, None)
        if timer is not None:
            timer.cancel()

    # -- requests ------------------------------------------------------------------------------------------------------

    async def _answer(self, request: web.BaseRequest) -> web.StreamResponse:
        try:
            return await self._respond(request)
        except ConnectionError:  # whoever asked has gone
            return _line(400, "the connection broke")
        except Exception as error:
            self._report(f"this is a bug: {type(error).__name__}: {error}")
            return _line(500, "this is a bug; the terminal in which tinytui serve runs says more")

    async def _respond(self, request: web.BaseRequest) -> web.StreamResponse:
        path = request.rel_url.raw_path
        _, _, name = path.removeprefix("/").partition("/")
        hosts, origins = (request.headers.getall(header, []) for header in ("Host", "Origin"))
        if (why := self._gate.refusal(hosts, origins, path, need_origin=name == SOCKET)) is not None:
            return _line(403, why)
        if request.method != "GET":
            return _line(405, "this server is only looked at; GET is all it knows")
        self._let_in(request.protocol)
        if name == SOCKET:
            return await self._open_session(request)
        asset = self._assets.get(name)
        if asset is None:
            return _line(404, "there is nothing by that name; open the link as it was printed")
        if not name and not path.endswith("/"):
            return web.Response(status=308, headers=_HEADERS | {"Location": f"{path}/"})
        headers = _HEADERS | {"Content-Security-Policy": _POLICY.format(host=hosts[0]), "Content-Type": asset.kind}
        if name:  # what the package brings changes with it alone
            headers |= {"Cache-Control": "private, no-cache", "ETag": asset.tag}
            if asset.tag in request.headers.get("If-None-Match", ""):
                return web.Response(status=304, headers=headers)
        return web.Response(body=asset.body, headers=headers | {"Content-Encoding": "gzip"})

    async def _open_session(self, request: web.BaseRequest) -> web.StreamResponse:
        browser = web.WebSocketResponse(
            heartbeat=self._limits.heartbeat,
            max_msg_size=self._limits.message,
            timeout=2.0,
            compress=False,
        )
        if not browser.can_prepare(request):
            return _line(400, "a websocket is all that is here; open the link as it was printed")
        if len(self._sessions) >= self._limits.sessions:
            await browser.prepare(request)
            await browser.send_bytes(farewell(f"{self._limits.sessions} sessions are open already; close one first"))
            await browser.close(code=WSCloseCode.TRY_AGAIN_LATER)
            return browser
        session = Session(self._command, browser, self._limits, may_train=self._may_train)
        self._sessions.add(session)
        try:
            await browser.prepare(request)
            await session.run(*(_number(request.query.get(side, "")) for side in ("width", "height")))
        finally:
            self._sessions.discard(session)
            if not self._sessions and not self._server.is_serving():
                self._over.set()
        return browser


def _hang_up(handler: RequestHandler) -> None:
    if handler.transport is not None:
        handler.transport.abort()


class _TurnedAway(asyncio.Protocol):
    """A connection too many."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        transport.abort()


def _line(status: int, why: str) -> web.Response:
    """An answer of one line, after which the connection is closed."""
    response = web.Response(status=status, text=f"tinytui: {why}\n", headers=_HEADERS)
    response.headers["Content-Security-Policy"] = "default-src 'none'; frame-ancestors 'none'"
    response.force_close()
    return response


def _number(text: str) -> int:
    """A size that was asked for; what is no number is the smallest."""
    return int(text) if text.isascii() and text.isdigit() and len(text) < 10 else 1
