"""Tokens made ahead: a source of any size becomes a folder of shards (`engine.text.prepared`), by many processes.

The folder is the same, byte for byte, whatever the number of processes, and however often the work was broken off: the
pieces of a source are numbered, their ids are put one after the other, and meta.json says after every few of them how
far the shards are good. Nowhere is there more of the source than a piece.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from engine.errors import CorpusError
from engine.files import doing, make_folder, sweep, write_atomic
from engine.text.catalog import corpus_at, find_corpus, slug
from engine.text.corpus import Text
from engine.text.prepared import META, TOKENIZER, Prepared, Shard, dump, is_prepared, read_prepared, shard_path
from engine.text.template import CHAT_TEMPLATE
from engine.tokenizers.base import END_OF_TEXT, Tokenizer
from engine.tokenizers.documents import Ask, Documents, Piece
from engine.tokenizers.hub import PREFIX, hub_columns, is_saved
from engine.tokenizers.learning import MOST
from engine.tokenizers.pieces import SPLITS, Encoded, encode_pieces, mark_of, open_documents
from engine.tokenizers.shards import ShardWriter
from engine.tokenizers.table import load_tokenizer, tokenizer_class, train_tokenizer

if TYPE_CHECKING:
    from engine.config import DataConfig
    from engine.text.scan import Progress

SHARD = 100_007_936  # ids of a shard: 200 MB of uint16
EVERY = 5.0  # seconds between two words in meta.json of how far it is: what a kill costs at most, with a piece
_OTHER = {
    "source": "another source",
    "documents": "other columns, another --boundary or --val-fraction",
    "tokenizer": "another tokenizer",
    "shard_tokens": "another --shard-tokens",
}
_SAMPLED = 64  # pieces that a vocabulary is learned from, where they are so many


def ask_for(
    source: str,
    corpora_dir: Path | None = None,
    *,
    prompt_column: str | None = None,
    response_column: str | None = None,
    boundary: str | None = None,
    val_fraction: float = 0.1,
) -> tuple[str, Ask]:
    """A name for what `source` names, and how it is read: a corpus, a path, or `hf:` and a dataset. Raises CorpusError.

    `boundary` is what ends a document in a text; unset, as the corpus' card says.
    """
    if source.startswith(PREFIX) or is_saved(Path(source).expanduser()):
        name = source.removeprefix(PREFIX)
        columns, chat = hub_columns(name, prompt_column, response_column)
        template = CHAT_TEMPLATE if chat or len(columns) == 2 else None
        return slug(name), Ask(
            path=name, format="hf", columns=columns, chat=chat, template=template, val_fraction=val_fraction
        )
    path = Path(source).expanduser()
    corpus = corpus_at(path, prompt_column, response_column) if prompt_column else find_corpus(source, corpora_dir)
    if corpus.prepared is not None:
        raise CorpusError(f"{source} holds tokens already; name the text they are to be made from")
    place, format = corpus.path, corpus.format
    if not corpus.available or corpus.builder is not None:
        place, format = corpus.prepare().path, "text"
    return corpus.name, Ask(
        path=str(place.resolve()),
        format=format,
        columns=corpus.columns,
        chat=corpus.chat,
        template=corpus.template,
        boundary=boundary or corpus.boundary,
        val_fraction=val_fraction,
    )


def prepare(
    name: str,
    ask: Ask,
    folder: Path,
    data: DataConfig,
    *,
    tokenizer: Tokenizer | None = None,
    shard_tokens: int = SHARD,
    workers: int = 1,
    progress: Progress | None = None,
) -> Prepared:
    """Fill `folder` with the tokens of what is asked for, or go on where that was broken off; see the module.

    `tokenizer` is one to use in place of what `data` asks for, which is learned from a sample of the training part.
    Raises CorpusError, TokenizerError; what is done by then is kept.
    """
    folder = make_folder(folder, CorpusError).resolve()
    with doing("write", folder, CorpusError, inside=True), _alone(folder), open_documents(ask) as documents:
        asked = {
            "source": ask.path,
            "state": documents.state(),
            "documents": ask.model_dump(mode="json", exclude={"path"}),
            "tokenizer": {"fingerprint": tokenizer.fingerprint} if tokenizer is not None else _asked_of(data),
            "shard_tokens": shard_tokens,
        }
        known = _begun(folder, asked)
        if known is not None and known.finished:
            return known
        sweep(folder, ".*.tmp")
        pieces = documents.pieces()
        if known is None:
            if tokenizer is None:
                tokenizer = _learned(documents, pieces, data, folder, progress)
            write_atomic(folder / TOKENIZER, tokenizer.canonical(), kind=CorpusError)
            known = Prepared(
                path=folder,
                name=name,
                asked=asked,
                tokenizer=tokenizer.identity | {"settings": tokenizer.settings},
                dtype="uint16" if tokenizer.dtype.itemsize == 2 else "uint32",
                by=documents.by,
                mark=mark_of(tokenizer, documents.ending),
                template=ask.template,
                val_fraction=ask.val_fraction,
                shard_tokens=shard_tokens,
                pieces=len(pieces),
            )
            _say(known)
        else:
            tokenizer = load_tokenizer(folder / TOKENIZER)
        try:
            return _filled(known, documents, tokenizer, pieces, workers, progress)
        finally:
            sweep(folder, ".piece-*.tmp")


@contextlib.contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Nobody else fills the folder meanwhile. Raises CorpusError when somebody does."""
    fd = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError:
        raise CorpusError(f"{folder} is being filled by another process; wait for it, or end it first") from None
    finally:
        os.close(fd)


def _asked_of(data: DataConfig) -> dict[str, Any]:
    made_by = tokenizer_class(data.tokenizer).made_by
    return {"kind": data.tokenizer} | ({made_by: getattr(data, made_by)} if made_by else {})


