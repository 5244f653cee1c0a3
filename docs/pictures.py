"""Take the pictures of the README and docs from the running program.

    python docs/pictures.py [--only NAME]

Each picture is a real run in a real pseudo-terminal, saved as SVG.
"""

from __future__ import annotations

import argparse
import io
import json
import sys
import tempfile
from collections.abc import Callable
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


def training(runs: str, columns: int, rows: int) -> Terminal:
    """The workbench in the middle of the demo, with a prompt answered."""
    env = {"XDG_CONFIG_HOME": runs}
    terminal = Terminal([*TINYTUI, "--runs", runs, "demo"], columns=columns, rows=rows, env=env)
    terminal.wait("training", 60)
    return terminal


def until_step(terminal: Terminal, runs: str, step: int) -> None:
    """Let the run in `runs` train to `step`; the screen is read, but not looked at, which would slow training down."""
    done = 0
    while done < step:
        terminal.pump(0.5)
        for status in Path(runs).glob("*/status.json"):
            done = int(json.loads(status.read_text()).get("step", 0))


def wide(runs: str) -> Terminal:
    terminal = training(runs, 140, 40)
    until_step(terminal, runs, 1000)
    terminal.key("p")
    terminal.type("Pt. complains of sore throat.")
    terminal.key("enter")
    until_step(terminal, runs, 1200)
    return terminal


def small(runs: str) -> Terminal:
    terminal = training(runs, 80, 24)
    until_step(terminal, runs, 600)
    return terminal


def welcome(runs: str) -> Terminal:
    terminal = Terminal([*TINYTUI, "--runs", runs], columns=100, rows=30, env={"XDG_CONFIG_HOME": runs})
    terminal.wait("tinytui")
    terminal.pump(1.5)
    return terminal


def new_run(runs: str) -> Terminal:
    terminal = welcome(runs)
    terminal.key("n")
    terminal.wait("(measured", 60)
    terminal.pump(0.5)
    return terminal


PICTURES: dict[str, Callable[[str], Terminal]] = {
    "train": wide,
    "train-80x24": small,
    "welcome": welcome,
    "new-run": new_run,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", choices=PICTURES, action="append")
    for name in parser.parse_args().only or PICTURES:
        with tempfile.TemporaryDirectory() as runs, PICTURES[name](runs) as terminal:
            (HERE / "pictures" / f"{name}.svg").write_text(to_svg(terminal, "tinytui"))
        sys.stdout.write(f"docs/pictures/{name}.svg\n")


if __name__ == "__main__":
    main()
