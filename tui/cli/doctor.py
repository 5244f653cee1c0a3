"""`tinytui doctor`: what works here, and what to do about what does not."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import typer

from tui.cli.options import CorporaDir, Json, RunsDir
from tui.cli.output import console, is_terminal, one_line, print_json

State = Literal["ok", "warn", "fail"]
MARKS: dict[State, tuple[str, str]] = {"ok": ("ok  ", "green"), "warn": ("warn", "yellow"), "fail": ("fail", "red")}


@dataclass(frozen=True)
class Check:
    """One line of the doctor: `advice` says what to do when the state is not ok."""

    name: str
    state: State
    found: str
    advice: str = ""


def doctor(runs: RunsDir = Path("runs"), corpora: CorporaDir = None, as_json: Json = False) -> None:
    """What works here, and what to do about what does not."""
    checks = [*machine(), *terminal(), *folders(runs, corpora)]
    if as_json:
        print_json([asdict(check) for check in checks])
    else:
        from rich.text import Text

        screen = console()
        for check in checks:
            mark, colour = MARKS[check.state]
            screen.print(Text.assemble((mark, colour), "  ", (f"{check.name:<10}", "dim"), one_line(check.found)))
            if check.advice:
                screen.print(Text(f"                  {check.advice}"), soft_wrap=True)
    if any(check.state == "fail" for check in checks):
        raise typer.Exit(1)


def machine() -> Iterator[Check]:
    """Python, torch and the device it would train on."""
    from engine.machine import usable_threads
    from tui.text import fmt_bytes

    version = ".".join(map(str, sys.version_info[:3]))
    yield Check("python", "ok" if sys.version_info >= (3, 11) else "fail", f"{version} at {sys.executable}")
    try:
        import torch
    except ImportError as error:
        yield Check("torch", "fail", f"cannot be imported: {error}", "pip install torch")
        return
    yield Check("torch", "ok", f"{torch.__version__}, {torch.get_num_threads()} threads of {usable_threads()} cores")
    if torch.cuda.is_available():
        for index in range(torch.cuda.device_count()):
            device = torch.cuda.get_device_properties(index)
            yield Check("device", "ok", f"cuda:{index} {device.name}, {fmt_bytes(device.total_memory)}")
    elif torch.version.cuda:
        yield Check("device", "warn", "CPU", "torch is built for CUDA but finds no GPU: see nvidia-smi")
    else:
        yield Check("device", "ok", "CPU (this torch is built without CUDA)")
    import psutil

    memory = psutil.virtual_memory()
    short = memory.available < 1 << 30
    yield Check(
        "memory",
        "warn" if short else "ok",
        f"{fmt_bytes(memory.available)} free of {fmt_bytes(memory.total)}",
        "close something, or train with a smaller train.batch_size" if short else "",
    )


def terminal() -> Iterator[Check]:
    """Where the workbench would open: size, colours, Unicode, mouse, link."""
    term = os.environ.get("TERM", "")
    if not (is_terminal() and is_terminal(sys.stdin)):
        yield Check("terminal", "warn", "none on stdin and stdout", "the workbench needs one; everything else works")
    else:
        columns, rows = shutil.get_terminal_size()
        roomy = columns >= 80 and rows >= 24
        advice = "" if roomy else "80x24 shows all tabs, 120 columns the whole screen"
        yield Check("terminal", "ok" if roomy else "warn", f"{columns}x{rows}, TERM={term or 'unset'}", advice)
    if term in ("", "dumb"):
        yield Check("term", "warn", f"TERM={term or 'unset'}", "export TERM=xterm-256color")
    yield colours(term)
    encoding = (sys.stdout.encoding or "").lower().replace("-", "")
    yield Check(
        "unicode",
        "ok" if encoding == "utf8" else "warn",
        sys.stdout.encoding or "unknown",
        "" if encoding == "utf8" else "export LC_ALL=C.UTF-8 for borders and curves",
    )
    multiplexer = "tmux" if os.environ.get("TMUX") else "screen" if term.startswith("screen") else ""
    yield Check(
        "mouse",
        "ok",
        f"through {multiplexer}" if multiplexer else "reported by any xterm-like terminal",
        "tmux: set -g mouse on" if multiplexer == "tmux" else "",
    )
    remote = os.environ.get("SSH_CONNECTION", "")
    link = f"SSH from {remote.split()[0]}" if remote.split() else "local"
    yield Check("link", "ok", link + ("; a dropped connection stops no training" if remote else ""))


def colours(term: str) -> Check:
    """How many colours the terminal says it has."""
    if os.environ.get("NO_COLOR"):
        return Check("colours", "ok", "off (NO_COLOR is set)")
    if os.environ.get("COLORTERM", "").lower() in ("truecolor", "24bit"):
        return Check("colours", "ok", "16 million")
    if "256color" in term or "direct" in term:
        return Check("colours", "ok", "256 (COLORTERM=truecolor, where the terminal has them, shows finer shades)")
    return Check("colours", "warn", "16 at most", "export TERM=xterm-256color, where the terminal is one")


def folders(runs: Path, corpora: Path | None) -> Iterator[Check]:
    """Room for runs, the cache of tokens, and the corpora that are there."""
    from engine.errors import UserError
    from engine.folders import cache_dir
    from engine.text.catalog import list_corpora

    yield room("runs", runs)
    yield room("cache", cache_dir())
    try:
        found = list_corpora(corpora)
    except UserError as error:
        yield Check("corpora", "fail", str(error))
        return
    names = ", ".join(corpus.name for corpus in found)
    advice = "" if found else "any text file works: tinytui train my.txt"
    yield Check("corpora", "ok" if found else "warn", names or "none found", advice)


def room(name: str, folder: Path) -> Check:
    """Whether `folder` can be written (or made) and has space."""
    from tui.text import fmt_bytes

    existing = next(path for path in [folder.absolute(), *folder.absolute().parents] if path.exists())
    if not existing.is_dir():
        return Check(name, "fail", str(folder), f"{existing} is a file: choose another folder")
    if not os.access(existing, os.W_OK | os.X_OK):
        return Check(name, "fail", str(folder), f"{existing} cannot be written: choose another folder")
    free = shutil.disk_usage(existing).free
    full = free < 1 << 30
    advice = "less than 1 GiB: training waits when nothing more fits" if full else ""
    return Check(name, "warn" if full else "ok", f"{folder} ({fmt_bytes(free)} free)", advice)
