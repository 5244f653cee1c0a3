"""`tinytui runs export` and `import`: figures as CSV or for TensorBoard, models to and from transformers and PEFT."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tui.cli.options import Run, RunsDir, complete_checkpoint
from tui.cli.output import complain, say


def export(
    ctx: typer.Context,
    run: Run,
    target: Annotated[
        Path, typer.Argument(metavar="FILE.csv|FOLDER", help="Where to; - is standard output (CSV only).")
    ],
    hf: Annotated[bool, typer.Option("--hf", help="The model, for transformers, into a folder.")] = False,
    tensorboard: Annotated[
        bool, typer.Option("--tensorboard", help="The figures, for TensorBoard, into a folder.")
    ] = False,
    adapter: Annotated[bool, typer.Option("--adapter", help="The LoRA adapter, for PEFT, into a folder.")] = False,
    checkpoint: Annotated[
        str | None,
        typer.Option(
            "--checkpoint",
            metavar="best|last|STEP",
            help="Whose weights, with --hf and --adapter; unset: best.",
            autocompletion=complete_checkpoint,
        ),
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Write into a folder that holds something: same names are replaced.")
    ] = False,
    runs: RunsDir = Path("runs"),
) -> None:
    """The logged figures as CSV, a line a step; or the model for other programs."""
    from engine.runs.layout import find_run
    from engine.runs.summary import csv_lines
    from tui.state.exporting import export_run

    if hf + adapter + tensorboard > 1:
        ctx.fail("--hf, --adapter and --tensorboard go into folders of their own, one at a time")
    if str(target) == "-" and hf + adapter + tensorboard:
        ctx.fail("only the figures as CSV go to standard output: name a folder")
    if checkpoint is not None and not (hf or adapter):
        ctx.fail("--checkpoint chooses weights, and the figures are of the whole run: leave it out, or add --hf")
    found = find_run(run, runs)
    kind = "hf" if hf else "adapter" if adapter else "tensorboard" if tensorboard else "csv"
    if kind == "csv" and str(target) == "-":
        for line in csv_lines(found, complain):
            typer.echo(line)
    else:
        say(export_run(found, kind, target, complain, checkpoint=checkpoint or "best", force=force))


def import_(
    folder: Annotated[
        Path,
        typer.Argument(
            metavar="FOLDER", help="A GPT-2, Llama or NanoChat as transformers saves it, or an export of ours."
        ),
    ],
    name: Annotated[str | None, typer.Option("--name", metavar="N", help="The run's name.")] = None,
    runs: RunsDir = Path("runs"),
) -> None:
    """A model from transformers as a run: to sample, and to fine-tune with train --from."""
    from engine.training.fork import import_run
    from tui.state.detached import how_to

    made = import_run(folder, runs, name=name)
    say(f"{made.name}; try it with: {how_to('sample', made, runs)} --prompt TEXT")
