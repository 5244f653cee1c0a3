"""`tinytui runs rename` and `note`: what a person calls a run and says of it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tui.cli.options import Json, Run, RunsDir
from tui.cli.output import print_json, say


def rename(
    run: Run,
    name: Annotated[str, typer.Argument(metavar="NEW", help="Its name from now on.")],
    runs: RunsDir = Path("runs"),
    as_json: Json = False,
) -> None:
    """Give a run another name; runs that were forked from it are told. One that is being trained is refused."""
    from engine.runs.layout import find_run
    from engine.runs.naming import rename_run

    old = find_run(run, runs)
    new = rename_run(old, name)
    if as_json:
        print_json({"name": new.name, "path": str(new.path), "before": old.name})
    else:
        say(f"{old.name} is now {new.name}")


def note(
    run: Run,
    text: Annotated[
        str | None, typer.Argument(metavar="TEXT", help="What to note, in place of what was; '' takes it away.")
    ] = None,
    runs: RunsDir = Path("runs"),
    as_json: Json = False,
) -> None:
    """Note something of a run, or show what was noted. Lists, filters and `runs show` have it."""
    from engine.runs.layout import find_run
    from engine.runs.naming import write_note
    from engine.runs.status import read_note

    found = find_run(run, runs)
    if text is not None:
        write_note(found, text)
    noted = read_note(found)
    if as_json:
        print_json({"name": found.name, "note": noted})
    elif noted:
        say(noted)
    else:
        say(f"nothing is noted of {found.name}" if text is None else f"the note of {found.name} is gone")