def _begun(folder: Path, asked: dict[str, Any]) -> Prepared | None:
    """What the folder says of itself, if the same was asked for; None for an empty one."""
    if not is_prepared(folder):
        if [entry for entry in folder.iterdir() if entry.name != TOKENIZER and not entry.match(".*.tmp")]:
            raise CorpusError(f"{folder} is not empty; choose another folder")
        return None
    known = read_prepared(folder)
    other = next((key for key, value in asked.items() if known.asked.get(key) != value), None)
    if other == "state":
        raise CorpusError(
            f"{asked['source']} has changed since {folder} was begun with it; restore it, or choose another folder"
        )
    if other is not None:
        raise CorpusError(f"{folder} was begun with {_OTHER[other]}; choose another folder")
    return known


def _say(about: Prepared) -> None:
    write_atomic(about.path / META, dump(about), kind=CorpusError)


def _filled(
    about: Prepared,
    documents: Documents,
    tokenizer: Tokenizer,
    pieces: list[Piece],
    workers: int,
    progress: Progress | None,
) -> Prepared:
    folder = about.path
    writers = [
        ShardWriter(folder, name, tokenizer.dtype.itemsize, about.shard_tokens, split)
        for name, split in zip(SPLITS, (about.train, about.val), strict=True)
    ]
    said = time.monotonic()
    encoding = encode_pieces(documents, tokenizer, folder, pieces, about.pieces_done, workers)
    try:
        for made in encoding:
            for path, writer in zip(map(Path, made.paths), writers, strict=True):
                writer.append(path)
                path.unlink()
            about = _grown(about, made)
            if progress is not None:
                progress("encoding", about.pieces_done / len(pieces))
            if time.monotonic() - said > EVERY:
                about = _with(about, [writer.so_far() for writer in writers])
                _say(about)
                said = time.monotonic()
        if documents.state() != about.asked["state"]:
            raise CorpusError(f"{documents.ask.path} changed while it was read; remove {folder} and prepare it again")
        about = _with(about, [writer.finish() for writer in writers])
    finally:
        encoding.close()  # type: ignore[attr-defined]
        for writer in writers:
            writer.close()
    return _finished(about, documents, tokenizer)


def _grown(about: Prepared, made: Encoded) -> Prepared:
    """With one piece more, but for its shards."""
    train, val = made.splits
    changes = {
        "train": about.train.grown(train),
        "val": about.val.grown(val),
        "pieces_done": about.pieces_done + 1,
        "counted": dict(Counter(about.counted) + Counter(made.counted)),
    }
    return about.model_copy(update=changes)


def _with(about: Prepared, shards: list[tuple[Shard, ...]]) -> Prepared:
    train, val = ({"shards": some} for some in shards)
    changes = {"train": about.train.model_copy(update=train), "val": about.val.model_copy(update=val)}
    return about.model_copy(update=changes)


def _finished(about: Prepared, documents: Documents, tokenizer: Tokenizer) -> Prepared:
    """The last word of meta.json. Raises CorpusError where nothing is to be trained or validated on."""
    changes: dict[str, Any] = {"finished": True, "left_out": documents.left_out(about.counted)}
    for name, split in (("train", about.train), ("val", about.val)):
        if not split.tokens:
            what, which = ("training", "smaller") if name == "train" else ("validation", "larger")
            raise CorpusError(
                f"nothing of {documents.ask.path} fell to {what}; give a {which} --val-fraction, or more text, "
                f"and another folder"
            )
        first = np.fromfile(shard_path(about.path, name, 0), tokenizer.dtype.newbyteorder("<"), 1).item()
        changes[name] = split.model_copy(update={"first": len(tokenizer.token_bytes(first))})
    about = about.model_copy(update=changes)
    _say(about)
    return about


def _learned(
    documents: Documents, pieces: list[Piece], data: DataConfig, folder: Path, progress: Progress | None
) -> Tokenizer:
    """The tokenizer that `data` asks for, from a sample of the documents that are trained on, in bounded memory."""
    kind = tokenizer_class(data.tokenizer)
    path = folder / ".sample.tmp"
    if kind.made_by is None:
        return train_tokenizer(data, Text(path, 0, ""), 0)
    form = documents.ask.template
    try:
        with path.open("wb") as file:
            for text in _characters(documents, pieces) if kind.of_all else _sample(documents, pieces):
                file.write(text.encode())
                if progress is not None:
                    progress("reading a sample", min(1.0, file.tell() / MOST))
            size = file.tell()
        text_of = Text(path, size, "", documents.ask.boundary or (form.suffix if form else None))
        return train_tokenizer(data, text_of, size, progress)
    finally:
        path.unlink(missing_ok=True)


def _sample(documents: Documents, pieces: list[Piece]) -> Iterator[str]:
    """An even sample of what is trained on: the beginnings of pieces, a mark between documents."""
    trained = [piece for piece in pieces if piece.side != "val"]
    count = min(_SAMPLED, len(trained))
    for number in range(count):
        room = MOST // count
        for document in documents.read(trained[number * len(trained) // count]):
            if document.val:
                continue
            for chunk in document.chunks:
                yield chunk
                room -= len(chunk)
                if room <= 0:
                    break
            if documents.ending and document.ends:
                yield END_OF_TEXT
            if room <= 0:
                break


def _characters(documents: Documents, pieces: list[Piece]) -> Iterator[str]:
    """Every character there is, once."""
    seen = set(documents.ending)
    yield "".join(sorted(seen))
    for piece in pieces:
        for document in documents.read(piece):
            for chunk in document.chunks:
                if fresh := set(chunk) - seen:
                    seen |= fresh
                    yield "".join(sorted(fresh))
