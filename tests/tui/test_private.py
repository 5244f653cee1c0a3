"""What the terminal's side leans on inside Textual is there, and without it Textual's own driver draws."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from textual import _compositor
from textual.app import App
from textual.drivers._writer_thread import WriterThread
from textual.drivers.linux_driver import LinuxDriver

from tui.app import Workbench
from tui.terminal import private

GONE = {
    "textual._compositor": (_compositor, "ChopsUpdate"),
    "textual.drivers._writer_thread": (WriterThread, "write"),
    "textual.drivers.linux_driver": (LinuxDriver, "_enable_mouse_support"),
    "textual.app": (App, "_display"),
}


@pytest.mark.parametrize("part", private.PARTS)
def test_each_part_is_there(part: str) -> None:
    assert private.PARTS[part]()


@pytest.mark.parametrize("where", ["textual.drivers._writer_thread", "textual.drivers.linux_driver", "textual.app"])
def test_what_is_gone_is_named(where: str, monkeypatch: pytest.MonkeyPatch) -> None:
    owner, name = GONE[where]
    monkeypatch.delattr(owner, name)
    assert {each.partition(":")[0] for each in private.missing()} == {where}


async def test_without_a_part_the_screen_is_textual_s_own_and_right(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(private.PARTS, "textual.app: App._display with _running, _closed, _batch_count", lambda: False)
    app = Workbench(tmp_path)
    assert not app.narrows and app.driver_class is not None and app.driver_class.__module__.startswith("textual.")
    async with app.run_test(size=(80, 24)) as pilot:
        drawn = lambda: "".join(strip.text for strip in app.screen._compositor.render_strips())  # noqa: E731
        async with asyncio.timeout(60):
            while "train a first model" not in drawn():
                await pilot.pause(0.02)
