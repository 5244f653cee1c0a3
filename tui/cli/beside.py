"""`tinytui runs compare` and `plot`: runs side by side in a table, and over each other in a picture."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from engine.errors import RunError
from tui.cli.options import Json, Runs, RunsDir
from tui.cli.output import complain, is_terminal, print_json, print_table

if TYPE_CHECKING:
    from engine.runs.layout import RunDir
    from tui.widgets.chart import PlotData

LARGEST = 1000  # columns or rows of a plot
PLOT_HEIGHT = 22  # rows of a plot where there is no terminal to fill


def compare(run: Runs, runs: RunsDir = Path("runs"), as_json: Json = False) -> None:
    """Runs side by side: settings that differ, figures, and how far each had come at the same step."""
    from engine.config import as_typed
    from engine.runs.compare import at_step, common_step, differences, settings_of
    from engine.runs.layout import find_run
    from engine.runs.reader import RunReader
    from engine.runs.summary import summary

    if len(run) < 2:
        raise typer.BadParameter("name two runs or more", param_hint="RUN")
    found = [find_run(name, runs) for name in run]
    settings = differences([settings_of(each) for each in found])
    all_of_them = [summary(each) for each in found]
    for problem in [problem for each in all_of_them for problem in each["problems"]] if not as_json else ():
        complain(problem)
    readers = [RunReader(each) for each in found]
    for reader in readers:
        reader.poll()
    curves = [reader.series for reader in readers]
    step, standings = common_step(curves), at_step(curves)
    if as_json:
        at = {"step": step, "runs": [asdict(each) for each in standings]}
        print_json({"runs": all_of_them, "differences": settings, "at_step": at})
        return
    names = [each.name for each in found]
    if settings:
        print_table(["setting", *names], ([key, *map(as_typed, values)] for key, values in settings.items()))
    else:
        typer.echo("the settings are the same")
    typer.echo()
    figures = compared(all_of_them)
    if step:
        figures += [
            [f"val loss by step {step:,}", *(apart(each.val_loss, each.val_behind) for each in standings)],
            [f"loss by step {step:,}", *(apart(each.loss, each.behind) for each in standings)],
        ]
    print_table(["figure", *(f">{name}" for name in names)], figures)


def apart(loss: float | None, behind: float | None) -> str | None:
    """`1.2345 +0.0120`: a loss, and its distance to the lowest."""
    from tui.text import fmt_loss

    return None if loss is None else fmt_loss(loss) + (f" +{behind:.4f}" if behind else "")


def compared(runs: Sequence[dict[str, Any]]) -> list[list[object]]:
    from tui.text import fmt_bytes, fmt_count, fmt_duration, fmt_loss

    lines: list[tuple[str, str, Any]] = [
        ("step", "step", lambda value: f"{value or 0:,}"),
        ("parameters", "params", lambda value: f"{value:,}" if value else None),
        ("best val loss", "best_val_loss", fmt_loss),
        ("last val loss", "last_val_loss", fmt_loss),
        ("bits per byte", "val_bits_per_byte", fmt_loss),
        ("training time", "train_seconds", fmt_duration),
        ("tokens/s", "tokens_per_second", fmt_count),
        ("peak memory", "peak_memory_bytes", fmt_bytes),
    ]
    return [[label, *(form(each.get(key)) for each in runs)] for label, key, form in lines]


def plot(
    run: Runs,
    log: Annotated[bool, typer.Option("--log", help="A logarithmic loss axis.")] = False,
    width: Annotated[
        int | None, typer.Option("--width", metavar="N", min=20, max=LARGEST, help="Columns; unset: the terminal's.")
    ] = None,
    height: Annotated[
        int | None, typer.Option("--height", metavar="N", min=6, max=LARGEST, help="Rows; unset: what fits.")
    ] = None,
    runs: RunsDir = Path("runs"),
) -> None:
    """Draw loss curves with characters, several runs over each other."""
    import os
    import shutil

    from engine.runs.layout import find_run
    from tui.widgets.chart import MAX_SERIES, draw_text

    if len(run) > MAX_SERIES:
        raise RunError(f"a plot holds {MAX_SERIES} runs at most, not {len(run)}")
    data = curves([find_run(name, runs) for name in run])
    size = shutil.get_terminal_size((100, PLOT_HEIGHT + 2))
    columns = width or min(size.columns, LARGEST)
    rows = height or (max(6, size.lines - 2) if is_terminal() else PLOT_HEIGHT)
    typer.echo(draw_text(data, columns, min(rows, LARGEST), is_terminal() and not os.environ.get("NO_COLOR"), log))


def curves(runs: list[RunDir]) -> PlotData:
    """What is drawn of these runs: their losses, and of a single one its checkpoints and its planned end too."""
    from engine.runs.reader import RunReader
    from tui.widgets.chart import PlotData, Series

    readers = [RunReader(run) for run in runs]
    for reader in readers:
        reader.poll()
        for problem in reader.damage:
            complain(problem)
    series = tuple(
        Series(each.run.name, each.series.step, each.series.loss, each.series.val_step, each.series.val_loss)
        for each in readers
    )
    empty = "no loss is logged yet"
    if len(readers) > 1:
        return PlotData(series, empty=empty)
    one = readers[0]
    steps = tuple(int(checkpoint["step"]) for checkpoint in one.checkpoints())
    return PlotData(series, checkpoints=steps, total_steps=one.status.get("steps"), empty=empty)
