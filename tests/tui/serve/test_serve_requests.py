"""What a stranger may try with requests, and what the page is allowed to do."""

from __future__ import annotations

import asyncio
import re
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import aiohttp
import pytest
from serve_for_tests import WAIT, Served, opened, served

from tui.serve.limits import Limits
from tui.serve.server import Serving


def test_the_link_opens_the_page(server: Served) -> None:
    status, answer = server.ask(f"/{server.token}/", server.host)
    assert status == 200
    assert "text/html" in answer


async def test_the_page_loads_all_that_it_names(server: Served) -> None:
    async with aiohttp.ClientSession() as client:
        async with client.get(server.url) as answer:
            page = await answer.text()
        loaded = re.findall(r'(?:src|href)="([^"]+)"', page)
        assert set(loaded) - {"data:,"} == {"xterm.css", "page.css", "page.js", "textual.js"}
        for name in (*(each for each in loaded if each != "data:,"), "mono.ttf", "mono-italic.ttf"):
            async with client.get(server.url + name) as answer:
                assert (answer.status, answer.headers["X-Content-Type-Options"]) == (200, "nosniff"), name
                assert len(await answer.read()) > 100
                tag = answer.headers["ETag"]
            async with client.get(server.url + name, headers={"If-None-Match": tag}) as answer:
                assert answer.status == 304, name


def test_nothing_is_told_to_others(server: Served) -> None:
    for target in (f"/{server.token}/", "/", f"/{server.token}/nothing"):
        _, answer = server.ask(target, server.host)
        headers = answer.partition("\r\n\r\n")[0].lower()
        assert "cache-control: no-store" in headers
        assert "referrer-policy: no-referrer" in headers
        assert "x-content-type-options: nosniff" in headers
        assert "frame-ancestors 'none'" in headers
        assert "default-src 'none'" in headers
        assert "set-cookie" not in headers
        assert "access-control-allow" not in headers
        policy = headers.partition("content-security-policy: ")[2].partition("\r\n")[0]
        assert {*re.findall(r"\w+://[^ ;]+", policy)} <= {
            f"{scheme}://127.0.0.1:{server.port}" for scheme in ("ws", "wss")
        }
        assert "'unsafe-eval'" not in policy and "*" not in policy


@pytest.mark.parametrize("name", ["", "ws", "textual.js", "page.js", "nothing"])
@pytest.mark.parametrize("token", ["", "wrong/", "{token}x/", "%00/", "../{token}/", "{half}/"])
def test_no_token_or_a_wrong_one(server: Served, token: str, name: str) -> None:
    token = token.format(token=server.token, half=server.token[:20])
    status, answer = server.ask(f"/{token}{name}", server.host, f"Origin: {server.origin}")
    assert (status, "no token" in answer) == (403, True)
    assert server.token not in answer


@pytest.mark.parametrize("name", ["", "ws", "textual.js"])
@pytest.mark.parametrize("host", ["evil.example", "evil.example:{port}", "127.0.0.1.evil.example", "0.0.0.0", ""])
def test_a_foreign_host(server: Served, host: str, name: str) -> None:
    header = f"Host: {host.format(port=server.port)}"
    status, answer = server.ask(f"/{server.token}/{name}", header, f"Origin: {server.origin}")
    assert (status, "not known by that name" in answer) == (403, True)


def test_no_host_and_two(server: Served) -> None:
    for headers in ((), (server.host, "Host: evil.example")):
        status, answer = server.ask(f"/{server.token}/", *headers)
        assert status in (400, 403)
        assert "text/html" not in answer


@pytest.mark.parametrize("origin", ["http://evil.example", "null", "http://127.0.0.1", "http://localhost:{port}"])
async def test_a_foreign_origin(server: Served, origin: str) -> None:
    origin = origin.format(port=server.port)
    async with aiohttp.ClientSession() as client:
        for name in ("", "textual.js"):
            async with client.get(server.url + name, headers={"Origin": origin}) as answer:
                assert answer.status == 403
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            await client.ws_connect(server.url + "ws?width=80&height=24", origin=origin)
        assert refused.value.status == 403
        with pytest.raises(aiohttp.WSServerHandshakeError):  # and none at all
            await client.ws_connect(server.url + "ws?width=80&height=24")
    assert server.serving.sessions == 0


