"""`tinytui ladder`: from a table of letter pairs to the full model, each rung trained briefly on one text."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tui.cli.launch import begin, train_here
from tui.cli.options import CorporaDir, CorpusArgument, DeviceName, Json, RunsDir
from tui.cli.output import print_json, print_table, say
from tui.state.ladder import RUNGS

if TYPE_CHECKING:
    from engine.runs.layout import RunDir


def ladder(
    corpus: CorpusArgument,
    steps: Annotated[int, typer.Option("--steps", min=1, metavar="N", help="Optimizer steps of each rung.")] = 300,
    device: DeviceName = "auto",
    runs: RunsDir = Path("runs"),
    corpora: CorporaDir = None,
    as_json: Json = False,
) -> None:
    """Train every rung from bigram to GPT, and compare them."""
    from tui.cli.train import gather

    rows = []
    for preset in RUNGS:
        sets = [f"train.eval_every={steps}", f"train.checkpoint_every={steps}", "train.sample_tokens=120"]
        run = begin(corpus, gather(preset, sets=sets, steps=steps), runs, preset=preset, corpora=corpora, device=device)
        if not as_json:
            say(f"{run.name}")
        if code := train_here(run, corpora, quiet=as_json):
            raise typer.Exit(code)
        rows.append(rung(run, preset))
    if as_json:
        print_json(rows)
        return
    typer.echo()
    print_table(
        ["rung", ">parameters", ">val loss", "run", "writes"],
        (
            [row["rung"], f"{row['params']:,}", f"{row['val_loss']:.4f}", row["run"], first_line(row["sample"])]
            for row in rows
        ),
        wrap=4,
    )


def rung(run: RunDir, preset: str) -> dict[str, Any]:
    """What one rung came to."""
    from engine.runs.reader import RunReader
    from engine.runs.summary import summary

    facts = summary(run)
    reader = RunReader(run)
    reader.poll()
    return {
        "rung": preset,
        "run": run.name,
        "params": facts["params"],
        "val_loss": facts["last_val_loss"],
        "train_seconds": facts["train_seconds"],
        "sample": str(reader.samples[-1].get("text", "")) if reader.samples else "",
    }


def first_line(text: str) -> str:
    """The first line of a sample that has something on it."""
    return next((line for line in text.splitlines() if line.strip()), "")
