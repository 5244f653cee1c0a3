"""The Typer application: commands by room, one-line errors, and the workbench when no command is named.

Modules of commands are light: whatever is heavy (torch, numpy, pydantic, Rich, Textual) is imported inside the command
that needs it, so that help answers at once.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from engine.errors import UserError
from tui.cli import bench, chat, corpora, doctor, ladder, measure, presets, runs, sample, tokenizer, train
from tui.cli.options import CorporaDir, RunsDir
from tui.cli.output import complain
from tui.cli.workbench import open_workbench
from tui.signals import PROCESS

OUTLIVING = ("train", "demo", "ladder")
"""Commands that a terminal which goes away does not end."""

PANELS = ("Train", "Prompt", "Keep", "This machine")
COLUMN = 12  # cells for the names of commands in the help


class CommandGroup(TyperGroup):
    """The root: help by panel, and every error as one line on stderr."""

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """Commands under their panels, in the order of `PANELS`."""
        shown = [(name, self.commands[name]) for name in self.list_commands(ctx) if not self.commands[name].hidden]
        limit = formatter.width - COLUMN - 2
        for panel in PANELS:
            rows = [
                (name, command.get_short_help_str(limit))
                for name, command in shown
                if getattr(command, "rich_help_panel", None) == panel
            ]
            with formatter.section(panel):
                formatter.write_dl(rows, col_spacing=COLUMN - max(len(name) for name, _ in rows))

    def invoke(self, ctx: Any) -> Any:
        """Run the command; what the user can mend becomes one line and exit 1, a traceback only with `--debug`."""
        try:
            return super().invoke(ctx)
        except (typer.Exit, typer.Abort, BrokenPipeError):
            raise
        except Exception as error:
            if PROCESS.interrupted:  # half an import, a library's own word for it: no error of anybody's
                raise typer.Abort from None
            if is_usage_error(error) or ctx.params.get("debug"):
                raise
            complain(describe(error))
            raise typer.Exit(1) from None

    def main(
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,
        windows_expand_args: bool = True,
        **extra: Any,
    ) -> Any:
        """As Typer's, but a usage error is one line too (exit 2)."""
        try:
            code = super().main(args, prog_name, complete_var, False, windows_expand_args, **extra)
        except typer.Abort:
            if not PROCESS.interrupted:  # or it is said at the very end, in whichever way that is reached
                complain("cancelled")
            code = 1
        except Exception as error:
            if not is_usage_error(error):
                raise
            code = show_usage_error(error)
        if standalone_mode:
            sys.exit(code if isinstance(code, int) else 0)
        return code


def is_usage_error(error: Exception) -> bool:
    """Whether Typer's parser raised it (its exceptions' home has moved between versions; their shape has not)."""
    return hasattr(error, "format_message") and hasattr(error, "exit_code")


def show_usage_error(error: Any) -> int:
    """One line with the way to the help, or the help where a group was called without a command; the exit code."""
    if type(error).__name__ == "NoArgsIsHelpError":
        error.show()
    else:
        context = getattr(error, "ctx", None)
        where = context.command_path if context is not None else "tinytui"
        message = " ".join(error.format_message().split()).rstrip(".")
        message = message[:1].lower() + message[1:]
        complain(f"{message}{'' if message.endswith('?') else ';'} see {where} --help")
    return int(error.exit_code)


def describe(error: Exception) -> str:
    """The line for an error: a user's own words, the system's reason with the file, or a bug by name."""
    if isinstance(error, UserError):
        return str(error)
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    if isinstance(error, MemoryError):
        return "no memory left; a smaller train.batch_size or model.block_size needs less"
    detail = " ".join(f"{type(error).__name__}: {error}".split())
    return f"this is a bug: {detail} (tinytui --debug ... shows where)"


app = typer.Typer(
    cls=CommandGroup,
    rich_markup_mode=None,  # importing Rich for the help would cost as much as all the rest of it
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)


def show_version(asked: bool) -> None:
    if asked:
        from importlib.metadata import PackageNotFoundError, version

        try:
            typer.echo(f"tinytui {version('tinytui')}")
        except PackageNotFoundError:
            typer.echo("tinytui, not installed (run from its sources)")
        raise typer.Exit


@app.callback(invoke_without_command=True)
def root(
    ctx: typer.Context,
    runs: RunsDir = Path("runs"),
    corpora: CorporaDir = None,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
    version: Annotated[
        bool, typer.Option("--version", help="Show the version.", callback=show_version, is_eager=True)
    ] = False,
) -> None:
    """A workbench in the terminal for training and prompting small GPTs.

    Without a command it opens; `tinytui demo` trains a first model at once.
    """
    if ctx.invoked_subcommand not in OUTLIVING:
        PROCESS.plain()
    if ctx.invoked_subcommand is None:
        open_workbench(runs, corpora)


app.command(rich_help_panel="Train")(train.demo)
app.command(rich_help_panel="Train")(train.train)
app.command(rich_help_panel="Train")(ladder.ladder)
app.command("open", rich_help_panel="Train")(train.open_run)
app.command(rich_help_panel="Prompt")(sample.sample)
app.command(rich_help_panel="Prompt")(chat.chat)
app.add_typer(runs.app, name="runs", rich_help_panel="Keep")
app.add_typer(corpora.app, name="corpora", rich_help_panel="Keep")
app.add_typer(tokenizer.app, name="tokenizer", rich_help_panel="Keep")
app.command(rich_help_panel="This machine")(presets.presets)
app.command(rich_help_panel="This machine")(measure.profile)
app.add_typer(measure.app, name="tune", rich_help_panel="This machine")
app.command(rich_help_panel="This machine")(bench.bench)
app.command(rich_help_panel="This machine")(doctor.doctor)
