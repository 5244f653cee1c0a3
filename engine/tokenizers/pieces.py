"""One piece of a source as ids in two files, for training and validation; by this process or by helping ones."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator
from contextlib import ExitStack, closing
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import BaseModel, ConfigDict

from engine.errors import CorpusError, TokenizerError, UserError
from engine.files import doing
from engine.process import answer, first_order, in_turn
from engine.text.prepared import Split
from engine.tokenizers.base import END_OF_TEXT, Tokenizer
from engine.tokenizers.cutting import cut_safely
from engine.tokenizers.documents import Ask, Document, Documents, FileDocuments, Piece
from engine.tokenizers.hub import HubDocuments
from engine.tokenizers.table import tokenizer_from_dict

CHUNK = 1 << 20  # characters of a document that are encoded at once
SPLITS = ("train", "val")


class Encoded(BaseModel):
    """Where the ids of a piece lie, training and validation, and what they are."""

    model_config = ConfigDict(frozen=True)

    paths: tuple[str, str]
    splits: tuple[Split, Split]
    counted: dict[str, int]
    """What was left out of it, and how often."""


def open_documents(ask: Ask) -> Documents:
    """The documents that are asked for. Raises CorpusError."""
    return HubDocuments(ask) if ask.format == "hf" else FileDocuments(ask)


def mark_of(tokenizer: Tokenizer, ending: str) -> str:
    """The token that is put between documents; "" where none is: the tokenizer has none, or their text ends them."""
    return END_OF_TEXT if ending and END_OF_TEXT in tokenizer.special else ""


def encode_piece(documents: Documents, tokenizer: Tokenizer, folder: Path, number: int, piece: Piece) -> Encoded:
    """Write the ids of piece `number` into files in `folder`. Raises CorpusError, TokenizerError."""
    paths = [folder / f".piece-{number:07d}-{name}.{os.getpid()}.tmp" for name in SPLITS]
    tokens, n_bytes, count = [0, 0], [0, 0], [0, 0]
    little = tokenizer.dtype.newbyteorder("<")
    mark = mark_of(tokenizer, documents.ending)
    after = np.array([tokenizer.special[mark]], tokenizer.dtype) if mark else None
    documents.counted.clear()
    with doing("write", folder, CorpusError, inside=True), ExitStack() as stack:
        files = [stack.enter_context(path.open("wb", buffering=CHUNK)) for path in paths]
        for document in documents.read(piece):
            before = tokens[document.val]
            for text in _chunks(document, "" if mark else documents.ending):
                ids = tokenizer.encode(text)
                tokens[document.val] += len(ids)
                n_bytes[document.val] += int(tokenizer.byte_lengths[ids].sum())
                files[document.val].write(ids.astype(little, copy=False).data)
            if document.ends and after is not None and tokens[document.val] != before:
                tokens[document.val] += 1
                files[document.val].write(after.astype(little, copy=False).data)
            count[document.val] += document.ends
    train, val = (
        Split(tokens=ids, bytes=size, documents=number)
        for ids, size, number in zip(tokens, n_bytes, count, strict=True)
    )
    return Encoded(paths=(str(paths[0]), str(paths[1])), splits=(train, val), counted=dict(documents.counted))


def _chunks(document: Document, ending: str) -> Iterator[str]:
    """The text of a document with what ends it, where that is text, cut where it may be."""
    ending = ending if document.ends else ""
    if isinstance(document.text, str):
        text = document.text + ending
        if len(text) <= CHUNK:
            yield text
        else:
            yield from cut_safely(text[at : at + CHUNK] for at in range(0, len(text), CHUNK))
        return
    yield from cut_safely(_and_ending(document.text, ending))


def _and_ending(chunks: Iterator[str], ending: str) -> Iterator[str]:
    last = ""
    for chunk in chunks:
        last = chunk[-1:] or last
        yield chunk
    if ending:  # as where texts are put together: a blank line
        yield ending[1:] if ending == "\n\n" and last == "\n" else ending


def encode_pieces(
    documents: Documents, tokenizer: Tokenizer, folder: Path, pieces: list[Piece], first: int, workers: int
) -> Iterator[Encoded]:
    """Pieces from number `first` on, in their order, by so many processes; one is this.

    Raises the first error in that order. A helper that is lost costs time, never the result.
    """
    if workers < 2:
        for number in range(first, len(pieces)):
            yield encode_piece(documents, tokenizer, folder, number, pieces[number])
        return
    everyone = {"ask": documents.ask.model_dump(mode="json"), "tokenizer": tokenizer.to_dict(), "folder": str(folder)}
    orders = ([number, asdict(pieces[number])] for number in range(first, len(pieces)))
    count = min(workers, max(1, len(pieces) - first))
    with closing(in_turn("engine.tokenizers.pieces", count, everyone, orders)) as answers:
        for number, (_, data) in enumerate(answers, first):
            if data is None:
                yield encode_piece(documents, tokenizer, folder, number, pieces[number])
                continue
            told: dict[str, Any] = json.loads(data)
            if "problem" in told:
                raise (TokenizerError if told["of"] == "tokenizer" else CorpusError)(told["problem"])
            yield Encoded.model_validate(told)


def work() -> None:
    """A helper's whole life: a source and a tokenizer, then pieces, until its input ends."""
    import sys

    told = first_order()
    folder, tokenizer = Path(told["folder"]), tokenizer_from_dict(told["tokenizer"])
    documents: Documents | None = None
    for line in sys.stdin.buffer:
        number, fields = json.loads(line)
        made: Encoded | None = None
        try:
            documents = documents or open_documents(Ask(**told["ask"]))
            made = encode_piece(documents, tokenizer, folder, number, Piece(**fields))
            found = made.model_dump_json()
        except UserError as error:
            of = "tokenizer" if isinstance(error, TokenizerError) else "corpus"
            found = json.dumps({"problem": str(error), "of": of})
        try:
            answer(found.encode())
        except OSError:  # nobody waits for it any more
            for path in made.paths if made is not None else ():
                with contextlib.suppress(OSError):
                    Path(path).unlink()
            return


if __name__ == "__main__":
    work()
