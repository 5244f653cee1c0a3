"""A headless Chromium, led over its debugging protocol: a page, keys, the mouse, and what a person would see of it."""

from __future__ import annotations

import asyncio
import base64
import json
import shutil
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp

BINARY = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
WAIT = 60.0

FLAGS = (
    "--headless=new",
    "--no-sandbox",  # tests may run as root
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-dev-shm-usage",
    "--disable-extensions",
    "--disable-sync",
    "--enable-unsafe-swiftshader",  # WebGL without a GPU
    "--hide-scrollbars",
    "--remote-debugging-port=0",
    "--use-angle=swiftshader",
    "--window-size=1000,600",
)

SHIFT = 8


class Page:
    """The one page of a Chromium."""

    def __init__(self, connection: aiohttp.ClientWebSocketResponse) -> None:
        self._connection = connection
        self._answers: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self._number = 0
        self.complaints: list[str] = []
        """Errors of scripts, refusals of the content policy, and requests that failed."""
        self.requested: list[str] = []
        self._listening = asyncio.create_task(self._listen())

    async def _listen(self) -> None:
        async for message in self._connection:
            told = json.loads(message.data)
            match told:
                case {"id": int(number)}:
                    self._answers.pop(number).set_result(told)
                case {"method": "Runtime.exceptionThrown", "params": {"exceptionDetails": details}}:
                    self.complaints.append(str(details))
                case {"method": "Log.entryAdded", "params": {"entry": {"level": "error", **entry}}}:
                    self.complaints.append(str(entry))
                case {"method": "Network.requestWillBeSent", "params": {"request": {"url": str(url)}}}:
                    self.requested.append(url)

    async def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        self._number += 1
        answer = self._answers[self._number] = asyncio.get_running_loop().create_future()
        await self._connection.send_json({"id": self._number, "method": method, "params": parameters})
        told = await asyncio.wait_for(answer, WAIT)
        assert "error" not in told, told
        result: dict[str, Any] = told["result"]
        return result

    async def value(self, expression: str) -> Any:
        """The value of a JavaScript expression."""
        told = await self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in told, told
        return told["result"].get("value")

    async def open(self, url: str) -> None:
        for domain in ("Page", "Runtime", "Log", "Network"):
            await self.call(f"{domain}.enable")
        await self.call("Page.navigate", url=url)

    async def press(self, key: str) -> None:
        """A key with a character."""
        await self.call("Input.dispatchKeyEvent", type="keyDown", key=key, text=key)
        await self.call("Input.dispatchKeyEvent", type="keyUp", key=key)

    async def text(self) -> str:
        """What the terminal shows: all of it selected with the mouse, and copied."""
        box = await self.value("(() => { const b = document.querySelector('.xterm-screen')?.getBoundingClientRect();"
                               " return b ? [b.left, b.top, b.right, b.bottom] : null })()")  # fmt: skip
        if box is None:
            return ""
        left, top, right, bottom = box
        mouse = {"button": "left", "buttons": 1, "clickCount": 1, "modifiers": SHIFT}
        await self.call("Input.dispatchMouseEvent", type="mousePressed", x=left + 1, y=top + 1, **mouse)
        await self.call("Input.dispatchMouseEvent", type="mouseMoved", x=right - 1, y=bottom - 1, **mouse)
        await self.call("Input.dispatchMouseEvent", type="mouseReleased", x=right - 1, y=bottom - 1, **mouse)
        copied = await self.value(
            "(() => { const event = new ClipboardEvent('copy', {clipboardData: new DataTransfer(), bubbles: true});"
            " document.querySelector('.xterm-helper-textarea').dispatchEvent(event);"
            " return event.clipboardData.getData('text/plain') })()"
        )
        return str(copied)

    async def until(self, text: str) -> str:
        """Wait until `text` is on the terminal, and return all that is."""
        shown = ""
        try:
            async with asyncio.timeout(WAIT):
                while text not in (shown := await self.text()):
                    await asyncio.sleep(0.2)
        except TimeoutError:
            raise AssertionError(f"{text!r} never came; shown: {shown!r}; complaints: {self.complaints}") from None
        return shown

    async def until_value(self, expression: str) -> None:
        """Wait until a JavaScript expression is true."""
        async with asyncio.timeout(WAIT):
            while not await self.value(expression):
                await asyncio.sleep(0.1)

    async def picture(self) -> bytes:
        """The page as PNG."""
        return base64.b64decode((await self.call("Page.captureScreenshot", format="png"))["data"])


@asynccontextmanager
async def chromium(profile: Path) -> AsyncIterator[Page]:
    """A Chromium with nothing in it, ended with the block."""
    assert BINARY is not None
    process = subprocess.Popen(
        [BINARY, *FLAGS, f"--user-data-dir={profile}", "about:blank"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        async with asyncio.timeout(WAIT):
            while not (told := profile / "DevToolsActivePort").exists() or not told.read_text().count("\n"):
                assert process.poll() is None, f"Chromium ended with {process.returncode}"
                await asyncio.sleep(0.05)
        port = int(told.read_text().splitlines()[0])
        async with aiohttp.ClientSession() as client:
            async with client.get(f"http://127.0.0.1:{port}/json") as answer:
                pages = [each for each in await answer.json() if each["type"] == "page"]
            async with client.ws_connect(pages[0]["webSocketDebuggerUrl"], max_msg_size=0) as connection:
                yield Page(connection)
    finally:
        process.terminate()
        try:
            process.wait(60)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
