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

from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, ValidationError, model_validator

from engine.errors import CorpusError, what_is_wrong
from engine.files import read_small
from engine.preset_files import toml_lines, toml_tree
from engine.text.corpus import Corpus
from engine.text.source import Format
from engine.text.template import Template

CARD = "corpus.toml"
BUILDERS = ("python-stdlib",)
MOST_BYTES = 1 << 20


def _template(tree: object) -> Template | None:
    if not isinstance(tree, dict):
        raise ValueError("must be a table with record and stop")
    return Template.from_dict(tree) if tree else None


class _Card(BaseModel):
    """What a card says, in the order in which it is written; the names are those of `Corpus`, but for its file's."""

    model_config = ConfigDict(extra="forbid", strict=True)

    title: str = ""
    about: str = ""
    source: str = ""
    license: str = ""
    format: Format = "text"
    file: str = ""
    sha256: str | None = None
    url: str | None = None
    builder: str | None = None
    boundary: str | None = None
    columns: list[str] = []
    examples: list[str] = []
    template: Annotated[Template | None, BeforeValidator(_template)] = None

    @model_validator(mode="after")
    def _parts_go_together(self) -> _Card:
        if self.format != "text" and len(self.columns) not in (1, 2):
            raise ValueError(f"columns must name one or two columns of the {self.format} file")
        if self.builder is not None and self.builder not in BUILDERS:
            raise ValueError(f"no builder {self.builder!r}; there is {', '.join(BUILDERS)}")
        if self.builder is None and (not self.file or Path(self.file).name != self.file):
            raise ValueError("file must name a file beside the card")
        return self


def read_card(folder: Path, shipped: bool) -> Corpus:
    """The corpus whose card lies in `folder`; its name is the folder's.

    A card that cannot be used gives a Corpus with `problem` set, so that a listing can show it and go on.
    """
    try:
        fields = dict(_checked(folder / CARD))
    except CorpusError as error:
        return Corpus(folder.name, title="damaged", path=folder, shipped=shipped, problem=str(error))
    path = folder / fields.pop("file")
    fields |= {name: tuple(fields[name]) for name in ("columns", "examples")}
    return Corpus(name=folder.name, path=path, shipped=shipped, **fields)


def _checked(path: Path) -> _Card:
    data = read_small(path, MOST_BYTES, CorpusError)
    try:
        tree = toml_tree(data.decode())
    except ValueError as error:
        raise CorpusError(f"{path} is not valid TOML: {error}") from None
    try:
        return _Card.model_validate(tree)
    except ValidationError as error:
        first = error.errors()[0]
        if first["type"] == "extra_forbidden":
            known = ", ".join(sorted(_Card.model_fields))
            raise CorpusError(f"{path}: no such entry {str(first['loc'][0])!r}; there are {known}") from None
        raise CorpusError(f"{path}: {what_is_wrong(first)}") from None
    except CorpusError as error:  # of the template
        raise CorpusError(f"{path}: {error}") from None


def write_card(folder: Path, corpus: Corpus) -> None:
    """Writes the corpus.toml that `read_card` reads back as an equal corpus. Raises OSError."""
    entries: dict[str, Any] = {name: getattr(corpus, name, corpus.path.name) or None for name in _Card.model_fields}
    text = toml_lines({**entries, "template": None})
    if corpus.template is not None:
        parts = {name: value or None for name, value in corpus.template.to_dict().items()}
        text += f"\n\n[template]\n{toml_lines(parts)}"
    (folder / CARD).write_text(text + "\n", encoding="utf-8")
