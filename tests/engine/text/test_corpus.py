"""Corpora as text: checks, rendering, the split, streaming."""

from __future__ import annotations

import csv
import hashlib
import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.errors import CorpusError
from engine.text import render
from engine.text import scan as scanning
from engine.text.catalog import find_corpus
from engine.text.corpus import Corpus, Text
from engine.text.template import CHAT_TEMPLATE, Template

words = st.text(st.characters(codec="utf-8", exclude_characters="\0\ufeff"), max_size=60)


def text_of(path: Path, boundary: str | None = None) -> Text:
    data = path.read_bytes()
    return Text(path, len(data), hashlib.sha256(data).hexdigest(), boundary)


def write(path: Path, data: str | bytes) -> Path:
    path.write_bytes(data.encode() if isinstance(data, str) else data)
    return path


def prepare(path: Path, cache: Path) -> str:
    text = find_corpus(str(path), cache / "none").prepare(cache)
    data = text.path.read_bytes()
    assert (len(data), hashlib.sha256(data).hexdigest()) == (text.n_bytes, text.sha256)
    return data.decode()


# --- plain text


def test_a_clean_text_file_is_used_where_it_lies(tmp_path: Path) -> None:
    path = write(tmp_path / "a.txt", "To be, or not to be\n")
    text = find_corpus(str(path)).prepare(tmp_path / "cache")
    assert text.path == path.resolve()
    assert text.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()


def test_any_suffix_and_none_are_text(tmp_path: Path) -> None:
    for name in ("notes.md", "README", "code.py"):
        assert prepare(write(tmp_path / name, "some text\n"), tmp_path / "cache") == "some text\n"


def test_byte_order_mark_and_crlf_are_cleaned_in_a_copy(tmp_path: Path) -> None:
    raw = b"\xef\xbb\xbfone\r\ntwo\rthree\n"
    path = write(tmp_path / "windows.txt", raw)
    assert prepare(path, tmp_path / "cache") == "one\ntwo\rthree\n"
    assert path.read_bytes() == raw


@pytest.mark.parametrize("wrong", ["", "[]", '{"boundary": 5, "left_out": ""}', '{"boundary": null, "left_out": null}'])
def test_a_text_that_is_described_wrong_in_the_cache_is_made_again(wrong: str, tmp_path: Path) -> None:
    path = write(tmp_path / "a.txt", "one\r\ntwo\r\n")
    text = find_corpus(str(path)).prepare(tmp_path / "cache")
    about = text.path.with_suffix(".json")
    before = about.read_bytes()
    about.write_text(wrong)
    assert find_corpus(str(path)).prepare(tmp_path / "cache") == text and about.read_bytes() == before


def test_line_ends_across_blocks_are_cleaned(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scanning, "BLOCK", 4)
    path = write(tmp_path / "a.txt", "abc\r\ndef\u00e9\u00e9\r\n")  # the first CR LF lies across two blocks
    assert prepare(path, tmp_path / "cache") == "abc\ndef\u00e9\u00e9\n"
    monkeypatch.setattr(render, "_PIECE", 16)
    long = "x" * 15 + "\r\n" + "y\r"
    assert prepare(write(tmp_path / "b.txt", long), tmp_path / "cache") == long.replace("\r\n", "\n")


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "is empty"),
        (b"\xef\xbb\xbf", "empty but for a byte order mark"),
        (b"abc\0def", "NUL byte at offset 3"),
        (b"caf\xe9 au lait", "byte 0xe9 at offset 3.*iconv"),
        (b"good\xc3", "byte 0xc3 at offset 4"),
        ("h\u00e9llo, you".encode("utf-16-le"), "UTF-16 text without a byte order mark.*iconv"),
    ],
)
def test_what_is_no_text_is_refused_in_one_line(tmp_path: Path, data: bytes, says: str) -> None:
    path = write(tmp_path / "bad.txt", data)
    with pytest.raises(CorpusError, match=says) as caught:
        find_corpus(str(path)).prepare(tmp_path / "cache")
    assert "\n" not in str(caught.value)


def test_the_offset_is_right_beyond_the_first_block(tmp_path: Path) -> None:
    start = "\u20ac" * 400_000  # three bytes each: a block's end cuts one
    path = write(tmp_path / "bad.txt", start.encode() + b"\xff")
    with pytest.raises(CorpusError, match="offset 1,200,000"):
        find_corpus(str(path)).prepare(tmp_path / "cache")


