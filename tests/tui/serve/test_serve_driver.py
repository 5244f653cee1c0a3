"""A Textual app behind the browser's driver: it draws, hears, and ends when its page or its server has gone."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator

import pytest
from serve_for_tests import TINY, Served, lives, opened, process_of, served, until

from tui.serve.limits import Limits
from tui.serve.process import environment
from tui.serve.protocol import PRELUDE, packet


@pytest.fixture(scope="module")
def server() -> Iterator[Served]:
    with served(Limits(ending=1.0), app=TINY) as each:
        yield each


async def test_it_draws_and_hears(server: Served) -> None:
    async with opened(server, 70, 20) as browser:
        await browser.resize(90, 30)  # before it has drawn at all: the later size counts
        pid = await process_of(browser)
        await browser.until("size 90x30")
        await browser.say("stdin", "aé")
        await browser.until("keys <aé>")
        await browser.say("stdin", "\x1b[A")
        await browser.until("[up]")
        await browser.say("stdin", "z")  # hangs, so that neither the word nor the end of stdin reach it
    await until(lambda: not lives(pid))


async def test_it_ends_with_its_page(server: Served) -> None:
    async with opened(server) as browser:
        pid = await process_of(browser)
    await until(lambda: not lives(pid))


async def test_it_ends_with_its_server() -> None:
    process = subprocess.Popen(
        [sys.executable, TINY],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=environment(os.environ, 80, 24),
    )
    assert process.stdin is not None and process.stdout is not None
    try:
        assert process.stdout.readline() == PRELUDE
        process.stdin.write(packet(b"D", b"ab"))
        process.stdin.close()  # as the kernel closes it when the server is killed
        process.stdout.close()
        assert process.wait(60) == 0
    finally:
        process.send_signal(signal.SIGKILL)
