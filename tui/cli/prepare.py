"""`tinytui corpora prepare` and `check`: tokens made ahead, for what is too large to be one text on one disk."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from engine.errors import RunError
from engine.tokenizers import KINDS
from tui.cli.options import CorporaDir, Json, RunsDir, at_home
from tui.cli.output import print_facts, print_json, progress, say

if TYPE_CHECKING:
    from engine.text.prepared import Prepared, Split

MADE = [kind for kind in KINDS if kind != "imported"]


def prepare(
    source: Annotated[
        str,
        typer.Argument(metavar="SOURCE", help="A corpus, a path, or hf:NAME (hf:FOLDER) for a Hugging Face dataset."),
    ],
    to: Annotated[
        Path,
        typer.Option("--to", callback=at_home, metavar="FOLDER", help="Where the shards go: empty, or begun before."),
    ],
    tokenizer: Annotated[
        str, typer.Option("--tokenizer", metavar="KIND|RUN|FILE", help=f"{', '.join(MADE)}, a run's, or a file.")
    ] = "bpe",
    vocab: Annotated[
        int, typer.Option("--vocab", metavar="N", help="Of a new bpe or word vocabulary: its size.")
    ] = 32768,
    val_fraction: Annotated[
        float,
        typer.Option("--val-fraction", metavar="F", min=1e-6, max=0.5, help="Of the documents, kept for validation."),
    ] = 0.01,
    boundary: Annotated[
        str | None,
        typer.Option("--boundary", metavar="TEXT", help=r"What ends a document in a text; \n is a line end."),
    ] = None,
    prompt_column: Annotated[
        str | None, typer.Option("--prompt-column", metavar="NAME", help="Of a table: the column with the prompts.")
    ] = None,
    response_column: Annotated[
        str | None, typer.Option("--response-column", metavar="NAME", help="Of a table: the column with the answers.")
    ] = None,
    shard_tokens: Annotated[
        int, typer.Option("--shard-tokens", metavar="N", min=1, help="Of a shard; rounded up to times 65,536.")
    ] = 100_000_000,
    workers: Annotated[
        int | None, typer.Option("--workers", metavar="N", min=1, max=1024, help="Processes; unset: one a core.")
    ] = None,
    runs: RunsDir = Path("runs"),
    corpora: CorporaDir = None,
    as_json: Json = False,
) -> None:
    """Make tokens ahead, in shards, of a source of any size. Broken off, the same command goes on where it was."""
    from engine.config import Config
    from engine.machine import usable_threads
    from engine.text.prepared import UNIT, read_prepared
    from engine.tokenizers.prepare import ask_for
    from engine.tokenizers.prepare import prepare as fill
    from tui.cli.tokenizer import saved_tokenizer

    new = tokenizer in MADE
    saved = None if new else saved_tokenizer(tokenizer, runs)
    if not new and saved is None:
        raise RunError(f"no tokenizer {tokenizer!r}; give {', '.join(MADE)}, a run, or a tokenizer's .json file")
    asked: dict[str, Any] = {"data.tokenizer": tokenizer, "data.vocab_size": vocab} if new else {}
    with progress("preparing") as report:
        name, ask = ask_for(
            source,
            corpora,
            prompt_column=prompt_column,
            response_column=response_column,
            boundary=None if boundary is None else boundary.replace("\\n", "\n").replace("\\t", "\t"),
            val_fraction=val_fraction,
        )
        fill(
            name,
            ask,
            to,
            Config().replace(asked).data,
            tokenizer=saved,
            shard_tokens=-(-shard_tokens // UNIT) * UNIT,
            workers=usable_threads() if workers is None else workers,
            progress=report,
        )
    tokens = read_prepared(to)
    if as_json:
        print_json(facts_of(tokens))
        return
    show_tokens(tokens)
    say(f"\ntrain on it with: tinytui train {to}")


def check(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="Tokens made by tinytui corpora prepare.")],
    as_json: Json = False,
) -> None:
    """Read every byte of tokens made ahead, and compare it with what was written."""
    from engine.errors import CorpusError
    from engine.text.prepared import is_prepared, read_prepared
    from engine.tokenizers.shards import check_all

    if not is_prepared(folder):
        made = f"tinytui corpora prepare SOURCE --to {shlex.quote(str(folder))}"
        raise CorpusError(f"no tokens in {folder}; make them with {made}")
    tokens = read_prepared(folder)
    with progress("checking") as report:
        check_all(tokens, report)
    if as_json:
        print_json(facts_of(tokens))
    else:
        shards = len(tokens.train.shards) + len(tokens.val.shards)
        say(f"{folder}: {shards:,} shards, all as they were written")


def facts_of(about: Prepared) -> dict[str, Any]:
    """What a folder of tokens tells of itself, without its shards one by one."""
    facts = about.model_dump(mode="json", exclude={"train": {"shards"}, "val": {"shards"}, "counted": True})
    for name, split in (("train", about.train), ("val", about.val)):
        facts[name]["shards"] = len(split.shards)
    return {"path": str(about.path), "sha256": about.sha256, **facts}


def show_tokens(about: Prepared) -> None:
    """The same, for people."""
    dealt = "by a hash of each document" if about.by == "documents" else "the source's end"

    def held(split: Split) -> str:
        count = len(split.shards)
        return f"{split.tokens:,} tokens in {count:,} shard{'s' if count != 1 else ''}"

    print_facts(
        [
            ("tokens of", about.name),
            ("source", about.asked.get("source")),
            ("tokenizer", f"{about.tokenizer.get('kind')}, vocabulary {about.tokenizer.get('vocab_size', 0):,}"),
            ("text", f"{about.n_bytes:,} bytes" + (f", {about.mark} between documents" if about.mark else "")),
            ("documents", f"{about.train.documents + about.val.documents:,}" if about.by == "documents" else None),
            ("training", held(about.train)),
            ("validation", f"{held(about.val)}, {dealt}"),
            ("left out", about.left_out or None),
            ("template", "prompts are put into the corpus' own format" if about.template else None),
            ("unfinished", None if about.finished else f"{about.pieces_done:,} of {about.pieces:,} pieces are done"),
        ]
    )
