"""A browser's session: what it may say, how much of it, and that nothing is left of it afterwards."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import struct
import sys
from pathlib import Path

import aiohttp
import aiohttp.web
import pytest
from serve_for_tests import (
    PLAIN,
    WAIT,
    Browser,
    Served,
    children_of,
    lives,
    opened,
    opened_at,
    process_of,
    served,
    until,
)

from tui.serve.gate import Gate, names_of, new_token
from tui.serve.limits import Limits
from tui.serve.run import link, listen
from tui.serve.server import Serving


async def test_a_key_reaches_the_app_and_its_picture_comes_back(server: Served) -> None:
    async with opened(server, 70, 20) as browser:
        await browser.until("size 70x20 keys <>")
        await browser.say("stdin", "aé")
        await browser.until("keys <aé>")
        await browser.resize(90, 30)
        await browser.until("size 90x30")
        await browser.say("focus")
        await browser.say("blur")
        await browser.say("ping", "123")
        await browser.say("stdin", "b")
        await browser.until("keys <aéb>")


async def test_a_terminal_of_twenty_thousand_squared(server: Served) -> None:
    async with opened(server, 20_000, 20_000) as browser:
        await browser.until("size 400x200")
        await browser.resize(80, 24)
        await browser.until("size 80x24")
        await browser.resize(20_000, 20_000)
        await browser.until("size 400x200")
        await browser.resize(-5, 0)
        await browser.until("size 1x1")


@pytest.mark.parametrize("width", ["", "x", "-1", "1e9", "9" * 5000], ids=["empty", "x", "minus", "float", "huge"])
async def test_a_size_that_is_none(server: Served, width: str) -> None:
    async with opened(server, width, 24) as browser:
        await browser.until("size 1x24")


async def test_a_page_that_goes_takes_its_process_along(server: Served) -> None:
    async with opened(server) as browser:
        pid = await process_of(browser)
        assert lives(pid)
    await until(lambda: not lives(pid) and server.serving.sessions == 0)


async def test_a_socket_that_breaks_takes_its_process_along(server: Served) -> None:
    async with opened(server) as browser:
        pid = await process_of(browser)
        browser.socket.get_extra_info("socket").shutdown(socket.SHUT_RDWR)
        await until(lambda: not lives(pid))
    await until(lambda: server.serving.sessions == 0)


async def test_an_app_that_ends_hangs_up(server: Served) -> None:
    async with opened(server) as browser:
        pid = await process_of(browser)
        await browser.say("stdin", "q")
        assert "tinytui:" not in await browser.until_closed()
        await until(lambda: not lives(pid))


async def test_a_bug_is_told_in_a_line_that_drives_no_terminal(server: Served) -> None:
    async with opened(server) as browser:
        await browser.until("pid ")
        await browser.say("stdin", "!")
        said = await browser.until_closed()
        assert said.startswith("tinytui: the workbench broke off: a bug in the plain app")
        assert said.endswith("]0;x")  # what would have set the title is letters


async def test_only_the_terminal_is_handed_on(server: Served) -> None:
    async with opened(server) as browser:
        await browser.until("pid ")
        await browser.say("stdin", "l")
        said = await browser.until("keys <>")
        assert "evil" not in said and "passwd" not in said and browser.words == []


async def test_a_packet_without_end_ends_it(server: Served) -> None:
    async with opened(server) as browser:
        await browser.until("pid ")
        await browser.say("stdin", "L")
        assert "broke off" in await browser.until_closed()


async def test_a_page_that_does_not_read_keeps_nothing_waiting() -> None:
    with served(Limits(ending=0.3)) as server:
        async with opened(server) as other, opened(server) as slow:
            pid = await process_of(slow)
            before = memory()
            await slow.say("stdin", "m")  # draws without end, and listens no more
            for number in range(50):
                await other.say("stdin", "x")
                await other.until(f"keys <{'x' * (number + 1)}>")
            assert memory() - before < 50_000_000
            connection = slow.socket._response.connection
            assert connection is not None and connection.transport is not None
            connection.transport.abort()
            await until(lambda: not lives(pid))


async def test_a_process_that_is_killed_is_told(server: Served) -> None:
    async with opened(server) as browser:
        os.kill(await process_of(browser), signal.SIGKILL)
        assert "the workbench broke off: exit code -9" in await browser.until_closed()


async def test_an_app_that_hangs_is_ended_by_force() -> None:
    with served(Limits(ending=0.2)) as server:
        async with opened(server) as browser:
            pid = await process_of(browser)
            await browser.say("stdin", "z")
        await until(lambda: not lives(pid))


@pytest.mark.parametrize(
    ("how", "told"),
    [
        ("broken", "tinytui: the workbench could not be opened: this app cannot be opened"),
        ("silent", "tinytui: the workbench did not open within 0 seconds"),
        ("chatty", "tinytui: the workbench could not be opened"),
    ],
)
async def test_an_app_that_does_not_open(how: str, told: str) -> None:
    with served(Limits(opening=WAIT if how == "broken" else 0.3, ending=0.1), how) as server:
        async with opened(server) as browser:
            assert told in await browser.until_closed()


async def test_nothing_typed_for_long_ends_it(monkeypatch: pytest.MonkeyPatch) -> None:
    # signs of life come more often than that, and one that is late ends nothing
    monkeypatch.setattr(aiohttp.web.WebSocketResponse, "_pong_not_received", lambda _: None)
    with served(Limits(idle=0.5, heartbeat=0.1)) as server:
        async with opened(server) as browser:
            assert "nothing was typed" in await browser.until_closed()
            await until(lambda: server.serving.sessions == 0)


@pytest.mark.parametrize(
    "message",
    [
        "",
        "x",
        "{}",
        "[]",
        "null",
        '["stdin"]',
        '["stdin", 5]',
        '["stdin", "a", "b"]',
        '["quit"]',
        '["resize", {"width": "80", "height": 24}]',
        '["resize", {"width": 80}]',
        '["resize", {"width": 1e9, "height": 24}]',
        '["deliver_chunk_request", {}]',
        "[" * 100_000,
    ],
)
async def test_what_no_page_says_ends_it(server: Served, message: str) -> None:
    async with opened(server) as browser:
        await browser.socket.send_str(message)
        assert "said what it never says" in await browser.until_closed()
    await until(lambda: server.serving.sessions == 0)


async def test_bytes_and_broken_text_end_it(server: Served) -> None:
    async with opened(server) as browser:
        await browser.socket.send_bytes(b'["stdin", "a"]')
        assert "said what it never says" in await browser.until_closed()
    async with opened(server) as browser:
        await browser.until("pid ")
        await browser.say("stdin", "\ud800")  # half a character: JSON can carry it, UTF-8 cannot
        await browser.say("stdin", "x")
        await browser.until("x>")


def masked(head: bytes) -> bytes:
    return head + bytes(4)  # a mask of zeros


@pytest.mark.parametrize("pieces", [1, 2000], ids=["whole", "in pieces"])
async def test_a_message_of_a_hundred_megabytes(server: Served, pieces: int) -> None:
    size = 100_000_000
    async with opened(server) as browser:
        pid = await process_of(browser)
        raw: socket.socket = browser.socket.get_extra_info("socket")
        other = socket.socket(fileno=os.dup(raw.fileno()))
        other.setblocking(True)
        other.settimeout(WAIT)
        before = memory()

        def flood() -> int:
            sent, piece = 0, b" " * (size // 2000)
            try:
                if pieces == 1:
                    other.sendall(masked(b"\x81\xff" + struct.pack(">Q", size)))
                for number in range(2000):
                    if pieces > 1:
                        head = bytes([0x01 if number == 0 else 0x00, 0xFF])
                        other.sendall(masked(head + struct.pack(">Q", len(piece))))
                    other.sendall(piece)
                    sent += len(piece)
            except OSError:
                pass
            return sent

        sent = await asyncio.to_thread(flood)
        other.close()
        await browser.until_closed()
        assert sent < 30_000_000  # what the two ends' buffers hold, and no more
        assert memory() - before < 50_000_000
        await until(lambda: not lives(pid))
    await until(lambda: server.serving.sessions == 0)


def memory() -> int:
    """Bytes of this process, in which the server is."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