def test_missing_directory_and_special_files_are_refused(tmp_path: Path) -> None:
    fifo = tmp_path / "pipe.txt"
    os.mkfifo(fifo)
    empty = tmp_path / "empty"
    empty.mkdir()
    for path, says in ((tmp_path / "no.txt", "it is not there"), (empty, "no text in"), (fifo, "not a regular file")):
        with pytest.raises(CorpusError, match=says):
            find_corpus(str(path)).prepare(tmp_path / "cache")


def test_a_checked_file_is_not_read_again_until_it_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, cache = write(tmp_path / "a.txt", "hello\n"), tmp_path / "cache"
    os.utime(path, (1_000_000_000, 1_000_000_000))
    scans: list[Path] = []
    real = scanning.scan

    def counted(file: Path, progress: scanning.Progress | None = None) -> scanning.Scan:
        scans.append(file)
        return real(file, progress)

    monkeypatch.setattr(scanning, "scan", counted)
    first = find_corpus(str(path)).prepare(cache)
    assert find_corpus(str(path)).prepare(cache) == first
    assert len(scans) == 1
    write(path, "other\n")
    os.utime(path, (1_000_000_001, 1_000_000_001))
    assert find_corpus(str(path)).prepare(cache).sha256 != first.sha256
    assert len(scans) == 2


def test_a_file_changed_just_now_is_not_remembered(tmp_path: Path) -> None:
    """It could change again within one tick of the clock, with the same size."""
    path, cache = write(tmp_path / "a.txt", "one\n"), tmp_path / "cache"
    status = path.stat()
    first = find_corpus(str(path)).prepare(cache)
    write(path, "two\n")
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert find_corpus(str(path)).prepare(cache).sha256 != first.sha256


def test_a_cache_that_cannot_be_written_does_not_stop_plain_text(tmp_path: Path) -> None:
    path = write(tmp_path / "a.txt", "hello\n")
    os.utime(path, (1_000_000_000, 1_000_000_000))
    blocked = write(tmp_path / "cache", "a file where a folder should be")
    assert find_corpus(str(path)).prepare(blocked).n_bytes == 6


def test_a_rendering_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", "prompt,response\nHi,Hello\n")
    blocked = write(tmp_path / "cache", "a file where a folder should be")
    with pytest.raises(CorpusError, match="cannot make"):
        find_corpus(str(path)).prepare(blocked)


def test_a_file_that_is_not_what_its_card_says_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "a.txt", "changed\n")
    with pytest.raises(CorpusError, match="SHA-256 differs"):
        replace(find_corpus(str(path)), sha256="0" * 64).prepare(tmp_path / "cache")


# --- CSV and JSONL


@pytest.mark.parametrize("header", ["prompt,response", "Question,Answer", "input,output", "id,instruction,output"])
def test_columns_are_guessed_from_common_names(tmp_path: Path, header: str) -> None:
    first = "1," if header.startswith("id") else ""
    path = write(tmp_path / "a.csv", f'{header}\n{first}Hi,"Hello, you"\n\n')
    assert prepare(path, tmp_path / "cache") == "You: Hi\nBot: Hello, you<END>\n"


