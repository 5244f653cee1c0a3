"""Terminals of every kind and size: the workbench starts, draws, quits, and leaves them as they were."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.faults.conftest import Campaign
from tests.faults.sessions import ROOT
from tests.terminal import Terminal, modes, new_modes

Make = Callable[..., Campaign]

TERMS = ("dumb", "linux", "screen", "tmux-256color", "vt100", "xterm-16color", "xterm-256color")
LOCALES: dict[str, dict[str, str]] = {
    "as it is": {},
    "NO_COLOR": {"NO_COLOR": "1"},
    "LANG=C": {"LANG": "C", "LC_ALL": "C", "LC_CTYPE": "C"},
    "in tmux": {},
}
SIZES = [(140, 40), (80, 24), (40, 10), (1, 1), (400, 150)]


def environment(place: Path, **more: str) -> dict[str, str]:
    own = {"XDG_CONFIG_HOME": str(place), "XDG_DATA_HOME": str(place), "TINYTUI_CACHE": str(place / "cache")}
    return {**own, "PYTHONPATH": str(ROOT), **more}


def workbench(place: Path) -> list[str]:
    return [sys.executable, "-m", "tui.cli", "--runs", str(place / "runs")]


def left_as_it_was(terminal: Terminal) -> None:
    raw = bytes(terminal.raw)
    assert b"Traceback" not in raw, terminal.text
    assert modes(terminal.fd) == new_modes()
    for on, off in ((b"\x1b[?1049h", b"\x1b[?1049l"), (b"\x1b[?25l", b"\x1b[?25h"), (b"\x1b[?1000h", b"\x1b[?1000l")):
        assert raw.rfind(on) <= raw.rfind(off), (on, off)


def tmux_runs_in(term: str) -> bool:
    """Whether tmux is here and knows the terminal; of a dumb one it wants more."""
    if term == "dumb" or shutil.which("tmux") is None or shutil.which("infocmp") is None:
        return False
    return subprocess.run(["infocmp", term], capture_output=True, check=False).returncode == 0


def test_every_kind_of_terminal(campaign: Make, tmp_path: Path) -> None:
    cells = [(term, locale) for term in TERMS for locale in LOCALES if locale != "in tmux" or tmux_runs_in(term)]
    cells = random.Random(3).sample(cells, len(cells))
    promise = campaign(
        "the workbench starts, draws and quits in a terminal of any kind, and leaves it as it was",
        quick=3,
        whole=len(cells),
    )
    for number in promise:
        term, locale = cells[number]
        with promise.trial(f"TERM={term}, {locale}"):
            place = tmp_path / str(number)
            place.mkdir()
            command, given = workbench(place), environment(place, **LOCALES[locale])
            if locale == "in tmux":
                socket = f"tinytui-{os.getpid()}-{number}"
                command = ["tmux", "-u", "-L", socket, "-f", "/dev/null", "new-session", *command]
                given["TMUX"] = ""
            with Terminal(command, columns=100, rows=30, env=given, cwd=place, term=term) as terminal:
                terminal.wait("first model", 40)
                terminal.key("?")
                terminal.wait("train a new model", 20)
                terminal.key("escape")
                terminal.gone("train a new model", 20)
                terminal.key("q")
                assert terminal.wait_exit(30) == 0
                terminal.read_rest()
                left_as_it_was(terminal)


@pytest.mark.parametrize("way", ["one by one", "in a flood"])
def test_resizes(campaign: Make, tmp_path: Path, way: str) -> None:
    promise = campaign(
        f"a terminal of any size is drawn on, and another size at any moment ({way})", quick=12, whole=200
    )
    chance = random.Random(way)
    with Terminal(workbench(tmp_path), env=environment(tmp_path), cwd=tmp_path, forked=True) as terminal:
        terminal.wait("first model", 40)
        for number in promise:
            size = SIZES[number] if number < len(SIZES) else (chance.randint(1, 400), chance.randint(1, 150))
            with promise.trial(f"{size[0]}x{size[1]}"):
                terminal.resize(*size)
                terminal.signal(signal.SIGWINCH)
                if way == "one by one":
                    terminal.pump(0.05)
                    assert terminal.open and b"Traceback" not in terminal.raw, terminal.text
        terminal.resize(100, 30)
        terminal.wait("first model", 40)
        terminal.key("q")
        assert terminal.wait_exit(30) == 0
        terminal.read_rest()
        left_as_it_was(terminal)
