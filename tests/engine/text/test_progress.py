"""What is told while a text is read: shares that rise and end with the whole, whatever is being done."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from engine.config import DataConfig
from engine.text import render, scan, source, statistics, stdlib
from engine.text.corpus import Text
from engine.text.source import Source
from engine.text.tables import Recipe
from engine.tokenizers.dataset import TokenDataset

Told = list[tuple[str, float]]
WORDS = "eins zwei drei vier fünf sechs " * 300


@pytest.fixture
def said() -> Told:
    return []


@pytest.fixture
def note(said: Told) -> Callable[[str, float], None]:
    return lambda what, done: said.append((what, done))


def text(folder: Path, content: str = WORDS) -> Text:
    data = content.encode()
    (folder / "a.txt").write_bytes(data)
    return Text(folder / "a.txt", len(data), hashlib.sha256(data).hexdigest())


def shares(said: Told, what: str) -> list[float]:
    """Of one thing that is done, which begins above 0, rises, and ends with 1."""
    found = [done for each, done in said if each == what]
    assert found and found == sorted(found) and found[0] > 0 and found[-1] == 1.0, (what, found)
    return found


def test_of_a_file_that_is_looked_through(
    tmp_path: Path, said: Told, note: Callable[[str, float], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scan, "BLOCK", 4)
    (tmp_path / "a.txt").write_bytes(b"0123456789")
    scan.scan(tmp_path / "a.txt", note)
    assert said == [("checking", 0.4), ("checking", 0.8), ("checking", 1.0)]


def test_of_a_folder_that_is_looked_through(tmp_path: Path, said: Told, note: Callable[[str, float], None]) -> None:
    for name, length in (("a.txt", 100), ("b.txt", 300), ("c.txt", 600)):
        (tmp_path / name).write_bytes(b"x" * length)
    with Source(tmp_path) as folder:
        folder.digest(note)
    assert said == [("checking", 0.1), ("checking", 0.4), ("checking", 1.0)]
    said.clear()
    with Source(tmp_path / "b.txt") as file:
        file.digest(note)
    assert said == [("checking", 1.0)]


def test_of_a_source_that_is_read(tmp_path: Path) -> None:
    for name, length in (("a.txt", 100), ("b.txt", 300), ("c.txt", 600)):
        (tmp_path / name).write_bytes(b"x" * length)
    with Source(tmp_path) as folder:
        assert folder.fraction == 0.0
        read = []
        for part in folder.parts:
            assert b"".join(folder.blocks(part)) == b"x" * part.n_bytes
            read.append(folder.fraction)
        assert read == [0.1, 0.4, 1.0]
        folder.at(folder.parts[1], 0.5)
        assert folder.fraction == 0.25
        folder.done = 2000  # of files that grew meanwhile
        assert folder.fraction == 1.0


def test_of_statistics(
    tmp_path: Path, said: Told, note: Callable[[str, float], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The validation split is read twice: first to be looked for, and then with all of it."""
    monkeypatch.setattr(statistics, "BLOCK", 1000)
    whole = text(tmp_path)
    assert statistics.statistics(whole, 0.5, note) is not None
    found = shares(said, "counting")
    assert len(found) == pytest.approx(1.5 * whole.n_bytes / 1000, abs=3)
    steps = [after - before for before, after in zip([0.0, *found], found, strict=False)]
    assert max(steps) < 1100 / (1.5 * whole.n_bytes)


@pytest.mark.parametrize("kind", ["char", "bpe", "word", "byte"])
def test_of_tokens(tmp_path: Path, said: Told, note: Callable[[str, float], None], kind: str) -> None:
    whole = text(tmp_path)
    data = DataConfig.model_validate({"tokenizer": kind, "vocab_size": 300, "val_fraction": 0.25})
    dataset = TokenDataset.open(whole, data, tmp_path / "cache", note)
    assert dataset.cut / whole.n_bytes in shares(said, "encoding") and dataset.cut < 0.8 * whole.n_bytes
    for what in {what for what, _ in said}:
        shares(said, what)


def test_of_a_library_that_is_collected(
    tmp_path: Path, said: Told, note: Callable[[str, float], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stdlib, "LEAST", 10)
    library = tmp_path / "lib"
    library.mkdir()
    for name in "abcd":
        (library / f"{name}.py").write_text("pass\n" * 10)
    stdlib.build_stdlib(tmp_path, note, library)
    assert said == [("collecting the standard library", share) for share in (0.25, 0.5, 0.75, 1.0)]


def test_without_anybody_who_asks_nothing_is_told(tmp_path: Path) -> None:
    whole = text(tmp_path)
    assert scan.scan(whole.path).sha256 == whole.sha256
    with Source(whole.path) as file:
        assert file.digest() == whole.sha256
        recipe = Recipe()
        assert b"".join(filter(None, render.pieces(file, recipe, Counter()))) == WORDS.encode()
    assert source.Source(whole.path).format == "text"
