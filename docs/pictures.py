"""Take the pictures of the README and docs from the running program.

    python docs/pictures.py [--only NAME]

Each picture is a real run in a real pseudo-terminal, saved as SVG.
"""

from __future__ import annotations

import argparse
import io
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from itertools import groupby
from pathlib import Path

from rich.console import Console
from rich.style import Style
from rich.text import Text

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))

from tests.terminal import Terminal  # noqa: E402

TINYTUI = [sys.executable, "-m", "tui.cli"]


def to_svg(terminal: Terminal, title: str) -> str:
    """The screen as it stands."""
    out = Console(
        record=True, width=terminal.columns, file=io.StringIO(), force_terminal=True, color_system="truecolor"
    )
    for y in range(terminal.rows):
        cells = [cell for x in range(terminal.columns) if (cell := terminal.screen.buffer[y][x]).data]
        line = Text(no_wrap=True, overflow="crop")
        # a word at a time: each begins where its cell is, whatever font draws it
        for (*look, _), run in groupby(cells, lambda c: (c.fg, c.bg, c.bold, c.italics, c.reverse, c.data == " ")):
            front, back, bold, italic, reverse = look
            style = Style(color=colour(front), bgcolor=colour(back), bold=bold, italic=italic, reverse=reverse)
            line.append("".join(cell.data for cell in run), style)
        out.print(line)
    return out.export_svg(title=title)


def colour(name: str) -> str | None:
    if name == "default":
        return None
    is_hex = len(name) == 6 and all(digit in "0123456789abcdefABCDEF" for digit in name)
    return f"#{name}" if is_hex else name.replace("bright", "bright_").replace("brown", "yellow")


def until_step(terminal: Terminal, runs: str, step: int) -> None:
    """Let the demo in `runs` train to `step`; the screen is read, but not looked at, which would slow training down."""
    done = 0
    while done < step:
        terminal.pump(0.5)
        for status in Path(runs).glob("soap-notes-nano-1/status.json"):
            done = int(json.loads(status.read_text()).get("step", 0))


def workbench(runs: str, columns: int, rows: int, *words: str) -> Terminal:
    place = Path(runs)
    env = {"XDG_CONFIG_HOME": runs, "PYTHONPATH": str(HERE.parent)}
    command = [*TINYTUI, "--runs", place.name, *words]  # no folder of this machine in a picture
    return Terminal(command, columns=columns, rows=rows, env=env, cwd=place.parent)


def rest(terminal: Terminal, seconds: float = 1.5) -> None:
    """Let what was asked for be read, reckoned and drawn."""
    terminal.pump(seconds)


def tour(runs: str) -> Iterator[tuple[str, Terminal]]:
    """The demo and a few small runs, seen from every screen."""
    for preset, steps in (("bigram", 400), ("single-head", 400), ("nanogpt-char-cpu", 300)):
        words = ["--preset", preset, "--steps", str(steps), "--set", "train.sample_tokens=60"]
        subprocess.run([*TINYTUI, "--runs", runs, "train", "soap-notes", *words], check=True, capture_output=True)
    with workbench(runs, 140, 40, "demo") as terminal:
        terminal.wait("training", 60)
        until_step(terminal, runs, 1000)
        yield "train", terminal
        until_step(terminal, runs, 1700)  # by then the demo has asked its example by itself
        terminal.key("2")
        rest(terminal, 3.0)
        terminal.key("tab")
        for _ in range(8):
            terminal.key("right")
        rest(terminal)
        yield "prompt", terminal
        terminal.key("3")
        rest(terminal)
        yield "samples", terminal
        terminal.key("4")
        rest(terminal)
        for _ in range(3):
            terminal.key(" ")
        rest(terminal, 3.0)
        yield "runs", terminal
        terminal.key("5")
        rest(terminal, 8.0)
        yield "inspect", terminal


def corpora(runs: str) -> Iterator[tuple[str, Terminal]]:
    with workbench(runs, 140, 40) as terminal:
        terminal.wait("tinytui")
        rest(terminal)
        terminal.key("6")
        rest(terminal, 8.0)
        yield "corpora", terminal


def small(runs: str) -> Iterator[tuple[str, Terminal]]:
    with workbench(runs, 80, 24, "demo") as terminal:
        terminal.wait("training", 60)
        until_step(terminal, runs, 600)
        yield "train-80x24", terminal


def start(runs: str) -> Iterator[tuple[str, Terminal]]:
    """The first start, and the form of a new run."""
    with workbench(runs, 100, 30) as terminal:
        terminal.wait("tinytui")
        rest(terminal)
        yield "welcome", terminal
        terminal.key("n")
        terminal.wait("(measured", 60)
        rest(terminal)
        yield "new-run", terminal


PICTURES: dict[str, Callable[[str], Iterator[tuple[str, Terminal]]]] = {
    "tour": tour,
    "corpora": corpora,
    "small": small,
    "start": start,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", choices=PICTURES, action="append")
    for name in parser.parse_args().only or PICTURES:
        with tempfile.TemporaryDirectory() as folder:
            (runs := Path(folder) / "runs").mkdir()
            for picture, terminal in PICTURES[name](str(runs)):
                (HERE / "pictures" / f"{picture}.svg").write_text(to_svg(terminal, "tinytui"))
                sys.stdout.write(f"docs/pictures/{picture}.svg\n")


if __name__ == "__main__":
    main()
