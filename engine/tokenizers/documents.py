"""What is tokenized ahead: a source as numbered pieces, and the documents in each, dealt out to training or validation.

A row of a table, or what stands between two marks in a text, is a document. It goes to validation when a hash of its
text says so: the same text always goes to the same side, so no copy of a document that is trained on is ever validated
on, and a source that grows moves none from one side to the other. A text without marks is one document however many
files it has: its end is held out, cut at one place, as when it is trained on directly.

Pieces are a function of the source alone: files, ranges of bytes of large ones, groups of rows. Any process can read
any of them by itself.
"""

from __future__ import annotations

import hashlib
import json
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from hashlib import blake2b
from itertools import chain
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from engine.errors import CorpusError
from engine.text.corpus import Text
from engine.text.magic import HEAD, is_plain
from engine.text.render import is_text, lf
from engine.text.rows import LONGEST, is_list, object_of, row_groups, rows_of, rows_of_groups
from engine.text.scan import opened
from engine.text.source import Part, Source, in_words, raw
from engine.text.tables import Recipe
from engine.text.template import Template
from engine.text.utf8 import characters, decoded, without_bom
from engine.tokenizers.cutting import cut_after

PIECE = 1 << 24  # bytes of a source that are read at once

Side = Literal["", "train", "val"]


class Ask(BaseModel):
    """A source and how its documents are made, as every process that reads it is told."""

    model_config = ConfigDict(frozen=True)

    path: str
    format: Literal["text", "csv", "jsonl", "parquet", "hf"] = "text"
    columns: tuple[str, ...] = ()
    chat: bool = False
    template: Template | None = None
    boundary: str | None = None
    val_fraction: float = Field(0.1, gt=0.0, lt=1.0)
    piece_bytes: int = Field(PIECE, ge=1)

    @property
    def recipe(self) -> Recipe:
        """How a row becomes text."""
        return Recipe(self.columns, self.chat, self.template, self.boundary)


@dataclass(frozen=True)
class Piece:
    """`parts` whole parts from number `part` on; or of that one what begins in [start, end), None being its end.

    Those are bytes, groups of rows, or rows, as the source has it. `side` is where all of it goes; "": each document
    by its hash.
    """

    part: int
    parts: int = 1
    start: int = 0
    end: int | None = None
    side: Side = ""

    @property
    def whole(self) -> bool:
        return self.start == 0 and self.end is None

    def joins(self, others: list[Piece]) -> bool:
        """Whether the others are one, whole as this, that follows it to the same side."""
        return self.whole and [Piece(self.part + self.parts, side=self.side)] == others


@dataclass(frozen=True)
class Document:
    """A text, or what a piece has of a long one in chunks; `ends` says that it is over after them."""

    text: str | Iterator[str]
    val: bool
    ends: bool = True

    @property
    def chunks(self) -> Iterable[str]:
        return (self.text,) if isinstance(self.text, str) else self.text


class Documents(AbstractContextManager["Documents"], ABC):
    """The documents of a source. To be closed, or used in a `with`.

    `by` is how they are dealt out, `ending` what is put after each where a tokenizer has no token for it (empty where
    their text ends them), `counted` what was left out of those that were read.
    """

    by: Literal["documents", "end"]
    ending: str

    def __init__(self, ask: Ask) -> None:
        self.ask, self.recipe = ask, ask.recipe
        self.counted: Counter[str] = Counter()

    @abstractmethod
    def state(self) -> str:
        """A hash that changes when the source does, as far as that shows without reading it."""

    @abstractmethod
    def pieces(self) -> list[Piece]:
        """All pieces, the same ones every time while the source is the same. Raises CorpusError."""

    @abstractmethod
    def read(self, piece: Piece) -> Iterator[Document]:
        """The documents of a piece in their order, none of them empty. Raises CorpusError naming what is damaged."""

    def left_out(self, counted: Mapping[str, int]) -> str:
        """So much of its documents, and what is not read of the source once `pieces` was called, in words."""
        return ", ".join(in_words(counted))

    def held_out(self, text: str) -> bool:
        """Whether a document is for validation, whatever blanks and marks are around it."""
        bare = text.removesuffix(self.ask.boundary or "").strip().encode("utf-8", "surrogatepass")
        number = int.from_bytes(blake2b(bare, digest_size=8).digest(), "little")
        return number < self.ask.val_fraction * 2.0**64

    def record(self, row: dict[str, Any], where: str) -> Iterator[Document]:
        """The document of a row, if there is text in it."""
        if text := self.recipe.record(row, where, self.counted):
            yield Document(text, self.held_out(text))

    def __exit__(self, *error: object) -> None:
        return None


