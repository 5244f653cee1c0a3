"""`tinytui train`, `demo` and `open`: a run begun, gone on with, or looked at."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from engine.errors import UserError
from tui.cli.launch import begin, end, go_on, leave, train_here
from tui.cli.options import CorporaDir, Json, Run, RunsDir, complete_corpus, complete_preset, complete_run
from tui.cli.output import say
from tui.cli.workbench import has_screen, open_workbench

if TYPE_CHECKING:
    from engine.config import Config

DEMO_CORPUS = "soap-notes"

Steps = Annotated[int | None, typer.Option("--steps", metavar="N", help="Optimizer steps (train.max_steps).")]


def demo(steps: Steps = None, runs: RunsDir = Path("runs"), corpora: CorporaDir = None) -> None:
    """Train a first model at once: the default preset on synthetic clinical notes."""
    preset = default_preset()
    config = gather(preset, None, [], steps, None)
    if has_screen():
        from tui.session import Start

        open_workbench(runs, corpora, job=Start(DEMO_CORPUS, config, preset))
        return
    run = begin(DEMO_CORPUS, config, runs, preset=preset, corpora=corpora)
    say(f"{run.name}: preset {preset} on {DEMO_CORPUS}, {config.train.max_steps:,} steps")
    end(run, runs, train_here(run, corpora, as_json=False), demo=True)


def train(
    ctx: typer.Context,
    corpus: Annotated[
        str | None,
        typer.Argument(
            metavar="CORPUS",
            help="A corpus' name, or the path of a text, CSV or JSONL file.",
            autocompletion=complete_corpus,
        ),
    ] = None,
    resume: Annotated[
        str | None,
        typer.Option("--resume", metavar="RUN", help="Go on where RUN stopped.", autocompletion=complete_run),
    ] = None,
    preset: Annotated[
        str | None,
        typer.Option("--preset", metavar="P", help="See tinytui presets; unset: nano.", autocompletion=complete_preset),
    ] = None,
    name: Annotated[str | None, typer.Option("--name", metavar="N", help="The run's name.")] = None,
    steps: Steps = None,
    seed: Annotated[int | None, typer.Option("--seed", metavar="N", help="Of weights, batches, dropout.")] = None,
    device: Annotated[
        str | None, typer.Option("--device", metavar="auto|cpu|cuda[:i]", help="Where to train; unset: auto.")
    ] = None,
    config: Annotated[
        Path | None, typer.Option("--config", metavar="FILE", help="Settings in TOML or JSON, over the preset's.")
    ] = None,
    sets: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="A setting, e.g. model.n_layer=6; repeatable."),
    ] = None,
    detach: Annotated[bool, typer.Option("--detach", help="Train in the background; says how to open it.")] = False,
    tui: Annotated[bool, typer.Option("--tui", help="Train in the workbench.")] = False,
    runs: RunsDir = Path("runs"),
    corpora: CorporaDir = None,
    as_json: Json = False,
) -> None:
    """Train a model on a text. Ctrl-C stops with a checkpoint; --resume goes on exactly there."""
    new_only = {
        "--preset": preset,
        "--name": name,
        "--seed": seed,
        "--device": device,
        "--config": config,
        "--set": sets,
    }
    check_usage(ctx, corpus, resume, detach, tui, new_only)
    if resume is not None:
        train_on(resume, steps, detach, tui, runs, corpora, as_json)
        return
    settings = gather(preset, config, sets or [], steps, seed)
    chosen = preset or default_preset()
    if tui and device is None:
        from tui.session import Start

        open_workbench(runs, corpora, job=Start(str(corpus), settings, chosen, name))
        return
    run = begin(str(corpus), settings, runs, preset=chosen, name=name, corpora=corpora, device=device or "auto")
    if tui:
        from tui.session import Resume

        open_workbench(runs, corpora, job=Resume(run))
    elif detach:
        leave(run, runs, as_json)
    else:
        end(run, runs, train_here(run, corpora, as_json), as_json=as_json)


def train_on(
    name: str, steps: int | None, detach: bool, tui: bool, runs: Path, corpora: Path | None, as_json: bool
) -> None:
    """`train --resume`."""
    from engine.runs.layout import find_run

    run = find_run(name, runs)
    if tui:
        from tui.session import Resume

        open_workbench(runs, corpora, job=Resume(run, steps))
        return
    go_on(run, steps)
    if detach:
        leave(run, runs, as_json)
    else:
        end(run, runs, train_here(run, corpora, as_json), as_json=as_json)


def open_run(run: Run, runs: RunsDir = Path("runs"), corpora: CorporaDir = None) -> None:
    """The workbench on a run, live or ended."""
    from engine.runs.layout import find_run

    open_workbench(runs, corpora, run=find_run(run, runs))


def check_usage(
    ctx: typer.Context, corpus: str | None, resume: str | None, detach: bool, tui: bool, new_only: dict[str, Any]
) -> None:
    """Ends as a usage error for options that contradict each other; UserError for a screen that is not there."""
    if (corpus is None) == (resume is None):
        ctx.fail("name a CORPUS to train on, or --resume RUN, and not both")
    if detach and tui:
        ctx.fail("--detach and --tui contradict each other")
    given = [option for option, value in new_only.items() if value not in (None, [])]
    if resume is not None and given:
        ctx.fail(f"a resumed run keeps its settings: leave {given[0]} out, or fork it (tinytui runs fork)")
    if tui and not has_screen():
        raise UserError("--tui needs a terminal; without one leave it out, or use --detach")


def gather(preset: str | None, file: Path | None, sets: list[str], steps: int | None, seed: int | None) -> Config:
    """The settings of a new run, from the preset up to the options."""
    from engine.config import load_config

    config = load_config(preset or default_preset(), file, sets)
    changes = {"train.max_steps": steps, "train.seed": seed}
    return config.replace({key: value for key, value in changes.items() if value is not None})


def default_preset() -> str:
    from engine.config import DEFAULT_PRESET

    return DEFAULT_PRESET