@pytest.mark.parametrize(
    "name",
    [
        "../../../../etc/passwd",
        "..%2f..%2fetc%2fpasswd",
        "%2e%2e/%2e%2e/etc/passwd",
        "....//....//etc/passwd",
        "..\\..\\etc\\passwd",
        "/etc/passwd",
        "file:///etc/passwd",
        "textual.js/../page.html",
        "./textual.js",
        "static/",
        "static",
        "js/textual.js",
        "server.py",
        "page.html",
        "__init__.py",
        "textual.js%00.html",
        "download/x",
        "?/../../etc/passwd",
    ],
)
def test_no_path_leads_to_a_file(server: Served, name: str) -> None:
    status, answer = server.ask(f"/{server.token}/{name}", server.host)
    head, _, body = answer.partition("\r\n\r\n")
    if name.startswith("?"):
        assert status == 200  # the page, whatever the query
        return
    assert status in (400, 403, 404)
    assert "root:" not in body and "import" not in body and "<" not in body
    assert "text/plain" in head


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "HEAD", "OPTIONS", "CONNECT", "TRACE", "PROPFIND"])
def test_it_is_only_looked_at(server: Served, method: str) -> None:
    status, _ = server.ask(f"/{server.token}/", server.host, method=method)
    assert status in (400, 403, 405)


def test_a_websocket_is_asked_for_as_one(server: Served) -> None:
    status, _ = server.ask(f"/{server.token}/ws", server.host, f"Origin: {server.origin}")
    assert status == 400


@pytest.mark.parametrize("token", ["", "{token}"])
def test_a_body_of_a_hundred_megabytes_is_not_read(server: Served, token: str) -> None:
    token = token.format(token=server.token)
    head = f"POST /{token}/ HTTP/1.1\r\n{server.host}\r\nContent-Length: 100000000\r\n\r\n".encode()
    assert sent_until_closed(server, head) < 30_000_000  # what the two ends' buffers hold, and no more


def test_a_header_without_end_is_not_read(server: Served) -> None:
    assert sent_until_closed(server, f"GET / HTTP/1.1\r\n{server.host}\r\nX: ".encode()) < 30_000_000


def sent_until_closed(server: Served, head: bytes) -> int:
    """Bytes that a connection took before it was closed, of a hundred million."""
    with socket.create_connection(("127.0.0.1", server.port), WAIT) as connection:
        connection.sendall(head)
        sent, piece = 0, b"x" * 100_000
        try:
            while sent < 100_000_000:
                sent += connection.send(piece)
        except (BrokenPipeError, ConnectionResetError):
            pass
    return sent


def hung_up(connection: socket.socket) -> bool:
    """Wait until the server has closed it without a word."""
    try:
        return connection.recv(1) == b""
    except ConnectionResetError:
        return True


def test_a_hundred_that_say_nothing_keep_nobody_out() -> None:
    with served() as server, knocking_at(server, 100) as silent:
        for each in silent[::2]:
            each.sendall(b"GET / HTTP/1.1\r\nX")
        assert server.ask(f"/{server.token}/", server.host)[0] == 200


def test_who_says_nothing_is_hung_up_on() -> None:
    with served(Limits(knock=0.1)) as server, knocking_at(server, 8) as silent:
        for each in silent[::2]:
            each.sendall(b"GET / HTTP/1.1\r\nX")
        for each in silent:
            assert hung_up(each)


@contextmanager
def knocking_at(server: Served, count: int) -> Iterator[list[socket.socket]]:
    with ExitStack() as opened:
        yield [opened.enter_context(socket.create_connection(("127.0.0.1", server.port), WAIT)) for _ in range(count)]


async def test_who_was_let_in_is_not_turned_away_later(monkeypatch: pytest.MonkeyPatch) -> None:
    connect, knocks = Serving._connect, list[asyncio.TimerHandle]()

    def connects(serving: Serving) -> asyncio.Protocol:
        handler = connect(serving)
        knocks.extend(serving._waiting.values())
        return handler

    monkeypatch.setattr(Serving, "_connect", connects)
    with served(Limits(waiting=2)) as server:
        async with opened(server) as browser:
            await browser.until("pid ")
            assert knocks[0].cancelled()
            with knocking_at(server, 5) as crowd:
                for each in crowd[:3]:
                    assert hung_up(each)
                await browser.say("stdin", "still")
                assert "<still>" in await browser.until("keys <s")
