"""Documents of a Hugging Face dataset, by the library `datasets`, which is an extra.

`hf:FOLDER` is one that `save_to_disk` wrote; `hf:NAME`, with `@REVISION` and `:CONFIG` where wanted, is any that
`load_dataset` knows, streamed: nothing of it is kept but its tokens. Of several splits `train` is read.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from engine.errors import CorpusError
from engine.text.tables import Columns, choose_among
from engine.tokenizers.documents import Ask, Document, Documents, Piece, hash_of

PREFIX = "hf:"
_NAME = re.compile(r"(?P<name>[^@:]+)(?:@(?P<revision>[^:]+))?(?::(?P<config>.+))?")
_DISK = ("dataset_info.json", "dataset_dict.json")
_ROWS = 1000  # of a dataset on disk, made Python's own at once


def is_saved(path: Path) -> bool:
    """Whether `save_to_disk` wrote what lies at `path`."""
    return (path / _DISK[1]).is_file() or ((path / _DISK[0]).is_file() and (path / "state.json").is_file())


def hub_columns(name: str, prompt: str | None = None, response: str | None = None) -> tuple[Columns, bool]:
    """The columns of the dataset `hf:NAME` to train on, and whether they hold conversations. Raises CorpusError."""
    with _failures(name):
        found = _loaded(name)
        first: dict[str, Any] = next(iter(found), {})
    columns = list(found.column_names or first)
    advice = f"tinytui corpora prepare {PREFIX}{name} --prompt-column NAME --response-column NAME"
    return choose_among(columns, first, name, prompt, response, advice)


class HubDocuments(Documents):
    """The documents of a dataset, a row each; pieces are ranges of rows on a disk, files of one that is streamed."""

    def __init__(self, ask: Ask) -> None:
        super().__init__(ask)
        self.by = "documents"
        self.ending = self.recipe.ending
        self._on_disk = is_saved(Path(ask.path))
        with _failures(ask.path):
            self._dataset = _loaded(ask.path)

    def state(self) -> str:
        if not self._on_disk:
            with _failures(self.ask.path):
                found = _loaded(self.ask.path)
                return hash_of([found.num_shards, str(found.features)])
        files = sorted(path for path in Path(self.ask.path).rglob("*") if path.is_file())
        return hash_of([[str(path), path.stat().st_size, path.stat().st_mtime_ns] for path in files])

    def pieces(self) -> list[Piece]:
        if not self._on_disk:
            return [Piece(number) for number in range(self._dataset.num_shards)]
        rows = len(self._dataset)
        step = max(1, self.ask.piece_bytes * rows // max(1, self._dataset.data.nbytes))
        return [Piece(0, 1, low, min(rows, low + step)) for low in range(0, rows, step)]

    def read(self, piece: Piece) -> Iterator[Document]:
        for where, row in self._rows(piece):
            yield from self.record(row, where)

    def _rows(self, piece: Piece) -> Iterator[tuple[str, dict[str, Any]]]:
        name = self.ask.path
        with _failures(name):
            if not self._on_disk:
                some = self._dataset.shard(self._dataset.num_shards, piece.part)
                for number, row in enumerate(some):
                    yield f"{name}, row {number + 1:,} of file {piece.part + 1:,}", row
                return
            assert piece.end is not None
            for low in range(piece.start, piece.end, _ROWS):
                batch = self._dataset[low : min(piece.end, low + _ROWS)]
                for number, values in enumerate(zip(*batch.values(), strict=True)):
                    yield f"{name}, row {low + number + 1:,}", dict(zip(batch, values, strict=True))


def _loaded(name: str) -> Any:
    """The rows of `train`: a dataset with a length for one on disk, else one that is streamed."""
    datasets = _library()
    if is_saved(Path(name)):
        found = datasets.load_from_disk(name)
    elif Path(name).exists():
        found = datasets.load_dataset(name, streaming=True)
    else:
        asked = _NAME.fullmatch(name)
        if asked is None:
            raise CorpusError(f"{PREFIX}{name} names no dataset; write {PREFIX}NAME, or {PREFIX}NAME@REVISION:CONFIG")
        found = datasets.load_dataset(asked["name"], asked["config"], revision=asked["revision"], streaming=True)
    if not isinstance(found, dict):
        return found
    if "train" in found:
        return found["train"]
    if len(found) == 1:
        return next(iter(found.values()))
    raise CorpusError(
        f"{PREFIX}{name} has no split named train, but {', '.join(found)}; save the one you want by itself"
    )


def _library() -> Any:
    try:
        import datasets
    except ImportError:
        raise CorpusError(
            "a Hugging Face dataset needs the datasets package; to read it: pip install 'tinytui[datasets]'"
        ) from None
    datasets.disable_progress_bars()
    return datasets


@contextlib.contextmanager
def _failures(name: str) -> Iterator[None]:
    """What the library raises, which is as much as there are networks and formats, as one line."""
    try:
        yield
    except CorpusError:
        raise
    except Exception as error:
        words = " ".join(str(error).split())[:200] or type(error).__name__
        raise CorpusError(f"cannot read {PREFIX}{name}: {words}") from None
