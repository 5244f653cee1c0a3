"""The Typer application: commands by room, one-line errors, and the workbench when no command is named.

Modules of commands are light: whatever is heavy (torch, numpy, pydantic, Rich, Textual) is imported inside the command
that needs it, so that help answers at once. And only the command that is called is made: Typer takes longer to make all
of them than the rest of a start without Textual.
"""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import typer
from typer.core import TyperGroup

from engine.errors import UserError, is_out_of_memory
from tui.cli.options import CorporaDir, PlainLines, RunsDir
from tui.cli.output import complain
from tui.cli.workbench import open_workbench
from tui.terminal.signals import PROCESS

OUTLIVING = ("train", "demo", "ladder")
"""Commands that a terminal which goes away does not end."""

FILES = 64
"""Files that a training with its listeners has open, and some more."""

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)

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

    def main(
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,
        windows_expand_args: bool = True,
        **extra: Any,
    ) -> Any:
        """As Typer's, but every error is one line: of usage (exit 2), or another (exit 1; --debug: a traceback)."""
        given = list(sys.argv[1:] if args is None else args)
        code: Any = 1
        try:
            code = super().main(given, prog_name, complete_var, False, windows_expand_args, **extra)
        except BrokenPipeError:  # whoever read it has gone
            pass
        except (typer.Abort, Exception) as error:
            if PROCESS.interrupted:  # whatever it looks like, half an import for one: said at the very end
                pass
            elif isinstance(error, typer.Abort):
                complain("cancelled")
            elif is_usage_error(error):
                code = show_usage_error(error, given)
            elif "--debug" in given:
                raise
            else:
                complain(describe(error))
        if standalone_mode:
            sys.exit(code if isinstance(code, int) else 0)
        return code


def is_usage_error(error: Exception) -> bool:
    """Whether Typer's parser raised it (its exceptions' home has moved between versions; their shape has not)."""
    return hasattr(error, "format_message") and hasattr(error, "exit_code")


def show_usage_error(error: Any, given: Sequence[str]) -> int:
    """One line with the way to the help, or the help where a group was called without a command; the exit code."""
    if type(error).__name__ == "NoArgsIsHelpError":
        error.show()
    else:
        context, meant = getattr(error, "ctx", None), called(given)
        where = f"tinytui {meant[0].name}" if len(meant) == 1 else "tinytui"  # of an option that lacks its value
        where = where if context is None else context.command_path
        message = " ".join(error.format_message().split()).rstrip(".")
        message = message.replace("Input should", "it should").partition(", unable to parse")[0]
        message = message[:1].lower() + message[1:]
        complain(f"{message}{'' if message.endswith('?') else ';'} see {where} --help")
    return int(error.exit_code)


def describe(error: Exception) -> str:
    """The line for an error: a user's own words, the system's reason with the file, or a bug by name."""
    if isinstance(error, UserError):
        return str(error)
    if isinstance(error, OSError) and error.errno in FULL and not error.filename:  # files are written with their names
        from engine.files import cannot

        return str(cannot("write", "what is printed", error))
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    if is_out_of_memory(error):
        return "no memory left; a smaller train.batch_size or model.block_size needs less"
    if isinstance(error, RuntimeError) and "start new thread" in str(error):
        return "no further thread may be started here; end other programs, or raise the limit: ulimit -u"
    from tui.state.buglog import told

    return told(error)


def need_files() -> None:
    """Have FILES files open at once, or say that they may not be: what goes wrong without them has many names."""
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= FILES:
        return
    if hard != resource.RLIM_INFINITY and hard < FILES:
        raise UserError(f"only {hard} files may be open at once here; raise the limit: ulimit -n {FILES}")
    resource.setrlimit(resource.RLIMIT_NOFILE, (FILES, hard))


def need_folder() -> None:
    """Be in a folder, or say that it is gone: without one PyTorch's libraries end the process in words of their own."""
    try:
        os.getcwd()  # noqa: PTH109 - no more than that is asked
    except OSError:
        raise UserError("the folder that this was begun in is gone; change to one that is there: cd") from None


def show_version(asked: bool) -> None:
    if asked:
        from importlib.metadata import PackageNotFoundError, version

        try:
            typer.echo(f"tinytui {version('tinytui')}")
        except PackageNotFoundError:
            typer.echo("tinytui, not installed (run from its sources)")
        raise typer.Exit


def root(
    ctx: typer.Context,
    runs: RunsDir = Path("runs"),
    corpora: CorporaDir = None,
    plain: PlainLines = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
    version: Annotated[
        bool, typer.Option("--version", help="Show the version.", callback=show_version, is_eager=True)
    ] = False,
) -> None:
    """A workbench in the terminal for training and prompting small GPTs.

    Without a command it opens; `tinytui demo` trains a first model at once.
    """
    need_files()
    need_folder()
    if ctx.invoked_subcommand not in OUTLIVING:
        PROCESS.plain()
    if ctx.invoked_subcommand is None and plain:
        from tui.cli.plain import plain_runs

        plain_runs(runs)
    elif ctx.invoked_subcommand is None:
        open_workbench(runs, corpora)


class Named(NamedTuple):
    """A command, or a group of them, under its panel of the help: what of which module of `tui.cli`."""

    name: str
    module: str
    made_by: str
    panel: str | None


COMMANDS = (
    Named("demo", "train", "demo", "Train"),
    Named("train", "train", "train", "Train"),
    Named("ladder", "ladder", "ladder", "Train"),
    Named("open", "train", "open_run", "Train"),
    Named("serve", "serve", "serve", "Train"),
    Named("serve-session", "serve", "serve_session", None),
    Named("sample", "sample", "sample", "Prompt"),
    Named("chat", "chat", "chat", "Prompt"),
    Named("runs", "runs", "app", "Keep"),
    Named("corpora", "corpora", "app", "Keep"),
    Named("tokenizer", "tokenizer", "app", "Keep"),
    Named("presets", "presets", "presets", "This machine"),
    Named("profile", "measure", "profile", "This machine"),
    Named("tune", "measure", "app", "This machine"),
    Named("bench", "bench", "bench", "This machine"),
    Named("doctor", "doctor", "doctor", "This machine"),
    Named("keys", "keys", "keys", "This machine"),
)


def make_app(given: Sequence[str] | None = None) -> typer.Typer:
    """The application as far as the arguments `given` call for it; all of it without."""
    app = typer.Typer(
        cls=CommandGroup,
        rich_markup_mode=None,  # importing Rich for the help would cost as much as all the rest of it
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    )
    app.callback(invoke_without_command=True)(root)
    for each in COMMANDS if given is None else called(given):
        made = getattr(import_module(f"tui.cli.{each.module}"), each.made_by)
        if isinstance(made, typer.Typer):
            app.add_typer(made, name=each.name, rich_help_panel=each.panel)
        else:
            app.command(each.name, rich_help_panel=each.panel, hidden=each.panel is None)(made)
    return app


def called(given: Sequence[str]) -> Sequence[Named]:
    """The command that these arguments call, none where they open the workbench; all where neither is certain."""
    if any(name.startswith("_") and name.endswith("_COMPLETE") for name in os.environ):
        return COMMANDS
    rest = iter(given)
    for argument in rest:
        if argument in ("--runs", "--corpora"):
            next(rest, None)
        elif argument not in ("--plain", "--debug") and not argument.startswith(("--runs=", "--corpora=")):
            return [each for each in COMMANDS if each.name == argument] or COMMANDS
    return ()
