"""`tinytui corpora`: the texts there are to train on, shipped, known and your own."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tui.cli.options import SOURCES, CorporaDir, CorpusArgument, Json, RunsDir, Yes
from tui.cli.output import print_facts, print_json, print_table, progress, say
from tui.cli.prepare import check, facts_of, prepare, show_tokens

if TYPE_CHECKING:
    from engine.text.corpus import Corpus
    from engine.text.tally import Lengths, Share

app = typer.Typer(help="Texts to train on: list, show, count, add, fetch, remove, prepare.", no_args_is_help=True)
app.command()(prepare)
app.command()(check)


@app.command("list")
def list_(corpora: CorporaDir = None, as_json: Json = False) -> None:
    """All corpora that a name reaches."""
    from engine.text.catalog import list_corpora
    from tui.state.corpuswork import where
    from tui.text import fmt_bytes

    found = list_corpora(corpora)
    rows = [describe_corpus(corpus) for corpus in found]
    if as_json:
        print_json(rows)
        return
    print_table(
        ["corpus", "where", "title", "format", ">size"],
        (
            [row["name"], where(corpus), row["title"], row["format"], fmt_bytes(row["file_bytes"])]
            for corpus, row in zip(found, rows, strict=True)
        ),
        wrap=2,
    )


@app.command()
def show(corpus: CorpusArgument, corpora: CorporaDir = None, as_json: Json = False) -> None:
    """One corpus: where it is from, how large, how it begins."""
    from engine.text.catalog import find_corpus

    found = find_corpus(corpus, corpora)
    if found.prepared is not None:
        if as_json:
            print_json(describe_corpus(found) | {"tokens": facts_of(found.prepared)})
        else:
            show_tokens(found.prepared)
        return
    with progress("preparing") as report:
        text = found.prepare(progress=report)
    beginning = next(iter(text.chunks(0, text.n_bytes, size=1200)), "")
    row = describe_corpus(found) | {"bytes": text.n_bytes, "sha256": text.sha256, "left_out": text.left_out}
    row["beginning"] = beginning
    if as_json:
        print_json(row)
        return
    print_facts(
        [
            ("corpus", row["name"]),
            ("title", row["title"] or None),
            ("about", row["about"] or None),
            ("source", row["source"] or None),
            ("licence", row["license"] or None),
            ("format", row["format"]),
            ("text", f"{text.n_bytes:,} bytes, sha256 {text.sha256[:16]}"),
            ("left out", row["left_out"] or None),
            ("template", "prompts are put into the corpus' own format" if row["template"] else None),
            ("try", " | ".join(row["examples"][:3]) or None),
        ]
    )
    typer.echo()
    say(beginning.rstrip())


@app.command()
def stats(corpus: CorpusArgument, corpora: CorporaDir = None, as_json: Json = False) -> None:
    """What is in a corpus: characters, lengths, repetitions, what a compressor makes of it. Counted once, then kept."""
    from engine.text.catalog import find_corpus
    from engine.text.statistics import cached_statistics

    found = find_corpus(corpus, corpora)
    with progress("counting") as report:
        told = cached_statistics(found.prepare(progress=report), progress=report)
    assert told is not None  # nobody cancels
    if as_json:
        print_json({"name": found.name} | told.model_dump(exclude={"format"}))
        return

    def lengths(of: Lengths | None) -> str | None:
        return (
            None
            if of is None
            else f"{of.shortest:,} to {of.longest:,} characters, mean {of.mean:,.1f}, median {of.median:,}"
        )

    def share(of: Share | None, what: str) -> str | None:
        if of is None:
            return None
        sampled = f", by a sample of one in {of.one_in:,}" if of.one_in > 1 else ""
        return f"{of.share:.1%} of {of.count:,} {what}{sampled}"

    zstd = "" if told.zstd_bits_per_byte is None else f", {told.zstd_bits_per_byte:.3f} under zstd"
    controls = ", ".join(f"U+{ord(each):04X} {count:,}" for each, count in told.top_controls[:8])
    print_facts(
        [
            ("corpus", found.name),
            ("bytes", f"{told.n_bytes:,}"),
            ("characters", f"{told.characters:,}, {told.distinct_characters:,} distinct"),
            ("frequent", " ".join(f"{each!r} {count:,}" for each, count in told.top_characters[:8])),
            ("controls", f"{told.control_characters:,}: {controls}" if controls else None),
            ("lines", f"{told.lines:,}, {lengths(told.line_lengths)}"),
            ("records", told.records and f"{told.records:,}, {lengths(told.record_lengths)}"),
            ("words", " ".join(f"{each} {count:,}" for each, count in told.top_words[:8])),
            ("bits/byte", f"{told.gzip_bits_per_byte:.3f} under gzip{zstd}"),
            ("repeated", share(told.repeated_lines, "lines")),
            ("", share(told.repeated_records, "records")),
            ("validation", f"in training too: {share(told.shared_lines, 'lines')}"),
            ("", share(told.shared_records, "records")),
            ("", share(told.shared_windows, "passages of 48 bytes")),
        ]
    )


@app.command()
def add(
    file: Annotated[Path, typer.Argument(metavar="FILE", help=f"What to keep: {SOURCES}.")],
    name: Annotated[
        str | None, typer.Option("--name", metavar="N", help="Its name from now on; unset: the file's.")
    ] = None,
    prompt_column: Annotated[
        str | None, typer.Option("--prompt-column", metavar="NAME", help="Of a table: the column with the prompts.")
    ] = None,
    response_column: Annotated[
        str | None, typer.Option("--response-column", metavar="NAME", help="Of a table: the column with the answers.")
    ] = None,
    corpora: CorporaDir = None,
    as_json: Json = False,
) -> None:
    """Keep a file or folder as a corpus under a name; a path works without this."""
    from engine.text.catalog import add_corpus

    with progress("adding") as report:
        corpus = add_corpus(
            file, name, corpora, prompt_column=prompt_column, response_column=response_column, progress=report
        )
    report_corpus(corpus, "added", as_json)


@app.command()
def fetch(
    what: Annotated[
        str, typer.Argument(metavar="NAME|URL", help="A known corpus' name, gutenberg:ID, or the address of a text.")
    ],
    name: Annotated[str | None, typer.Option("--name", metavar="N", help="Its name from now on.")] = None,
    corpora: CorporaDir = None,
    as_json: Json = False,
) -> None:
    """Download a corpus, checked against its SHA-256 where that is known."""
    from engine.text.catalog import fetch_corpus

    with progress("fetching") as report:
        corpus = fetch_corpus(what, corpora, progress=report, name=name)
    report_corpus(corpus, "fetched", as_json)


@app.command()
def rm(corpus: CorpusArgument, yes: Yes = False, corpora: CorporaDir = None, runs: RunsDir = Path("runs")) -> None:
    """Remove one of your corpora; runs made with it stay, but cannot go on without it: they are named."""
    from engine.runs.status import runs_that_need
    from engine.text.catalog import check_removable, remove_corpus

    name = check_removable(corpus, corpora).name
    if need := runs_that_need({name, corpus}, runs_dir=runs):
        named = ", ".join(each.name for each in need[:8]) + (f" and {len(need) - 8} more" if len(need) > 8 else "")
        say(f"runs made with it, which cannot go on without it: {named}")
    if not yes:
        typer.confirm(f"remove corpus {name}?", abort=True)
    remove_corpus(corpus, corpora)
    say(f"removed {name}")


def describe_corpus(corpus: Corpus) -> dict[str, Any]:
    """What `list` and `show` tell of a corpus, before its text is looked at."""
    return {
        "name": corpus.name,
        "title": corpus.title,
        "about": corpus.about,
        "source": corpus.source,
        "license": corpus.license,
        "format": corpus.format if corpus.prepared is None else "tokens",
        "shipped": corpus.shipped,
        "available": corpus.available,
        "problem": corpus.problem,
        "path": str(corpus.path) if corpus.path.exists() and corpus.builder is None else None,
        "file_bytes": corpus.path.stat().st_size if corpus.path.is_file() else None,
        "template": corpus.template.to_dict() if corpus.template else None,
        "examples": list(corpus.examples),
    }


def report_corpus(corpus: Corpus, done: str, as_json: bool) -> None:
    if as_json:
        print_json(describe_corpus(corpus))
    else:
        if corpus.about.startswith("left out"):
            say(corpus.about)
        say(f"{done} {corpus.name}; train on it with: tinytui train {corpus.name}")
