"""Take the pictures of the README and docs from the running program.

    python docs/pictures.py [--only NAME]

Each picture is a real run in a real pseudo-terminal, saved as SVG.
"""

from __future__ import annotations

import argparse
import io
import sys
import tempfile
from collections.abc import Callable
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
        line = Text(no_wrap=True, overflow="crop")
        for x in range(terminal.columns):
            cell = terminal.screen.buffer[y][x]
            if cell.data:
                style = Style(
                    color=colour(cell.fg),
                    bgcolor=colour(cell.bg),
                    bold=cell.bold,
                    italic=cell.italics,
                    reverse=cell.reverse,
                )
                line.append(cell.data, style)
        out.print(line)
    return out.export_svg(title=title)


def colour(name: str) -> str | None:
    if name == "default":
        return None
    is_hex = len(name) == 6 and all(digit in "0123456789abcdefABCDEF" for digit in name)
    return f"#{name}" if is_hex else name.replace("bright", "bright_").replace("brown", "yellow")


def training(runs: str, columns: int, rows: int, theme: str = "") -> Terminal:
    """The workbench in the middle of the demo, with a prompt answered."""
    env = {"XDG_CONFIG_HOME": runs}
    terminal = Terminal([*TINYTUI, "--runs", runs, "demo"], columns=columns, rows=rows, env=env)
    terminal.wait("training", 60)
    if theme == "light":
        terminal.key("t")
    return terminal


def wide(runs: str, theme: str = "") -> Terminal:
    terminal = training(runs, 140, 40, theme)
    terminal.until(lambda text: "step 500" in text or "[500]" in text or " 7" in text.split("step")[1][:8], 240)
    terminal.key("p")
    terminal.type("Pt. complains of sore throat.")
    terminal.key("enter")
    terminal.pump(6.0)
    return terminal


def small(runs: str) -> Terminal:
    terminal = training(runs, 80, 24)
    terminal.until(lambda text: "val" in text, 240)
    terminal.pump(3.0)
    return terminal


def welcome(runs: str) -> Terminal:
    terminal = Terminal([*TINYTUI, "--runs", runs], columns=100, rows=30, env={"XDG_CONFIG_HOME": runs})
    terminal.wait("tinytui")
    terminal.pump(1.5)
    return terminal


def new_run(runs: str) -> Terminal:
    terminal = welcome(runs)
    terminal.key("n")
    terminal.pump(2.0)
    return terminal


PICTURES: dict[str, Callable[[str], Terminal]] = {
    "train": wide,
    "train-light": lambda runs: wide(runs, "light"),
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
