"""Serving from the first link to the last session: a socket, the signals, the end."""

from __future__ import annotations

import asyncio
import errno
import os
import signal
import socket
from collections.abc import Callable, Sequence

from engine.errors import UserError
from engine.files import reason
from tui.serve.gate import Gate
from tui.serve.limits import Limits
from tui.serve.server import Serving

ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)


def listen(host: str, port: int) -> socket.socket:
    """A socket bound at `host` and `port` (0: any that is free). Raises UserError in one line."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        family, kind, protocol, _, address = min(found, key=lambda each: each[0] != socket.AF_INET)
        listening = socket.socket(family, kind, protocol)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    except (OSError, UnicodeError):
        raise UserError(f"{host} is no address; choose one of this machine's with --host") from None
    try:
        listening.bind(address)
        listening.listen(64)
    except OSError as error:
        listening.close()
        raise UserError(_why_not(error, host, port)) from None
    listening.setblocking(False)
    return listening


def _why_not(error: OSError, host: str, port: int) -> str:
    if error.errno == errno.EADDRINUSE:
        return f"port {port} of {host} is taken; choose another with --port, 0 for any that is free"
    if error.errno == errno.EACCES:
        return f"port {port} is not for you to open; choose one above 1023 with --port"
    if error.errno == errno.EADDRNOTAVAIL:
        return f"{host} is no address of this machine; choose one that is with --host"
    return f"cannot listen at {host}, port {port}: {reason(error)}; choose another with --host and --port"


def link(listening: socket.socket, host: str, token: str) -> str:
    """The address to open in a browser."""
    place = socket.gethostname() if host in ("0.0.0.0", "::") else host
    if ":" in place:
        place = f"[{place}]"
    return f"http://{place}:{listening.getsockname()[1]}/{token}/"


def serve(
    gate: Gate,
    limits: Limits,
    command: Sequence[str],
    listening: socket.socket,
    *,
    may_train: bool,
    ready: Callable[[], None],
    report: Callable[[str], None],
) -> signal.Signals:
    """Serve until a signal ends it; `ready` is called once it answers. Returns the signal when all sessions are over.

    A second signal waits for nothing: what may train is left to end by itself, and this process ends on the spot, for
    an event loop that is taken apart kills the processes it began.
    """

    async def run() -> signal.Signals:
        loop = asyncio.get_running_loop()
        asked: asyncio.Future[signal.Signals] = loop.create_future()
        serving = Serving(gate, limits, command, listening, may_train=may_train, report=report)

        def end(number: signal.Signals) -> None:
            if asked.done():
                serving.hurry()
                if may_train:
                    report("the browser's side has ended; what it trained is still writing its checkpoint")
                    os._exit(128 + number)
            else:
                asked.set_result(number)

        for number in ENDING:
            if signal.getsignal(number) is not signal.SIG_IGN:
                loop.add_signal_handler(number, end, number)
        async with serving:
            ready()
            return await asked

    return asyncio.run(run())
