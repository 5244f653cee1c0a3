"""What the commands print: one way each for errors, JSON, tables, numbers and text that came from outside."""

from __future__ import annotations

import errno
import json
import math
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TextIO

import typer

from tui.terminal.signals import PROCESS

if TYPE_CHECKING:
    from rich.console import Console


@contextmanager
def to_whoever_looks() -> Iterator[None]:
    """Inside, a terminal that has gone is no error, whether a signal said so or not."""
    try:
        yield
    except OSError as error:
        if error.errno != errno.EIO:
            raise
        PROCESS.hang_up()


def complain(message: str) -> None:
    """One line on stderr, `tinytui: ...`, whatever the message holds."""
    with to_whoever_looks():
        typer.echo(f"tinytui: {one_line(message)}", err=True)


def one_line(text: str) -> str:
    """Text from anywhere as one printable line."""
    return printable(" ".join(text.split()))


def printable(text: str) -> str:
    """`text` with whatever could drive a terminal made visible; newlines stay."""
    if text.isascii() and text.replace("\n", "").isprintable():
        return text
    from tui.text import clean

    return clean(text)


def say(text: str, err: bool = False) -> None:
    """Lines of the program's own words, or of anyone's: nothing in them drives the terminal."""
    with to_whoever_looks():
        typer.echo(printable(text), err=err)


def pour(text: str) -> None:
    """Text of a model as data, at once: on a terminal made visible, into a pipe or a file as it is, in UTF-8."""
    if is_terminal():
        sys.stdout.write(printable(text))
    else:
        sys.stdout.flush()
        sys.stdout.buffer.write(text.encode("utf-8", "replace"))
    sys.stdout.flush()


def is_terminal(stream: TextIO | None = None) -> bool:
    return bool((stream or sys.stdout).isatty())


def print_json(value: Any, *, indent: int | None = 2) -> None:
    """JSON on stdout: ASCII, so that any terminal and locale carries it; numbers that are not finite are null."""
    typer.echo(json.dumps(_jsonable(value), indent=indent))


def _jsonable(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _jsonable(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_jsonable(inner) for inner in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if value is None or isinstance(value, str | int):
        return value
    return value.item() if hasattr(value, "item") else str(value)


WIDE = 10_000
"""Columns where nothing is to wrap: a file or a pipe, whatever the terminal that it is written from says of itself."""


def console() -> Console:
    """A Rich console that never reads markup or emoji codes out of what it is given."""
    from rich.console import Console

    made = Console(markup=False, emoji=False, highlight=False)
    if not is_terminal() or made.width < 1:
        made.width = WIDE
    return made


def print_table(columns: Sequence[str], rows: Iterable[Sequence[object]], wrap: int | None = None) -> None:
    """Rows under dim headings; a column named with a leading `>` is right-aligned.

    Column number `wrap` takes what width is left, and wraps; where stdout is no terminal nothing wraps. Rich, which
    takes a millisecond for a row, is only asked for what does not fit.
    """
    from rich.cells import cell_len

    cells = [[one_line(str(cell)) if cell is not None else "–" for cell in row] for row in rows]
    lines = [[name.removeprefix(">") for name in columns], *cells]
    widths = [max(map(cell_len, column)) for column in zip(*lines, strict=True)]
    screen = console() if is_terminal() else None
    if sum(widths) + 2 * (len(widths) - 1) > (screen.width if screen is not None else WIDE):
        _print_wrapped(columns, cells, wrap)
        return
    right = [name.startswith(">") for name in columns]
    texts = []
    for line in lines:
        pads = [" " * (width - cell_len(cell)) for cell, width in zip(line, widths, strict=True)]
        said = [pad + cell if of else cell + pad for cell, pad, of in zip(line, pads, right, strict=True)]
        texts.append("  ".join(said).rstrip())
    if screen is not None:
        screen.print(texts.pop(0), style="dim")
    if texts:
        typer.echo("\n".join(texts))


def _print_wrapped(columns: Sequence[str], cells: Iterable[Sequence[str]], wrap: int | None) -> None:
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    for number, name in enumerate(columns):
        table.add_column(
            name.removeprefix(">"),
            justify="right" if name.startswith(">") else "left",
            no_wrap=number != wrap,
            overflow="fold",
        )
    for row in cells:
        table.add_row(*map(Text, row))
    screen = console()
    if is_terminal():
        screen.print(table)
        return
    with screen.capture() as captured:
        screen.print(table)
    typer.echo("\n".join(line.rstrip() for line in captured.get().splitlines()))


def print_facts(facts: Iterable[tuple[str, object]]) -> None:
    """Names, dim, with their values, one a line; what is None is left out."""
    from rich.text import Text

    shown = [(name, one_line(str(value))) for name, value in facts if value is not None]
    width = max((len(name) for name, _ in shown), default=0)
    screen = console()
    for name, value in shown:
        screen.print(Text.assemble((f"{name:<{width}}  ", "dim"), value), soft_wrap=True)


@contextmanager
def progress(doing: str) -> Iterator[Callable[[str, float], None] | None]:
    """Reports of what takes seconds: a line on a terminal's stderr that goes away; None where there is no terminal."""
    if not is_terminal(sys.stderr):
        yield None
        return

    def show(line: str) -> None:
        with to_whoever_looks():
            sys.stderr.write(f"\r{line}\x1b[K")
            sys.stderr.flush()

    try:
        yield lambda what, done: show(f"{one_line(what) or doing} {done:.0%}")
    finally:
        show("")
