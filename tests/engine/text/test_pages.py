"""Pages of a text lie one after the other and are read by themselves; previews read no more than they show."""

from __future__ import annotations

import gzip
import json
import zipfile
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.errors import CorpusError
from engine.text import pages as pages_module
from engine.text.catalog import find_corpus
from engine.text.corpus import Text
from engine.text.pages import CELL, MOST_COLUMNS, Pages, beginning, preview_table
from engine.text.unpack import BLOCK


def text_of(folder: Path, content: str, boundary: str | None = None) -> Text:
    path = folder / "text.txt"
    path.write_bytes(content.encode())
    return Text(path, len(content.encode()), "", boundary)


contents = st.text(st.sampled_from(list("ab\n\n#\u00e9\U0001f600")), min_size=1, max_size=120)


@settings(max_examples=60)
@given(contents, st.integers(1, 40))
def test_pages_are_the_text_one_after_the_other(tmp_path: Path, content: str, size: int) -> None:
    pages = Pages(text_of(tmp_path, content), size)
    found = [pages.page(number) for number in range(len(pages))]
    assert "".join(page.text for page in found) == content
    assert all(page.text and len(page.text.encode()) == page.end - page.start < 2 * pages.size + 4 for page in found)
    assert [page.number for page in found] == list(range(len(pages)))
    data = content.encode()
    for page, after in pairwise(found):
        assert page.end == after.start
        low = after.number * pages.size
        no_line_begins = b"\n" not in data[low - 1 : min(low + pages.size, len(data)) - 1]
        assert data[: after.start].endswith(b"\n") is not no_line_begins
    assert pages.page(-3) == found[0]
    assert pages.page(10**9) == found[-1]


def test_a_page_begins_with_a_line_where_one_begins_on_it(tmp_path: Path) -> None:
    content = "short\n" * 30 + "x" * 500 + "\nend\n"
    pages = Pages(text_of(tmp_path, content), 64)
    found = [pages.page(number) for number in range(len(pages))]
    assert all(page.text.startswith("short") for page in found[:2])
    assert [content[page.start - 1] == "x" for page in found].count(True) == 7


def test_a_page_far_into_a_large_text_costs_no_more_than_the_first(tmp_path: Path) -> None:
    path = tmp_path / "large.txt"
    with path.open("wb") as file:
        file.seek(1 << 40)  # a file with a hole, of a terabyte
        file.write(b"\nthe last line\n")
    text = Text(path, path.stat().st_size, "")
    last = Pages(text).page(len(Pages(text)) - 1)
    assert last.text.endswith("the last line\n") and len(last.text) < 2 * pages_module.SIZE


def test_a_text_that_is_gone_or_shorter_is_an_error_in_one_line(tmp_path: Path) -> None:
    text = Text(tmp_path / "text.txt", 100, "")
    for prepare, said in ((lambda: None, "cannot read"), (lambda: text.path.write_text("short"), "became shorter")):
        prepare()
        with pytest.raises(CorpusError, match=said):
            Pages(text).page(0)


# --- what is not prepared yet


def test_the_beginning_of_any_source_is_that_of_its_text(tmp_path: Path) -> None:
    lines = "".join(f"line {n} caf\u00e9\r\n" for n in range(3000))
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "a.txt").write_bytes(lines.encode())
    (folder / "b.txt").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(50))
    (folder / "c.txt").write_text("the end")
    with zipfile.ZipFile(tmp_path / "z.zip", "w") as archive:
        for path in sorted(folder.iterdir()):
            archive.write(path, path.name)
    (tmp_path / "p.txt.gz").write_bytes(gzip.compress(lines.encode("utf-16")))
    (tmp_path / "t.csv").write_text("prompt,response\n" + "".join(f"q{n},a{n}\n" for n in range(2000)))
    turns = [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "hello"}]
    (tmp_path / "c.jsonl").write_text(f"{json.dumps({'messages': turns})}\n" * 500)
    for name in ("folder/", "z.zip", "p.txt.gz", "t.csv", "c.jsonl"):
        corpus = find_corpus(str(tmp_path / name) + ("/" if name.endswith("/") else ""))
        whole = "".join(corpus.prepare(tmp_path / "cache").chunks())
        for most in (1, 100, 5000):
            assert beginning(corpus, most) == whole[:most], name
        assert beginning(corpus, 10**6) == whole


