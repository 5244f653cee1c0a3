"""A corpus as tokens that were made ahead: a folder that is trained on without its source, and how it describes itself.

FOLDER/meta.json         what the tokens are, and of each shard its length and SHA-256: `Prepared`
       tokenizer.json    what they were made with
       train-00000.bin … val-00000.bin …   ids, uint16 or uint32, little-endian

All shards of a split are of one length but its last, and belong one after the other: they are cut for the disks' sake.
"""

from __future__ import annotations

import hashlib
import json
import shlex
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from engine.errors import CorpusError
from engine.files import read_small
from engine.text.template import Template

META, TOKENIZER = "meta.json", "tokenizer.json"
FORMAT = 1
KIND = "tinytui tokens"
UNIT = 1 << 16  # ids: shards are whole multiples of it, so that each begins where a page of memory may
_MOST_META = 64 << 20


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Shard(_Frozen):
    """One file of ids. `sha256` is empty while it is being written, `sampled` the checksum of some of its blocks."""

    tokens: int = Field(ge=1)
    sha256: str = Field("", pattern=r"^([0-9a-f]{64})?$")
    sampled: int = Field(0, ge=0)


class Split(_Frozen):
    """The tokens of training or validation: how many, of how many documents, and the bytes of text they stand for.

    What was put between documents (`Prepared.mark`) is a token and no text. `first` are the bytes of the first token,
    which nothing predicts.
    """

    tokens: int = Field(0, ge=0)
    bytes: int = Field(0, ge=0)
    first: int = Field(0, ge=0)
    documents: int = Field(0, ge=0)
    shards: tuple[Shard, ...] = ()

    def grown(self, more: Split) -> Split:
        """With as many tokens, bytes and documents more."""
        added = {name: getattr(self, name) + getattr(more, name) for name in ("tokens", "bytes", "documents")}
        return self.model_copy(update=added)


class Prepared(_Frozen):
    """The folder of tokens at `path`, and what it says of itself; `pieces_done` of `pieces` of its source are in it.

    `by` says how documents were dealt out: each by a hash of its text, or the source's end to validation. `asked` is
    what it was made from and how, in words that are compared when it is gone on with; nobody needs it afterwards.
    """

    path: Path = Field(exclude=True)
    kind: Literal["tinytui tokens"] = "tinytui tokens"
    format: int = FORMAT
    name: str
    asked: dict[str, Any]
    tokenizer: dict[str, Any]
    dtype: Literal["uint16", "uint32"]
    by: Literal["documents", "end"]
    mark: str = ""
    template: Template | None = None
    """How prompts stand in its text."""
    val_fraction: float = Field(gt=0.0, lt=1.0)
    shard_tokens: int = Field(ge=UNIT, multiple_of=UNIT)
    pieces: int = Field(ge=0)
    pieces_done: int = Field(0, ge=0)
    finished: bool = False
    counted: dict[str, int] = {}
    """What was left out of its documents so far, and how often."""
    left_out: str = ""
    train: Split = Split()
    val: Split = Split()

    @property
    def n_bytes(self) -> int:
        """Bytes of text that its tokens stand for."""
        return self.train.bytes + self.val.bytes

    @cached_property
    def sha256(self) -> str:
        """What tells these tokens from any others: of the tokenizer and of all shards in their order."""
        tree = [self.format, self.tokenizer.get("fingerprint"), self.dtype, self.train.bytes, self.val.bytes]
        tree += [[[shard.tokens, shard.sha256] for shard in split.shards] for split in (self.train, self.val)]
        return hashlib.sha256(json.dumps(tree).encode()).hexdigest()

    @property
    def settings(self) -> dict[str, Any]:
        """The settings of a run that were decided when they were made."""
        decided = {**self.tokenizer.get("settings", {}), "val_fraction": self.val_fraction}
        return {f"data.{name}": value for name, value in decided.items()}


def is_prepared(path: Path) -> bool:
    """Whether a folder of tokens lies at `path`, finished or not: one whose meta.json is of our kind."""
    try:
        with (path / META).open("rb") as file:
            return f'"kind": "{KIND}"'.encode() in file.read(256)
    except OSError:
        return False


def read_prepared(folder: Path) -> Prepared:
    """The description of the tokens in `folder`. Raises CorpusError for one that is damaged or of a later format."""
    path = folder / META
    data = read_small(path, _MOST_META, CorpusError)
    try:
        tree = {**json.loads(data), "path": folder}
        format = tree.get("format")
        if isinstance(format, int) and format > FORMAT:
            raise CorpusError(
                f"{path} is of format {format}, and this program knows up to {FORMAT}; install a newer one"
            )
        return Prepared.model_validate(tree)
    except (ValidationError, ValueError, TypeError, RecursionError):
        raise CorpusError(f"{path} is damaged; remove {folder} and prepare it again") from None


def no_text(folder: Path) -> str:
    """What is said where a text is asked for."""
    train = f"tinytui train {shlex.quote(str(folder))}"
    return f"{folder} holds tokens, not text, so there is none to look at; train on it: {train}"


def dump(prepared: Prepared) -> bytes:
    """meta.json: the kind first, by which a folder is known."""
    return json.dumps(prepared.model_dump(mode="json"), indent=1).encode()


def shard_path(folder: Path, split: str, number: int) -> Path:
    """Of shard `number` of `train` or `val`."""
    return folder / f"{split}-{number:05d}.bin"
