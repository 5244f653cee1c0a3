"""`tinytui serve` as a user has it: the link, the real workbench, what it may not, and the end."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from serve_for_tests import WAIT, Served, answer_of, children_of, command, invoke, opened_at, served, until

from engine.errors import UserError
from tui.serve import assets


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[subprocess.Popen[str], dict[str, Any], Path]]:
    folder = tmp_path_factory.mktemp("served")
    with command(folder, "--port", "0") as (process, told):
        yield process, told, folder


async def test_the_workbench_opens_and_only_looks(running: tuple[subprocess.Popen[str], dict[str, Any], Path]) -> None:
    process, told, folder = running
    assert told["url"].startswith(f"http://127.0.0.1:{told['port']}/")
    assert told["allow_control"] is False
    before = sorted(folder.rglob("*"))
    async with opened_at(told["url"]) as browser:
        await browser.until("Train a small GPT")
        await browser.say("stdin", "\r")  # train a first model now
        await browser.until("only looks")
        await browser.say("stdin", "r")
        await browser.until("no runs yet")
    await until(lambda: not children_of(process.pid))
    assert sorted(folder.rglob("*")) == before


def test_without_the_token_nothing(running: tuple[subprocess.Popen[str], dict[str, Any], Path]) -> None:
    _, told, _ = running
    assert answer_of(told["port"], "/", f"Host: 127.0.0.1:{told['port']}")[0] == 403


async def test_an_end_takes_all_along(tmp_path: Path) -> None:
    with command(tmp_path, "--port", "0") as (process, told):
        async with opened_at(told["url"]) as browser:
            await browser.until("Train a small GPT")
            children = children_of(process.pid)
            assert len(children) == 1
            process.send_signal(signal.SIGINT)
            assert "tinytui serve has ended" in await browser.until_closed()
        assert process.wait(WAIT) == 0
        assert process.stderr is not None
        assert process.stderr.read() == "tinytui: the browser's side has ended\n"
        assert not any(Path(f"/proc/{child}").exists() for child in children)


def test_elsewhere_than_loopback_it_wants_the_token_too() -> None:
    with served(host="0.0.0.0", names=("box.example",)) as server:
        assert server.url == f"http://{socket.gethostname()}:{server.port}/{server.token}/"
        for host in (f"127.0.0.1:{server.port}", f"{socket.gethostname()}:{server.port}", "box.example"):
            assert server.ask("/", f"Host: {host}")[0] == 403
            assert server.ask(f"/{server.token}/", f"Host: {host}")[0] == 200
        assert server.ask(f"/{server.token}/", "Host: evil.example")[0] == 403


def test_a_port_that_is_taken(server: Served) -> None:
    code, said = invoke("serve", "--port", str(server.port))
    assert (code, said) == (
        1,
        f"tinytui: port {server.port} of 127.0.0.1 is taken; choose another with --port, 0 for any that is free\n",
    )


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("--host", "192.0.2.1"), 1, "is no address of this machine; choose one that is with --host"),
        (("--host", "no such name"), 1, "is no address; choose one of this machine's with --host"),
        (("--port", "70000"), 2, "--port"),
        (("--sessions", "0"), 2, "--sessions"),
        (("--no-token",), 2, "no such option"),
    ],
)
def test_what_cannot_be_is_told_in_a_line(arguments: tuple[str, ...], code: int, said: str) -> None:
    found, told = invoke("serve", *arguments)
    assert (found, told.count("\n")) == (code, 1), told
    assert said in told


def test_a_port_that_is_not_for_everybody() -> None:
    from tui.serve.run import _why_not

    assert "choose one above 1023" in _why_not(PermissionError(13, "Permission denied"), "127.0.0.1", 80)


@pytest.mark.parametrize("module", ["aiohttp", "textual_serve"])
def test_the_extra_is_missing(module: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.startswith("tui.serve")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, module, None)
    code, told = invoke("serve", "--port", "0")
    assert (code, told.count("\n")) == (1, 1)
    assert "pip install 'tinytui[serve]'" in told


def test_another_textual_serve_than_expected(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(assets._OF_TEXTUAL, "textual.js", ("js/of_another_version.js", "text/javascript"))
    with pytest.raises(UserError, match=r"textual-serve 1\.1; pip install 'tinytui\[serve\]'"):
        assets.load_assets()