def test_the_beginning_is_read_without_the_rest(tmp_path: Path) -> None:
    path = tmp_path / "broken.csv"
    path.write_text("text\n" + "some words\n" * 20_000 + '"unclosed\nquote\n')
    corpus = find_corpus(str(path))
    assert beginning(corpus, 500).startswith("some words\n\nsome words")
    with pytest.raises(CorpusError):
        beginning(corpus, 10**7)
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "a.txt").write_bytes(b"a" * BLOCK + b"\xff")  # whether it is text is judged by its first block
    (folder / "b.txt").write_bytes(b"the end")
    corpus = find_corpus(f"{folder}/")
    assert beginning(corpus, 10) == "a" * 10
    assert "".join(corpus.prepare(tmp_path / "cache").chunks()) == "the end"
    (tmp_path / "gone.txt").write_text("here")
    corpus = find_corpus(str(tmp_path / "gone.txt"))
    corpus.path.unlink()
    with pytest.raises(CorpusError, match="it is not there"):
        beginning(corpus, 10)
    with pytest.raises(CorpusError, match="made when it is first used"):
        beginning(find_corpus("python-stdlib", tmp_path), 10)
    with pytest.raises(CorpusError, match="not on this machine yet"):
        beginning(find_corpus("tinyshakespeare", tmp_path), 10)


# --- columns


def test_columns_are_shown_with_their_first_rows(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("id,question,answer\n1,why,because\n2,how,so\n")
    found = preview_table(tmp_path / "a.csv")
    assert found is not None and found.format == "csv" and not found.chat
    assert found.problem == "" and found.more_columns == 0
    assert found.columns == ("id", "question", "answer") and found.chosen == ("question", "answer")
    assert found.rows == (("1", "why", "because"), ("2", "how", "so"))
    (tmp_path / "b.jsonl").write_text('{"a": 1}\n{"b": null, "c": [1]}\n' + json.dumps({"a": "x" * 999}) + "\n")
    found = preview_table(tmp_path / "b.jsonl")
    assert found is not None and found.columns == ("a", "b", "c") and found.chosen == ()
    assert found.rows == (("1", "", ""), ("", "", "[1]"), ("x" * CELL, "", ""))
    (tmp_path / "c.json").write_text(
        json.dumps([{"messages": [{"role": "user", "content": said} for said in ("hi", "so", "no")], "id": 7}])
    )
    found = preview_table(tmp_path / "c.json")
    assert found is not None and (found.chosen, found.chat) == (("messages",), True)
    assert found.rows == (("3 messages: hi", "7"),)
    (tmp_path / "d.txt").write_text("text")
    assert preview_table(tmp_path / "d.txt") is None
    with pytest.raises(CorpusError, match="it is not there"):
        preview_table(tmp_path / "none.csv")


def test_only_the_first_rows_are_read_and_a_damaged_one_is_named(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("text\n" + "row\n" * 30 + "one,two\n")
    found = preview_table(path)
    assert found is not None and len(found.rows) == 20 and found.problem == ""
    found = preview_table(path, 50)
    assert found is not None and len(found.rows) == 30 and "line 32: 2 values" in found.problem
    path.write_text(",".join(f"c{n}" for n in range(300)) + ",text\n" + "1," * 300 + "words\n")
    found = preview_table(path)
    assert found is not None and len(found.columns) == len(found.rows[0]) == MOST_COLUMNS
    assert found.more_columns == 101 and found.columns[0] == "text" and found.rows[0][0] == "words"


def test_columns_of_parquet(tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    table = pyarrow.table({"prompt": ["a", "b"], "n": [1, 2], "response": ["x", None]})
    parquet.write_table(table, tmp_path / "a.parquet")
    found = preview_table(tmp_path / "a.parquet")
    assert found is not None and found.format == "parquet" and found.chosen == ("prompt", "response")
    assert found.columns == ("prompt", "n", "response") and found.rows == (("a", "1", "x"), ("b", "2", ""))


@pytest.mark.parametrize("character", ["\u0080", "\u00bf", "\u00ff", "\u07ff"])
def test_a_page_inside_a_long_line_begins_with_a_whole_character(tmp_path: Path, character: str) -> None:
    pages = Pages(text_of(tmp_path, character * 300), 101)
    assert "".join(pages.page(number).text for number in range(len(pages))) == character * 300