def test_a_text_column_is_records_with_a_blank_line_between(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", "n,text\n1,one\n2,two\n")
    assert prepare(path, tmp_path / "cache") == "one\n\ntwo\n\n"
    assert find_corpus(str(path)).prepare(tmp_path / "cache").boundary == "\n\n"


def test_tabs_separate_in_tsv_and_windows_files_are_read(tmp_path: Path) -> None:
    path = write(tmp_path / "a.tsv", b"\xef\xbb\xbfprompt\tresponse\r\nHi\tHello, you\r\n")
    assert prepare(path, tmp_path / "cache") == "You: Hi\nBot: Hello, you<END>\n"


def test_jsonl_takes_numbers_and_passes_over_blank_lines(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", '{"question": "2+2?", "answer": 4}\n\n{"question": "Hm?", "answer": null}\n')
    assert prepare(path, tmp_path / "cache") == "You: 2+2?\nBot: 4<END>\nYou: Hm?\nBot: <END>\n"


@pytest.mark.parametrize(
    ("name", "data", "says"),
    [
        ("a.csv", "a,b\n1,2\n", "has columns a, b.*--prompt-column"),
        pytest.param("a.csv", "x" * 90 + "\n1\n", "has columns x{40}[.]{3}; say", id="long header"),
        pytest.param("a.csv", ",".join(map(str, range(99))), "has columns 0, 1, .*11, 87 more; say", id="wide header"),
        ("a.csv", "prompt,response\n", "no records"),
        ("a.csv", "prompt,response\nHi,Hello\nonly one\n", "line 3: 1 values where the header has 2"),
        ("a.csv", 'prompt,response\n"a\nb",c\nx,y,z\n', "line 4: 3 values"),
        ("a.csv", 'prompt,response\n"never closed,x\n', "line 2.*quote"),
        ("a.csv", b"prompt,response\n\xff,x\n", "offset 16"),
        ("a.csv", b"\x80prompt\n", "offset 0"),
        ("a.csv", "", "is empty"),
        ("a.jsonl", "\n\n", "columns \\(none\\)"),
        ("a.jsonl", '{"prompt": "a", "response": "b"}\n{"prompt": }\n', "line 2: not valid JSON"),
        ("a.jsonl", '{"prompt": "a", "response": "b"}\n[1]\n', "line 2: not a JSON object"),
        ("a.jsonl", '{"prompt": "a", "response": "b"}\n{"prompt": "c"}\n', "line 2: no 'response'"),
        ("a.jsonl", '{"prompt": "a", "response": ["b"]}\n', "line 1: 'response' is a list"),
        ("a.jsonl", '{"prompt": "a", "response": "\\ud800"}\n', "line 1.*surrogate"),
        pytest.param("a.jsonl", "[" * 100_000, "object 1: not valid JSON", id="nested"),
        ("a.json", '[{"prompt": "a", "response": "b"}, 3]', "object 2: not a JSON object"),
        ("a.json", '[{"prompt": "a", "response": "b"} {}]', "object 2: not valid JSON .there is no comma"),
        ("a.json", '[{"prompt": "a", "response": "b"}', "object 2: not valid JSON"),
        ("a.json", '[{"prompt": "a", "response": "b"}] x', "more after the end"),
    ],
)
def test_damaged_tables_are_refused_with_the_line(tmp_path: Path, name: str, data: str | bytes, says: str) -> None:
    path = write(tmp_path / name, data)
    with pytest.raises(CorpusError, match=says) as caught:
        find_corpus(str(path)).prepare(tmp_path / "cache")
    assert "\n" not in str(caught.value)
    left = [path for path in (tmp_path / "cache").rglob(".*") if path.suffix in (".partial", ".tmp")]
    assert not left, "a half-written rendering is left"
    assert not list((tmp_path / "cache" / "texts").glob("*.txt"))


rows = st.lists(st.tuples(words, words).filter(lambda row: any(cell.strip() for cell in row)), min_size=1, max_size=6)


def rendered(pairs: list[tuple[str, str]]) -> str:
    return "".join(CHAT_TEMPLATE.record(*(cell.replace("\r\n", "\n") for cell in pair)) for pair in pairs)


@settings(max_examples=40)
@given(rows)
def test_any_csv_is_rendered_record_by_record(tmp_path: Path, pairs: list[tuple[str, str]]) -> None:
    path = tmp_path / "a.csv"
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file, lineterminator="\n", quoting=csv.QUOTE_ALL).writerows([("prompt", "response"), *pairs])
    assert prepare(path, tmp_path / "cache") == rendered(pairs)


@settings(max_examples=40)
@given(rows, st.booleans())
def test_any_jsonl_is_rendered_record_by_record(tmp_path: Path, pairs: list[tuple[str, str]], ascii: bool) -> None:
    lines = [json.dumps({"prompt": a, "response": b}, ensure_ascii=ascii) for a, b in pairs]
    path = write(tmp_path / "a.jsonl", "\n".join(lines))
    assert prepare(path, tmp_path / "cache") == rendered(pairs)


def test_a_rendering_is_made_once_and_again_when_the_template_changes(tmp_path: Path) -> None:
    path, cache = write(tmp_path / "a.csv", "prompt,response\nHi,Hello\n"), tmp_path / "cache"
    corpus = find_corpus(str(path))
    first = corpus.prepare(cache)
    made = first.path.stat().st_mtime_ns
    assert corpus.prepare(cache) == first and first.path.stat().st_mtime_ns == made
    other = replace(corpus, template=Template("Q ", " A ", "\n")).prepare(cache)
    assert other.path.read_text() == "Q Hi A Hello\n"
    assert first.path.read_text() == "You: Hi\nBot: Hello<END>\n"


def test_progress_is_told_and_ends_at_one(tmp_path: Path) -> None:
    told: list[tuple[str, float]] = []
    path = write(tmp_path / "a.txt", "x" * 3_000_000)
    find_corpus(str(path)).prepare(tmp_path / "cache", lambda stage, done: told.append((stage, done)))
    assert [done for _, done in told] == sorted(done for _, done in told)
    assert told[-1] == ("checking", 1.0) and len(told) == 3


# --- the split and the stream


def test_ascii_splits_as_nanogpt_does(tmp_path: Path) -> None:
    path = tmp_path / "shakespeare.txt"
    path.write_bytes(b"x" * 1_115_394)
    assert text_of(path).split(0.1) == 1_003_854 == int(0.9 * 1_115_394)


@given(st.text(st.characters(codec="utf-8"), min_size=1, max_size=50), st.floats(1e-18, 1, exclude_max=True))
def test_a_split_never_cuts_a_character(tmp_path: Path, content: str, fraction: float) -> None:
    path = write(tmp_path / "a.txt", content)
    text = text_of(path)
    place, target = text.split(fraction), int((1 - fraction) * text.n_bytes)
    assert target - 3 <= place <= target
    assert path.read_bytes()[:place].decode() + path.read_bytes()[place:].decode() == content


@given(
    st.lists(st.text(st.characters(codec="utf-8", exclude_characters="\n"), max_size=30), min_size=2, max_size=8),
    st.floats(0.01, 0.99),
)
def test_a_split_lies_between_records(tmp_path: Path, records: list[str], fraction: float) -> None:
    content = "".join(f"{record}\n" for record in records)
    path = write(tmp_path / "a.txt", content)
    text = text_of(path, "\n")
    ends = [place + 1 for place, byte in enumerate(content.encode()) if byte == ord("\n")]
    target = int((1 - fraction) * text.n_bytes)
    expected = max((end for end in ends if end <= target), default=ends[0])
    assert text.split(fraction) == expected


def test_boundaries_across_the_blocks_of_the_search_are_found(tmp_path: Path) -> None:
    for at in range((1 << 16) - 6, (1 << 16) + 6):
        before = b"a" * 1000 + b"<END>\n"
        path = write(tmp_path / "a.txt", before + b"b" * at)
        assert text_of(path, "<END>\n").split(1e-9) == len(before)
    path = write(tmp_path / "b.txt", b"c" * 200_000 + b"<END>\n" + b"d" * 9)
    assert text_of(path, "<END>\n").split(0.5) == 200_006


def test_without_any_boundary_the_split_is_by_characters(tmp_path: Path) -> None:
    path = write(tmp_path / "a.txt", "\u00e9" * 100)
    assert text_of(path, "<END>").split(0.25) == 150
    assert text_of(path, "\u00e9" * 100).split(0.25) == 150, "the end of the file is no place to split"


@given(st.text(st.characters(codec="utf-8"), max_size=60), st.integers(1, 9), st.data())
def test_chunks_are_the_text_and_never_cut_a_character(tmp_path: Path, content: str, size: int, data: Any) -> None:
    path = write(tmp_path / "a.txt", content)
    starts = [0, *[len(content[:n].encode()) for n in range(1, len(content) + 1)]]
    start = data.draw(st.sampled_from(starts))
    end = data.draw(st.sampled_from([place for place in starts if place >= start]))
    pieces = list(text_of(path).chunks(start, end, size))
    assert "".join(pieces) == content.encode()[start:end].decode()
    assert all(pieces)


def test_a_text_that_shrinks_or_vanishes_under_the_reader_is_an_error(tmp_path: Path) -> None:
    path = write(tmp_path / "a.txt", "hello")
    longer = Text(path, 10, "", None)
    with pytest.raises(CorpusError, match="shorter"):
        list(longer.chunks())
    path.unlink()
    for read in (lambda: list(longer.chunks()), lambda: longer.split(0.1)):
        with pytest.raises(CorpusError, match="it is not there"):
            read()
    path.mkdir()
    for read in (lambda: list(longer.chunks()), lambda: longer.split(0.1)):
        with pytest.raises(CorpusError, match="cannot read"):
            read()


def test_two_columns_always_have_a_template() -> None:
    corpus = Corpus("x", format="csv", columns=("a", "b"))
    assert corpus.template == CHAT_TEMPLATE


def test_a_text_that_is_gone_says_so_wherever_it_is_cut(tmp_path: Path) -> None:
    for boundary in (None, "\n\n"):
        with pytest.raises(CorpusError, match=r"gone\.txt"):
            Text(tmp_path / "gone.txt", 100, "", boundary).split(0.1)
