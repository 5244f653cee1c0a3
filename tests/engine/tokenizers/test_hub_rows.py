"""Rows of a dataset as the library gives them, whichever way it lies; the library itself is an extra."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from engine.text.tables import Columns
from engine.tokenizers import hub
from engine.tokenizers.documents import Ask, Piece
from engine.tokenizers.hub import HubDocuments, is_saved

TEXTS = [f"row {number}" for number in range(7)]


class Saved:
    """A dataset on a disk: columns by a range of rows."""

    data = SimpleNamespace(nbytes=700)

    def __len__(self) -> int:
        return len(TEXTS)

    def __getitem__(self, rows: slice) -> dict[str, list[str]]:
        return {"text": TEXTS[rows], "other": TEXTS[rows]}


class Streamed:
    """One that is read file by file."""

    num_shards = 3

    def shard(self, files: int, number: int) -> list[dict[str, str]]:
        assert files == self.num_shards
        return [{"text": text} for text in TEXTS[number::files]]


@pytest.mark.parametrize(
    ("files", "saved"),
    [
        ((), False),
        (("dataset_dict.json",), True),
        (("dataset_info.json",), False),
        (("state.json",), False),
        (("dataset_info.json", "state.json"), True),
    ],
)
def test_what_the_library_saved_is_known(tmp_path: Path, files: tuple[str, ...], saved: bool) -> None:
    for name in files:
        (tmp_path / name).touch()
    assert is_saved(tmp_path) is saved


def documents(monkeypatch: pytest.MonkeyPatch, path: str, dataset: Any, piece_bytes: int = 300) -> HubDocuments:
    columns: Columns = ("text",)
    monkeypatch.setattr(hub, "_loaded", lambda name: dataset)
    return HubDocuments(Ask(path=path, format="hf", columns=columns, piece_bytes=piece_bytes))


@pytest.mark.parametrize("rows", [1, 2, 1000])
@pytest.mark.parametrize(("piece_bytes", "each"), [(300, 3), (100, 1), (1, 1), (699, 6), (700, 7), (10**6, 7)])
def test_a_saved_one_is_read_by_ranges_of_rows(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, piece_bytes: int, each: int, rows: int
) -> None:
    (tmp_path / "dataset_dict.json").touch()
    monkeypatch.setattr(hub, "_ROWS", rows)
    made = documents(monkeypatch, str(tmp_path), Saved(), piece_bytes)
    assert made.pieces() == [Piece(0, 1, low, min(7, low + each)) for low in range(0, 7, each)]
    found = [row for piece in made.pieces() for row in made._rows(piece)]
    assert found == [(f"{tmp_path}, row {n + 1}", {"text": text, "other": text}) for n, text in enumerate(TEXTS)]


def test_a_streamed_one_is_read_file_by_file(monkeypatch: pytest.MonkeyPatch) -> None:
    made = documents(monkeypatch, "somebody/something", Streamed())
    assert made.pieces() == [Piece(0), Piece(1), Piece(2)]
    assert [text for _, row in made._rows(Piece(1)) for text in row.values()] == TEXTS[1::3]
    assert [where for where, _ in made._rows(Piece(1))] == [
        "somebody/something, row 1 of file 2",
        "somebody/something, row 2 of file 2",
    ]
