"""`tinytui presets`: what there is to start from, and every setting with its meaning."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from tui.cli.options import Json, complete_preset
from tui.cli.output import print_facts, print_json, print_table, say


def presets(
    name: Annotated[
        str | None,
        typer.Argument(metavar="PRESET", help="One preset: all its settings.", autocompletion=complete_preset),
    ] = None,
    as_json: Json = False,
) -> None:
    """Presets and their sizes, or one preset's settings."""
    from engine.errors import ConfigError
    from engine.preset_files import preset_names

    if name is not None:
        show_preset(name, as_json)
        return
    rows = []
    for preset in preset_names():
        try:
            rows.append(describe_preset(preset))
        except ConfigError as error:  # one that is damaged hides no other
            say(f"tinytui: {error}", err=True)
    if as_json:
        print_json(rows)
        return
    print_table(
        ["preset", ">parameters", ">vocabulary", ">layers", ">heads", ">width", ">context", ">steps", "about"],
        (
            [
                row["name"],
                f"{row['params']:,}",
                f"{row['vocab_size']:,} {row['tokenizer']}",
                row["n_layer"],
                row["n_head"],
                row["n_embd"],
                f"{row['block_size']:,}",
                f"{row['max_steps']:,}",
                row["about"],
            ]
            for row in rows
        ),
        wrap=8,
    )
    typer.echo(
        "\nParameters are counted for the vocabulary shown; a corpus with another one changes them."
        "\n`tinytui presets PRESET` shows all settings; change any with --set key=value."
    )


def describe_preset(name: str) -> dict[str, Any]:
    """One preset's row: its shape and its true number of parameters for the vocabulary it is likely to meet."""
    from engine.model.sizes import count_parameters
    from engine.preset_files import load_preset, preset_about
    from engine.tokenizers.table import expected_vocab

    config = load_preset(name)
    vocab_size = expected_vocab(config.data)
    return {
        "name": name,
        "about": preset_about(name),
        "params": count_parameters(config.model, vocab_size),
        "vocab_size": vocab_size,
        "tokenizer": config.data.tokenizer,
        "kind": config.model.kind,
        "n_layer": config.model.n_layer,
        "n_head": config.model.n_head,
        "n_embd": config.model.n_embd,
        "block_size": config.model.block_size,
        "batch_size": config.train.batch_size,
        "optimizer": config.train.optimizer,
        "max_steps": config.train.max_steps,
    }


def show_preset(name: str, as_json: bool) -> None:
    """Every setting of one preset: value, name as `--set` takes it, meaning."""
    from engine.config import SECTIONS, as_typed
    from engine.preset_files import load_preset

    settings = load_preset(name).model_dump()
    if as_json:
        print_json({**describe_preset(name), "settings": settings})
        return
    row = describe_preset(name)
    print_facts(
        [
            ("preset", name),
            ("about", row["about"]),
            ("parameters", f"{row['params']:,} with a vocabulary of {row['vocab_size']:,}"),
        ]
    )
    typer.echo()
    print_table(
        ["setting", "value", "meaning"],
        (
            [f"{section}.{key}", as_typed(settings[section][key]), field.description]
            for section, schema in SECTIONS.items()
            for key, field in schema.model_fields.items()
        ),
        wrap=2,
    )