async def test_a_message_just_too_large_and_one_just_not(server: Served) -> None:
    async with opened(server) as browser:
        await browser.until("pid ")
        await browser.say("stdin", "x" * 200_000)
        await browser.until(f"keys <{'x' * 200_000}>")
        await browser.say("stdin", "x" * Limits().message)
        await browser.until_closed()
        assert browser.closed_with == aiohttp.WSCloseCode.MESSAGE_TOO_BIG


async def test_a_hundred_sockets() -> None:
    most = 3
    with served(Limits(sessions=most, waiting=100)) as server:
        began = len(children_of(os.getpid()))
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as client:
            address = f"{server.url}ws?width=80&height=24"
            came_in = await asyncio.gather(*(client.ws_connect(address, origin=server.origin) for _ in range(100)))
            texts = await asyncio.gather(*(Browser(connection).until(" ") for connection in came_in))
            assert sum("pid " in each for each in texts) == most
            assert sum("3 sessions are open already" in each for each in texts) == 100 - most
            assert server.serving.sessions == most
            assert len(children_of(os.getpid())) - began <= most
        await until(lambda: server.serving.sessions == 0)


@pytest.mark.parametrize("may_train", [False, True])
async def test_who_is_in_a_hurry_waits_for_nothing(may_train: bool) -> None:
    gate, listening = Gate(new_token(), names_of("127.0.0.1")), listen("127.0.0.1", 0)
    limits, app = Limits(ending=WAIT, saving=WAIT), [sys.executable, "-S", PLAIN]
    serving = Serving(gate, limits, app, listening, may_train=may_train, report=pytest.fail)
    await serving.__aenter__()
    async with opened_at(link(listening, "127.0.0.1", gate.token)) as browser:
        pid = await process_of(browser)
        await browser.say("stdin", "z")  # hangs
        await browser.say("ping", "heard")
        await browser.until_told("heard")
        ending = asyncio.create_task(serving.__aexit__())
        await browser.until_closed()
        assert not ending.done() and lives(pid)
        serving.hurry()
        await asyncio.wait_for(ending, WAIT)
    if may_train:  # it may be writing a checkpoint, and ends by itself
        assert lives(pid)
        os.kill(pid, signal.SIGKILL)
    await until(lambda: not lives(pid))