def hash_of(tree: object) -> str:
    """SHA-256 of what JSON makes of it."""
    return hashlib.sha256(json.dumps(tree).encode()).hexdigest()


class FileDocuments(Documents):
    """The documents of a file, a folder or an archive: texts, CSV, JSON, Parquet."""

    def __init__(self, ask: Ask) -> None:
        super().__init__(ask)
        assert ask.format != "hf"
        self._source = Source(Path(ask.path), ask.format)
        text = ask.format == "text"
        self.by = "end" if text and not ask.boundary else "documents"
        apart = ask.boundary or len(self._source.parts) > 1 or not text
        self.ending = self.recipe.ending if apart else ""

    def __exit__(self, *error: object) -> None:
        self._source.__exit__()

    def state(self) -> str:
        return hash_of(self._source.again())

    def left_out(self, counted: Mapping[str, int]) -> str:
        return self._source.left_out(counted)

    def pieces(self) -> list[Piece]:
        source = self._source
        numbers = [
            number
            for number, part in enumerate(source.parts)
            if self.ask.format != "text" or source.single is not None or is_text(source, part, 1)
        ]
        cut = self._cut(numbers) if self.by == "end" else None
        made: list[Piece] = []
        held = 0
        for number in numbers:
            part = source.parts[number]
            for side, start, end in _sides(number, cut):
                spans = [Piece(number, 1, *span, side=side) for span in self._spans(part, start, end)]
                held += part.n_bytes
                if made and held <= self.ask.piece_bytes and made[-1].joins(spans):
                    made[-1] = Piece(made[-1].part, made[-1].parts + 1, side=side)
                else:
                    made += spans
                    held = part.n_bytes
        return made

    def _cut(self, numbers: list[int]) -> tuple[int, int]:
        """Where what is held out begins: the number of a part, and how many bytes of its text are before it."""
        parts = self._source.parts
        target, before = int((1.0 - self.ask.val_fraction) * sum(parts[number].n_bytes for number in numbers)), 0
        for number in numbers:
            part = parts[number]
            if before + part.n_bytes > target:
                inside = target - before
                if self._is_plain(part):
                    return number, Text(part.path, part.n_bytes, "").character_start(inside)
                unpacked = sum(map(len, self._source.blocks(part)))
                return number, int(inside / part.n_bytes * unpacked)
            before += part.n_bytes
        raise self._source.nothing()

    def _is_plain(self, part: Part) -> bool:
        """Whether any bytes of it can be read by themselves: it is neither packed nor to be converted."""
        if part.path == self._source.path and self._source.single is None:  # a member of an archive
            return False
        with opened(part.path) as file:
            return is_plain(file.read(HEAD))

    def _spans(self, part: Part, start: int, end: int | None) -> list[tuple[int, int | None]]:
        """[start, end) of a part as what is read at once."""
        size = self.ask.piece_bytes
        if part.format == "parquet":
            return _groups(row_groups(part), size)
        if part.n_bytes <= size or not self._is_plain(part):
            return [(start, end)]
        if part.format == "csv" or (part.format == "jsonl" and is_list(self._source, part)):
            return [(start, end)]  # only from its beginning is it known what a quote or a bracket means
        stop = part.n_bytes if end is None else end
        places = [place for place in range(0, part.n_bytes, size) if start < place < stop]
        if self.by == "end":
            with opened(part.path) as file:
                places = sorted({cut_after(file, place, stop) for place in places} - {start, stop})
        edges: list[int | None] = [*places, end]
        return list(zip([start, *places], edges, strict=True))

    def read(self, piece: Piece) -> Iterator[Document]:
        for number in range(piece.part, piece.part + piece.parts):
            part = self._source.parts[number]
            if self.by == "end":
                ends = piece.end is None and len(self._source.parts) > 1
                yield Document(self._chunks(part, piece.start, piece.end), piece.side == "val", ends)
            elif part.format == "text":
                yield from self._marked(part, piece)
            else:
                for where, row in self._rows(part, piece):
                    yield from self.record(row, where)

    def _rows(self, part: Part, piece: Piece) -> Iterator[tuple[str, dict[str, Any]]]:
        if part.format == "parquet":
            assert piece.end is not None
            yield from rows_of_groups(part, self.ask.columns, range(piece.start, piece.end))
        elif piece.whole:
            yield from rows_of(self._source, part, self.ask.columns)
        else:
            for line, at in between_marks(raw(part, piece.start, 1), b"\n", piece.start, piece.end, part.name):
                if line.strip():
                    yield (where := f"{part.name}, at byte {at:,}"), object_of(decoded(line, at, part.name), where)

    def _marked(self, part: Part, piece: Piece) -> Iterator[Document]:
        """The documents between marks that begin in a piece of a text."""
        mark = (self.ask.boundary or "").encode()
        blocks = self._source.blocks(part) if piece.whole else raw(part, piece.start, len(mark))
        for data, at in between_marks(blocks, mark, piece.start, piece.end, part.name):
            data = data if self.ask.template else data.removesuffix(mark)  # a template's stops are part of it
            text = decoded(data, at, part.name).replace("\r\n", "\n")
            if text.strip():
                yield Document(text, self.held_out(text))

    def _chunks(self, part: Part, start: int, end: int | None) -> Iterator[str]:
        """The text of the bytes [start, end) of a part, moved to where characters begin, line ends LF."""
        plain = (start or end is not None) and self._is_plain(part)
        blocks = raw(part, start) if plain else self._source.blocks(part)
        text = characters(blocks, start, end, start if plain else 0, part.name)
        yield from lf(without_bom(text) if start == 0 else text)


