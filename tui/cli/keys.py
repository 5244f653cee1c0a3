"""`tinytui keys`: every action of the workbench with its keys and its id, by which `keymap.toml` gives it others."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from tui.cli.options import Json
from tui.cli.output import complain, print_json, print_table, say


def keys(
    words: Annotated[
        list[str] | None, typer.Argument(metavar="WORD", help="Only actions in whose line all of these stand.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Every action of the workbench with its keys, and the id by which keymap.toml gives it others."""
    from tui.actions import ACTIONS, written
    from tui.state.settings import load_keymap, settings_path

    keymap, wrong = load_keymap([action.id for action in ACTIONS])
    for problem in wrong:
        complain(problem)
    about = ""
    rows: list[dict[str, Any]] = []
    for action in ACTIONS:
        about = action.about or about  # the line of the action before says what both do
        pressed = [key for key in keymap.get(action.id, action.key).split(",") if key]
        row = {"id": action.id, "keys": pressed, "about": about, "own": action.id in keymap}
        line = f"{action.id} {' '.join(map(written, pressed))} {about}".lower()
        if all(word.lower() in line for word in words or ()):
            rows.append(row)
    if as_json:
        print_json(rows)
    elif rows:
        shown = ([", ".join(map(written, row["keys"])) or "–", row["id"], row["about"]] for row in rows)
        print_table(["keys", "action", "what it does"], shown, wrap=2)
        say(f'\nothers: {settings_path().with_name("keymap.toml")}, with lines such as "train.pause" = "P"')
    else:
        say(f"no action is so: {' '.join(words or ())}")
