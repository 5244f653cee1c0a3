"""The workbench in a real browser: what a person sees, a key, a page of its own size, the end and the way back."""

from __future__ import annotations

import asyncio
import os
import re
import zlib
from pathlib import Path

import pytest
from chromium_for_tests import BINARY, WAIT, chromium
from serve_for_tests import children_of, command, until

pytestmark = [
    pytest.mark.skipif(BINARY is None, reason="there is no Chromium here: apt-get install chromium"),
    pytest.mark.skipif(os.environ.get("FAULTS") != "whole", reason="a browser takes its time; make faults"),
]


DRAWN = "document.body?.classList.contains('-first-byte') && !document.body.classList.contains('-closed')"
CELL = 9
"""Pixels of a letter's width."""


async def test_the_workbench_in_a_browser(tmp_path: Path) -> None:
    with command(tmp_path, "--port", "0") as (process, told):
        async with chromium(tmp_path / "profile") as page:
            await page.open(told["url"])
            await page.until_value(DRAWN)
            await page.until("Train a small GPT")
            await page.until("r runs")  # its keys are a picture of their own
            assert colours(await page.picture()) > 20  # drawn, not only held
            await page.press("r")
            await page.until("no runs yet")
            await page.press("?")
            await page.until("help · runs")
            await page.press("q")
            await page.call(
                "Emulation.setDeviceMetricsOverride", width=720, height=500, deviceScaleFactor=1, mobile=False
            )
            async with asyncio.timeout(WAIT):
                while not framed(await page.text(), 720 // CELL):
                    await asyncio.sleep(0.1)
            await page.press("q")
            await page.until_value("document.body.classList.contains('-closed')")
            await until(lambda: not children_of(process.pid))
            await page.value("document.querySelector('#over button').click()")
            await page.until_value(DRAWN)
            await page.until("Train a small GPT")
            assert page.complaints == []
            assert {
                url.partition("/")[0] + url.split("/")[2] for url in page.requested if not url.startswith("data:")
            } == {f"http:127.0.0.1:{told['port']}"}
            assert await page.value("document.cookie") == ""
        await until(lambda: not children_of(process.pid))


def framed(shown: str, columns: int) -> bool:
    """Whether there is a frame as wide as `columns`; lines that the terminal holds for wrapped are copied as one."""
    return any(len(each) == columns for each in re.findall("╭[^╮]*╮", shown))


def colours(png: bytes) -> int:
    """How many different rows of pixels a picture has: one of a single colour has one or two."""
    data, place = b"", 8
    while place < len(png):
        size, kind = int.from_bytes(png[place : place + 4], "big"), png[place + 4 : place + 8]
        data += png[place + 8 : place + 8 + size] if kind == b"IDAT" else b""
        width = int.from_bytes(png[16:20], "big")
        place += 12 + size
    pixels = zlib.decompress(data)
    row = 1 + width * (4 if png[25] == 6 else 3)
    return len({pixels[start : start + row] for start in range(0, len(pixels), row)})
