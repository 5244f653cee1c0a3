"""Where things are kept between one use and the next, which every version must find again; and how much is told."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from engine.config import DataConfig
from engine.errors import CorpusError
from engine.text import render, rows, statistics
from engine.text.catalog import slug
from engine.text.corpus import Text
from engine.text.magic import no_text
from engine.text.scan import remembered
from engine.text.source import Part, Source
from engine.text.tables import Recipe
from engine.text.web import Partial
from engine.tokenizers.byte import ByteTokenizer
from engine.tokenizers.cache import cached_tokenizer, cached_tokens


def sha(tree: object) -> str:
    return hashlib.sha256(json.dumps(tree).encode()).hexdigest()


def test_what_is_kept_is_found_by_a_hash_of_what_it_is_of(tmp_path: Path) -> None:
    path = tmp_path / "t.txt"
    path.write_text("a b a b a b\n")
    text = Text(path, 12, hashlib.sha256(path.read_bytes()).hexdigest(), "\n")
    data = DataConfig(tokenizer="word", vocab_size=300)
    cached_tokenizer(text, data, 8, tmp_path / "cache")
    (kept,) = (tmp_path / "cache" / "tokenizers").iterdir()
    assert kept.name == f"{sha([1, text.sha256, chr(10), 8, 'word', 300])[:32]}.json"
    byte = ByteTokenizer()
    cached_tokens(text, byte, 8, tmp_path / "cache")
    (folder,) = (tmp_path / "cache" / "tokens").iterdir()
    assert folder.name == f"{text.sha256[:16]}-{byte.fingerprint[:16]}-8"
    place = statistics._place(text, 8)
    assert place.name == f"{text.sha256[:32]}-{sha([statistics.FORMAT, chr(10), 8])[:16]}.json"
    url = "https://there/t.txt"
    assert Partial(url).path.name == f"{hashlib.sha256(url.encode()).hexdigest()[:32]}.part"
    with Source(path) as source:
        key = render._key(source, Recipe(("text",), True, None, "--"), "d")
    assert key == sha([2, "d", ["text", [False]], ["text"], True, None, "--"])[:32]


def test_a_look_is_kept_under_the_place_that_was_looked_at(tmp_path: Path) -> None:
    def kept(place: str) -> str:
        remembered("scan", Path(place), ["key"], 0, tmp_path, lambda: {"n": 1})
        return f"{hashlib.sha256(place.encode()).hexdigest()[:32]}-scan.json"

    assert {kept("/a"), kept("/b")} == {path.name for path in (tmp_path / "checked").iterdir()}


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("a" * 70, "a" * 64),
        ("a" * 63 + "-b", "a" * 63),
        ("a b  c_d.e-", "a-b-c_d.e"),
        ("..", "corpus"),
        ("é", "corpus"),
        ("_a", "a"),
    ],
)
def test_a_name_is_made_of_what_a_name_may_have(text: str, name: str) -> None:
    assert slug(text) == name


def test_of_what_is_left_out_four_are_named(tmp_path: Path) -> None:
    (tmp_path / "t.txt").write_text("a")
    with Source(tmp_path / "t.txt") as source:
        told = [source.left_out({})]
        for number in range(6):
            source.skipped.append((f"{number}", "odd"))
            told.append(source.left_out({}))
        source.hidden = 1234
        told.append(source.left_out({}))
    named = [f"{number} (odd)" for number in range(4)]
    assert told == [
        "",
        *(f"{', '.join(named[:count])}" for count in (1, 2, 3, 4)),
        f"{', '.join(named)}, 1 more",
        f"{', '.join(named)}, 2 more",
        f"{', '.join(named)}, 2 more, 1,234 hidden",
    ]


@pytest.mark.parametrize(("coded", "name"), [("utf-16-le", "UTF-16LE"), ("utf-16-be", "UTF-16BE")])
def test_wide_text_without_a_mark_is_known_by_its_first_ten_characters(coded: str, name: str) -> None:
    for text, known in (("ten of it €", True), ("ten of i€ x", False), ("ab", True), ("a", False)):
        said = no_text(text.encode(coded))
        assert (name in said if said is not None else False) is known, text


def test_of_a_damaged_table_so_much_is_told(tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    pyarrow = pytest.importorskip("pyarrow")
    path = tmp_path / "t.parquet"
    parquet.write_table(pyarrow.Table.from_pylist([{"text": "a"}] * 5), path, row_group_size=1)
    part = Part(str(path), path.name, "parquet", path.stat().st_size, path)
    with pytest.raises(CorpusError) as told, rows._parquet(part):
        raise pyarrow.ArrowInvalid("x" * 150 + "\n " + "y" * 150)
    assert str(told.value) == f"{path} is a damaged Parquet table ({'x' * 150} {'y' * 49}); get it again"
    found = [where for where, _ in rows.rows_of_groups(part, ("text",), range(1, 4))]
    assert found == [f"{path}, row {n} of groups 1 to 3" for n in (1, 2, 3)]
