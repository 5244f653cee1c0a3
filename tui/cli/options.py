"""Options and arguments that several commands share, and the completion of their values."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Any

import typer


def inherit(ctx: typer.Context, param: typer.CallbackParam, value: Any) -> Any:
    """An option given before the command counts where the command itself does not give it."""
    name = param.name or ""
    root = ctx.find_root()
    return root.params[name] if not _typed(ctx, name) and _typed(root, name) and name in root.params else at_home(value)


def at_home(value: Path | None) -> Path | None:
    """A path of which no shell has read the ~: in `--runs=~/x`, in a quoted variable."""
    return None if value is None else Path(os.path.expanduser(value))  # noqa: PTH111 - which is silent where there is no home


def _typed(ctx: Any, name: str) -> bool:
    source = ctx.get_parameter_source(name)
    return source is not None and source.name == "COMMANDLINE"


def complete_run(ctx: typer.Context, incomplete: str) -> list[str]:
    """Names of runs that begin so; cheap: it looks at file names alone."""
    folder = Path(ctx.params.get("runs") or os.environ.get("TINYTUI_RUNS") or "runs")
    return sorted(path.parent.name for path in folder.glob("*/run.json") if path.parent.name.startswith(incomplete))


def complete_preset(incomplete: str) -> list[str]:
    from engine.preset_files import own_names, shipped_names

    return [name for name in [*shipped_names(), *own_names()] if name.startswith(incomplete)]


def complete_corpus(ctx: typer.Context, incomplete: str) -> list[str]:
    from engine.errors import UserError
    from engine.text.catalog import list_corpora

    try:
        names = [corpus.name for corpus in list_corpora(ctx.params.get("corpora"))]
    except UserError:
        return []
    return sorted(name for name in names if name.startswith(incomplete))


def complete_setting(incomplete: str) -> list[str]:
    from engine.config import SECTIONS

    names = [f"{section}.{name}" for section, cls in SECTIONS.items() for name in cls.model_fields]
    return [name for name in names if name.startswith(incomplete)]


def complete_checkpoint(ctx: typer.Context, incomplete: str) -> list[str]:
    from engine.errors import UserError
    from engine.runs.layout import find_run

    try:
        run = find_run(ctx.params.get("run") or next(iter(ctx.args), ""), ctx.params.get("runs"))
    except UserError:
        return []
    return [name for name in ("best", "last", *map(str, run.checkpoint_steps())) if name.startswith(incomplete)]


def set_option(help: str) -> Any:
    """`--set KEY=VALUE`, of the settings that `help` names."""
    return typer.Option("--set", metavar="KEY=VALUE", help=help, autocompletion=complete_setting)


PlainLines = Annotated[bool, typer.Option("--plain", help="Lines for a screen reader, nothing drawn.")]
RunsDir = Annotated[
    Path,
    typer.Option("--runs", metavar="DIR", envvar="TINYTUI_RUNS", callback=inherit, help="Folder of the runs."),
]
CorporaDir = Annotated[
    Path | None,
    typer.Option(
        "--corpora", metavar="DIR", envvar="TINYTUI_CORPORA", callback=inherit, help="Folder of your corpora."
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Run = Annotated[str, typer.Argument(metavar="RUN", help="A run's name or path.", autocompletion=complete_run)]
Runs = Annotated[list[str], typer.Argument(metavar="RUN", help="Runs' names or paths.", autocompletion=complete_run)]
SOURCES = "text, tables (CSV, JSONL, Parquet), conversations, a folder (with a slash) or an archive of them"
CORPUS = f"A corpus' name, or a path: {SOURCES}; or tokens made ahead."
CorpusArgument = Annotated[
    str,
    typer.Argument(
        metavar="CORPUS",
        help=CORPUS,
        autocompletion=complete_corpus,
    ),
]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]
Preset = Annotated[
    str | None,
    typer.Option("--preset", metavar="P", help="See tinytui presets; unset: nano.", autocompletion=complete_preset),
]
ConfigFile = Annotated[
    Path | None,
    typer.Option("--config", metavar="FILE", callback=at_home, help="Settings in TOML or JSON, over the preset's."),
]
Sets = Annotated[
    list[str] | None,
    set_option("A setting, e.g. model.n_layer=6; repeatable. All of them: tinytui presets nano."),
]
Steps = Annotated[int | None, typer.Option("--steps", metavar="N", help="Optimizer steps (train.max_steps).")]
DeviceName = Annotated[str, typer.Option("--device", metavar="auto|cpu|cuda[:i]", help="Where to compute.")]