def _sides(number: int, cut: tuple[int, int] | None) -> Iterator[tuple[Side, int, int | None]]:
    """Where a part's text goes, and which of its bytes: all by documents, or to either side of the cut."""
    if cut is None:
        yield "", 0, None
    elif number == cut[0] and cut[1]:
        yield "train", 0, cut[1]
        yield "val", cut[1], None
    else:
        yield "train" if number < cut[0] else "val", 0, None


def _groups(sizes: list[int], most: int) -> list[tuple[int, int | None]]:
    """Groups of rows on end, as many as make up so many bytes."""
    spans: list[tuple[int, int | None]] = []
    first = held = 0
    if not sizes:
        return []
    for number, size in enumerate(sizes):
        if number > first and held + size > most:
            spans.append((first, number))
            first, held = number, 0
        held += size
    return [*spans, (first, len(sizes))]


def between_marks(
    blocks: Iterator[bytes], mark: bytes, start: int, end: int | None, name: str
) -> Iterator[tuple[bytes, int]]:
    """What stands between marks and begins in [start, end) of a text, each with the mark that ends it and its place.

    `blocks` begin as many bytes before `start` as the mark has, or at 0. A mark that overlaps the next one ends
    nothing (of three line ends the last two are the blank line): so it is known without all that is before.
    """
    base = max(0, start - len(mark))  # where `held` begins
    held = bytearray()
    begin = 0 if start == 0 else None  # in `held`, where the document begins; None before the first
    look = 0
    for block in chain(blocks, [None]):
        held += block or b""
        while (found := held.find(mark, look)) >= 0:
            after = found + len(mark)
            if block is not None and after + len(mark) - 1 > len(held):
                break  # whether another one overlaps it is not seen yet
            if (other := held.find(mark, found + 1, after + len(mark) - 1)) >= 0:
                look = other
                continue
            if begin is not None:
                yield bytes(held[begin:after]), base + begin
            begin = look = after
            if end is not None and base + begin >= end:
                return
        if found < 0:
            look = max(look, len(held) - len(mark) + 1)
        done = look if begin is None else begin
        if len(held) - done > 4 * LONGEST:
            raise CorpusError(
                f"{name}: no {mark.decode()!r} for over {LONGEST:,} characters; is that what ends a document?"
            )
        del held[:done]
        base, look, begin = base + done, look - done, None if begin is None else 0
    if begin is not None and held and (end is None or base < end):
        yield bytes(held), base
