"""corpus.toml: a corpus' card on disk.

title = "..."            about, source, license: text
format = "csv"           text (default), csv, jsonl or parquet
file = "pairs.csv"       beside the card
sha256 = "..."           what the file must hash to
url = "https://..."      where the file can be fetched
builder = "python-stdlib"   for a corpus made on this machine
columns = ["prompt", "response"]   or ["text"]
boundary = "\\n\\n"      what ends a record, so that the validation split begins with a whole one
examples = ["..."]       prompts to offer
[template]
record = "You: {prompt}\\nBot: {response}<END>\\n"
stop = ["<END>"]         optional
"""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Any, get_args

from engine.errors import CorpusError
from engine.files import reason
from engine.text.corpus import Corpus
from engine.text.source import Format
from engine.text.template import Template

CARD = "corpus.toml"
BUILDERS = ("python-stdlib",)
TEXTS = ("title", "about", "source", "license", "format", "file", "sha256", "url", "builder", "boundary")
KNOWN = {*TEXTS, "columns", "examples", "template"}


def read_card(folder: Path, shipped: bool) -> Corpus:
    """The corpus whose card lies in `folder`; its name is the folder's.

    A card that cannot be used gives a Corpus with `problem` set, so that a listing can show it and go on.
    """
    try:
        return _corpus(folder, _tree(folder / CARD), shipped)
    except CorpusError as error:
        return Corpus(folder.name, title="damaged", path=folder, shipped=shipped, problem=str(error))


def _tree(card: Path) -> dict[str, Any]:
    try:
        tree = tomllib.loads(card.read_text(encoding="utf-8"))
    except OSError as error:
        raise CorpusError(f"cannot read {card}: {reason(error)}") from None
    except ValueError as error:
        raise CorpusError(f"{card} is not valid TOML: {error}") from None
    for name in TEXTS:
        if not isinstance(tree.get(name, ""), str):
            raise CorpusError(f"{card}: {name} must be text")
    for name in ("columns", "examples"):
        values = tree.get(name, [])
        if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
            raise CorpusError(f"{card}: {name} must be a list of texts")
    if unknown := sorted(set(tree) - KNOWN):
        raise CorpusError(f"{card}: no such entry {unknown[0]!r}; there are {', '.join(sorted(KNOWN))}")
    return tree


def _corpus(folder: Path, tree: dict[str, Any], shipped: bool) -> Corpus:
    card = folder / CARD
    format: Format = tree.get("format", "text")
    columns = tuple(tree.get("columns", ()))
    file = tree.get("file", "")
    builder = tree.get("builder")
    template = tree.get("template")
    if format not in get_args(Format):
        raise CorpusError(f"{card}: format must be one of {', '.join(get_args(Format))}, not {format!r}")
    if format != "text" and len(columns) not in (1, 2):
        raise CorpusError(f"{card}: columns must name one or two columns of the {format} file")
    if builder is not None and builder not in BUILDERS:
        raise CorpusError(f"{card}: no builder {builder!r}; there is {', '.join(BUILDERS)}")
    if builder is None and (not file or Path(file).name != file):
        raise CorpusError(f"{card}: file must name a file beside the card")
    if template is not None and not isinstance(template, dict):
        raise CorpusError(f"{card}: template must be a table with record and stop")
    try:
        parsed = Template.from_dict(template) if template else None
    except CorpusError as error:
        raise CorpusError(f"{card}: {error}") from None
    return Corpus(
        name=folder.name,
        title=tree.get("title", ""),
        about=tree.get("about", ""),
        source=tree.get("source", ""),
        license=tree.get("license", ""),
        format=format,
        path=folder / file if file else folder,
        template=parsed,
        examples=tuple(tree.get("examples", ())),
        shipped=shipped,
        columns=columns,
        boundary=tree.get("boundary"),
        sha256=tree.get("sha256"),
        url=tree.get("url"),
        builder=builder,
    )


def write_card(folder: Path, corpus: Corpus) -> None:
    """Writes the corpus.toml that `read_card` reads back as an equal corpus. Raises OSError."""
    entries: dict[str, Any] = {
        "title": corpus.title,
        "about": corpus.about,
        "source": corpus.source,
        "license": corpus.license,
        "format": corpus.format,
        "file": corpus.path.name,
        "sha256": corpus.sha256,
        "url": corpus.url,
        "boundary": corpus.boundary,
        "columns": list(corpus.columns),
        "examples": list(corpus.examples),
    }
    lines = [f"{name} = {_toml(value)}" for name, value in entries.items() if value]
    if corpus.template is not None:
        parts = {name: value for name, value in corpus.template.to_dict().items() if value}
        lines += ["", "[template]", *(f"{name} = {_toml(value)}" for name, value in parts.items())]
    (folder / CARD).write_text("\n".join(lines) + "\n", encoding="utf-8")


def _toml(value: str | list[str]) -> str:
    """A TOML basic string, or an array of them. JSON's escapes are TOML's, but for DEL, which TOML wants escaped."""
    if isinstance(value, list):
        return f"[{', '.join(map(_toml, value))}]"
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
