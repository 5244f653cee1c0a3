"""The way from the command line into the workbench."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from tui.cli.output import complain, is_terminal
from tui.terminal.signals import PROCESS

if TYPE_CHECKING:
    from engine.runs.layout import RunDir
    from tui.state.training import Resume, Start


def has_screen() -> bool:
    """Whether there is a terminal to draw on and to read keys from, or was when the program began.

    One that goes while a training is being begun costs that training its screen and nothing else.
    """
    return PROCESS.had_screen or drawable()


def drawable() -> bool:
    return is_terminal() and is_terminal(sys.stdin)


def need_screen() -> None:
    """Ends the command with a hint and exit code 2 where there is no terminal."""
    if not has_screen():
        complain("the workbench needs a terminal; without one: tinytui demo, tinytui train CORPUS, tinytui --help")
        raise typer.Exit(2)


def open_workbench(
    runs: Path, corpora: Path | None, *, run: RunDir | None = None, job: Start | Resume | None = None
) -> None:
    """Open the workbench, on `run` or training `job`; ends the command with the workbench's exit code."""
    need_screen()
    if not drawable():  # it went without a word
        PROCESS.hang_up()
    from tui.state.reading import Ahead

    ahead = Ahead(run.metrics) if run is not None and job is None else None
    from tui import app  # while that reads

    if code := app.open_workbench(runs, corpora, run=run, start=job, ahead=ahead):
        raise typer.Exit(code)
