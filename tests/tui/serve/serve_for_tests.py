"""A server in this process, and browsers without one: raw requests, and websockets with a terminal behind them."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp

from tui.serve.gate import Gate, names_of, new_token
from tui.serve.limits import Limits
from tui.serve.run import link, listen
from tui.serve.server import Serving

PLAIN, TINY = (str(Path(__file__).parent / name) for name in ("plain_app.py", "tiny_app.py"))
WAIT = 60.0
ROOT = Path(__file__).parents[3]

_SEQUENCE = re.compile(rb"\x1b(\[[0-9;?<>=$]*[a-zA-Z]|\][^\x07]*\x07|.)")


@dataclass(frozen=True)
class Served:
    """A server at work in a thread: `url` is its link, with the token and a slash at the end."""

    url: str
    port: int
    token: str
    reported: list[str]
    serving: Serving

    @property
    def origin(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def ask(self, target: str, *headers: str, method: str = "GET") -> tuple[int, str]:
        return answer_of(self.port, target, *headers, method=method)

    @property
    def host(self) -> str:
        return f"Host: 127.0.0.1:{self.port}"


def answer_of(port: int, target: str, *headers: str, method: str = "GET") -> tuple[int, str]:
    """The answer to a request as it is written here, to the letter: its status, and all that came."""
    lines = [f"{method} {target} HTTP/1.1", *headers, "Connection: close", "", ""]
    with socket.create_connection(("127.0.0.1", port), WAIT) as connection:
        connection.sendall("\r\n".join(lines).encode("latin-1"))
        received = b""
        while data := connection.recv(1 << 16):
            received += data
    return int(received.split(b" ", 2)[1]), received.decode("latin-1")


@contextmanager
def served(
    limits: Limits | None = None,
    *arguments: str,
    app: str = PLAIN,
    may_train: bool = False,
    host: str = "127.0.0.1",
    names: tuple[str, ...] = (),
) -> Iterator[Served]:
    """A server of a small app, until the block ends; then nothing of it is left."""
    gate = Gate(new_token(), names_of(host, names))
    listening = listen(host, 0)
    began: list[Served] = []
    ready = threading.Event()
    loop = asyncio.new_event_loop()
    over = asyncio.Event()

    async def work() -> None:
        reported: list[str] = []
        serving = Serving(
            gate,
            limits or Limits(),
            [sys.executable, "-S", app, *arguments] if app == PLAIN else [sys.executable, app, *arguments],
            listening,
            may_train=may_train,
            report=reported.append,
        )
        async with serving:
            url = link(listening, host, gate.token)
            began.append(Served(url, listening.getsockname()[1], gate.token, reported, serving))
            ready.set()
            await over.wait()

    thread = threading.Thread(target=loop.run_until_complete, args=(work(),), daemon=True)
    thread.start()
    assert ready.wait(WAIT)
    try:
        yield began[0]
    finally:
        loop.call_soon_threadsafe(over.set)
        thread.join(WAIT)
        assert not thread.is_alive()
        assert began[0].reported == []
        assert began[0].serving.sessions == 0


class Browser:
    """A websocket to a server, and what has come from it since the last word."""

    def __init__(self, connection: aiohttp.ClientWebSocketResponse) -> None:
        self.socket = connection
        self.closed_with: int | None = None
        self._received = b""
        self.words: list[str] = []
        """What the server said to the page itself."""

    @property
    def text(self) -> str:
        """The letters of what has come, without the sequences that place and colour them."""
        return _SEQUENCE.sub(b"", self._received).decode("utf-8", "replace").strip()

    async def say(self, *message: Any) -> None:
        self._received = b""
        await self.socket.send_str(json.dumps(message))

    async def resize(self, width: int, height: int) -> None:
        await self.say("resize", {"width": width, "height": height})

    async def until(self, text: str) -> str:
        """Read until `text` has come, and return all that has."""
        async with asyncio.timeout(WAIT):
            while text not in self.text:
                assert await self._read(), f"closed with {self.closed_with} before {text!r}: {self.text!r}"
        return self.text

    async def until_drawn(self) -> None:
        """Read until anything has come since something was said."""
        async with asyncio.timeout(WAIT):
            while not self.text:
                assert await self._read(), f"closed with {self.closed_with}"

    async def until_told(self, word: str) -> None:
        """Read until the server has told the page itself `word`."""
        async with asyncio.timeout(WAIT):
            while not any(word in told for told in self.words):
                assert await self._read()

    async def until_closed(self) -> str:
        """Read until the server hangs up, and return what has come."""
        async with asyncio.timeout(WAIT):
            while await self._read():
                pass
        return self.text

    async def _read(self) -> bool:
        message = await self.socket.receive()
        if message.type is aiohttp.WSMsgType.BINARY:
            self._received += message.data
            return True
        if message.type is aiohttp.WSMsgType.TEXT:
            self.words.append(message.data)
            return True
        self.closed_with = self.socket.close_code
        return False


@asynccontextmanager
async def opened(server: Served, width: object = 80, height: object = 24) -> AsyncIterator[Browser]:
    """A browser at the server's page."""
    async with opened_at(server.url, width, height) as browser:
        yield browser


@asynccontextmanager
async def opened_at(url: str, width: object = 80, height: object = 24) -> AsyncIterator[Browser]:
    """A browser at a link."""
    async with (
        aiohttp.ClientSession() as client,
        client.ws_connect(
            f"{url}ws?width={width}&height={height}",
            origin="/".join(url.split("/")[:3]),
            timeout=aiohttp.ClientWSTimeout(ws_close=0.5),
            max_msg_size=0,
        ) as connection,
    ):
        yield Browser(connection)


async def process_of(browser: Browser) -> int:
    """The process of a browser's app."""
    return int((await browser.until("pid ")).partition("pid ")[2].split()[0])


async def until(condition: Callable[[], bool], within: float = WAIT) -> None:
    async with asyncio.timeout(within):
        while not condition():
            await asyncio.sleep(0.01)


def lives(pid: int) -> bool:
    """Whether a process is there, and no corpse."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:  # it may also go as it is read
        return False


def children_of(pid: int) -> list[int]:
    """Processes that this one has begun and that still live."""
    try:
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []


@contextmanager
def command(folder: Path, *arguments: str) -> Iterator[tuple[subprocess.Popen[str], dict[str, Any]]]:
    """`tinytui serve` in a process of its own, with folders of its own, and what it prints as JSON."""
    own = {
        "PYTHONPATH": str(ROOT),
        "TINYTUI_CACHE": str(folder / "cache"),
        "TINYTUI_CORPORA": str(folder / "corpora"),
        "XDG_CONFIG_HOME": str(folder / "config"),
        "XDG_STATE_HOME": str(folder / "state"),
    }
    process = subprocess.Popen(
        [sys.executable, "-m", "tui.cli", "serve", "--runs", str(folder / "runs"), "--json", *arguments],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={name: value for name, value in os.environ.items() if name != "NO_COLOR"} | own,
    )
    assert process.stdout is not None and process.stderr is not None
    try:
        told = process.stdout.readline()
        assert told, process.stderr.read()
        yield process, json.loads(told)
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(WAIT)
        process.stdout.close()
        process.stderr.close()


def invoke(*arguments: str) -> tuple[int, str]:
    """A command line in this process: its exit code, and all that it says."""
    from typer.testing import CliRunner

    from tui.cli.app import make_app

    result = CliRunner().invoke(make_app(), list(arguments))
    return result.exit_code, result.output
