"""`tinytui tokenizer`: how text becomes tokens."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from engine.tokenizers import KINDS
from tui.cli.options import CorporaDir, CorpusArgument, Json, RunsDir, at_home
from tui.cli.output import complain, print_facts, print_json, print_table, say

if TYPE_CHECKING:
    from engine.tokenizers.base import Tokenizer

SHOWN = 64  # tokens listed by `show`: what fits on a screen

app = typer.Typer(help="How text becomes tokens: show, train, encode.", no_args_is_help=True)

Kind = Annotated[
    str,
    typer.Option(
        "--kind", metavar="KIND", help=f"For a corpus: {', '.join(kind for kind in KINDS if kind != 'imported')}."
    ),
]
Source = Annotated[str, typer.Argument(metavar="RUN|CORPUS|FILE", help="A run, a corpus, or a tokenizer's file.")]


@app.command()
def show(
    source: Source,
    text: Annotated[str | None, typer.Option("--text", metavar="TEXT", help="A text to cut into tokens.")] = None,
    kind: Kind = "char",
    vocab: Annotated[
        int, typer.Option("--vocab", metavar="N", help="For a corpus: the size of a bpe or word vocabulary.")
    ] = 1024,
    runs: RunsDir = Path("runs"),
    corpora: CorporaDir = None,
    as_json: Json = False,
) -> None:
    """A tokenizer's kind, size and first tokens, or a text cut into tokens."""
    tokenizer = find_tokenizer(source, kind, vocab, runs, corpora)
    facts: dict[str, Any] = {
        "kind": tokenizer.kind,
        "vocab_size": tokenizer.vocab_size,
        "special": dict(tokenizer.special),
        "fingerprint": tokenizer.fingerprint,
    }
    ids = [int(i) for i in tokenizer.encode(text)] if text is not None else None
    if as_json:
        print_json(facts | ({} if ids is None else {"tokens": describe_tokens(tokenizer, ids)}))
        return
    special = ", ".join(f"{name} {number}" for name, number in tokenizer.special.items())
    print_facts(
        [
            ("tokenizer", tokenizer.kind),
            ("vocabulary", f"{tokenizer.vocab_size:,}"),
            ("special", special or None),
            ("fingerprint", tokenizer.fingerprint[:16]),
        ]
    )
    typer.echo()
    if ids is None or text is None:
        first = min(SHOWN, tokenizer.vocab_size)
        say(" ".join(readable(tokenizer, number) for number in range(first)))
        if first < tokenizer.vocab_size:
            typer.echo(f"and {tokenizer.vocab_size - first:,} more")
        return
    print_table([">id", "token"], ([number, readable(tokenizer, number)] for number in ids))
    n_bytes = len(text.encode())
    typer.echo(f"\n{len(ids):,} tokens for {n_bytes:,} bytes, {n_bytes / max(1, len(ids)):.2f} bytes a token")


@app.command()
def train(
    corpus: CorpusArgument,
    kind: Annotated[str, typer.Option("--kind", metavar="KIND", help="char, byte, bpe or word.")] = "bpe",
    vocab: Annotated[int, typer.Option("--vocab", metavar="N", help="Size of the vocabulary (bpe, word).")] = 1024,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", metavar="FILE", callback=at_home, help="Where to write it; unset: CORPUS-KIND.json here."
        ),
    ] = None,
    corpora: CorporaDir = None,
    as_json: Json = False,
) -> None:
    """Train a tokenizer on a corpus' training split, into a JSON file."""
    from engine.files import check_output, make_folder
    from engine.tokenizers.table import save_tokenizer

    if out is not None:
        make_folder(out.parent)
        check_output(out)
    name, tokenizer = tokenizer_of_corpus(corpus, kind, vocab, corpora)
    path = out or Path(f"{name}-{kind}.json")
    save_tokenizer(tokenizer, path)
    if as_json:
        print_json({"kind": tokenizer.kind, "vocab_size": tokenizer.vocab_size, "path": str(path)})
    else:
        say(f"{path}: {tokenizer.kind}, vocabulary {tokenizer.vocab_size:,}")


@app.command()
def encode(
    source: Source,
    text: Annotated[str, typer.Argument(metavar="TEXT|-", help="The text, or - for standard input.")],
    kind: Kind = "char",
    vocab: Annotated[
        int, typer.Option("--vocab", metavar="N", help="For a corpus: the size of a bpe or word vocabulary.")
    ] = 1024,
    runs: RunsDir = Path("runs"),
    corpora: CorporaDir = None,
    as_json: Json = False,
) -> None:
    """The token numbers of a text."""
    from tui.cli.sample import read_prompt

    tokenizer = find_tokenizer(source, kind, vocab, runs, corpora)
    ids = [int(i) for i in tokenizer.encode(read_prompt(text))]
    if as_json:
        print_json(describe_tokens(tokenizer, ids))
    else:
        typer.echo(" ".join(map(str, ids)))


def find_tokenizer(source: str, kind: str, vocab: int, runs: Path, corpora: Path | None) -> Tokenizer:
    """The tokenizer of a run, of a JSON file, or one trained on a corpus; UserError when `source` is none of them."""
    return saved_tokenizer(source, runs) or tokenizer_of_corpus(source, kind, vocab, corpora)[1]


def saved_tokenizer(source: str, runs: Path) -> Tokenizer | None:
    """The tokenizer of a run or of a JSON file; None where `source` is neither. UserError when it cannot be read."""
    from engine.errors import RunError
    from engine.runs.layout import find_run
    from engine.tokenizers.table import load_tokenizer
    from engine.training.verify import newest_tokenizer

    path = Path(source)
    if path.suffix == ".json" and path.is_file():
        return load_tokenizer(path)
    try:
        run = find_run(source, runs)
    except RunError:
        return None
    saved, problems = newest_tokenizer(run)
    if saved is None:
        none_yet = f"run {run.path.name} has no checkpoint yet, so no tokenizer; ask again after its first one"
        raise RunError(problems[0] if problems else none_yet)
    for problem in problems:
        complain(f"{problem}; an older one is used")
    return load_tokenizer(saved)


def tokenizer_of_corpus(corpus: str, kind: str, vocab: int, corpora: Path | None) -> tuple[str, Tokenizer]:
    """The corpus' name and the tokenizer its training split gives."""
    from engine.config import Config
    from engine.text.catalog import find_corpus
    from engine.text.prepared import TOKENIZER
    from engine.tokenizers.table import load_tokenizer, train_tokenizer

    data = Config().replace({"data.tokenizer": kind, "data.vocab_size": vocab}).data
    found = find_corpus(corpus, corpora)
    if found.prepared is not None:
        return found.name, load_tokenizer(found.path / TOKENIZER)
    text = found.prepare()
    return found.name, train_tokenizer(data, text, text.split(data.val_fraction))


def describe_tokens(tokenizer: Tokenizer, ids: list[int]) -> list[dict[str, Any]]:
    return [{"id": number, "text": tokenizer.token_bytes(number).decode("utf-8", "backslashreplace")} for number in ids]


def readable(tokenizer: Tokenizer, number: int) -> str:
    """A token in quotes, with its white space and broken characters written out."""
    return repr(tokenizer.token_bytes(number).decode("utf-8", "backslashreplace"))
