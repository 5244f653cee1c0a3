"""Text as people have it: compressed files, archives, folders, tables, conversations, other encodings."""

from __future__ import annotations

import bz2
import csv
import gzip
import io
import json
import lzma
import os
import sqlite3
import zipfile
from collections import Counter
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.errors import CorpusError
from engine.text import rows, unpack
from engine.text.catalog import add_corpus, find_corpus
from engine.text.corpus import Text
from engine.text.source import Source
from engine.text.tables import turns
from engine.text.template import CHAT_TEMPLATE

zstandard = pytest.importorskip("zstandard")
pyarrow = pytest.importorskip("pyarrow")
import pyarrow.parquet as parquet  # noqa: E402

some = settings(max_examples=25)
words = st.text(st.characters(codec="utf-8", exclude_characters="\0\ufeff"), max_size=60)
a_text = words.filter(lambda text: text.replace("\r\n", "\n") != "")
PACK = {
    ".gz": gzip.compress,
    ".bz2": bz2.compress,
    ".xz": lzma.compress,
    ".zst": zstandard.ZstdCompressor(write_checksum=True).compress,
}


def write(path: Path, data: str | bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data.encode() if isinstance(data, str) else data)
    return path


def prepared(path: Path, cache: Path) -> Text:
    return find_corpus(f"{path}/" if path.is_dir() else str(path), cache / "none").prepare(cache)


def read(path: Path, cache: Path) -> str:
    return prepared(path, cache).path.read_bytes().decode()


def refused(path: Path, cache: Path) -> str:
    """The one line that says why `path` cannot be a corpus; nothing half-made may be left of it."""
    with pytest.raises(CorpusError) as caught:
        prepared(path, cache)
    assert "\n" not in str(caught.value)
    assert not list((cache / "texts").glob("*")) or all(not left.name.startswith(".") for left in cache.rglob("*"))
    return str(caught.value)


def zipped(path: Path, members: dict[str, str | bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return path


# --- compressed files


@pytest.mark.parametrize("suffix", PACK)
@some
@given(a_text)
def test_any_compressed_text_is_the_text(tmp_path: Path, suffix: str, content: str) -> None:
    plain = write(tmp_path / "a.txt", content)
    packed = write(tmp_path / f"a.txt{suffix}", PACK[suffix](content.encode()))
    found = prepared(packed, tmp_path / "cache")
    assert found.path.read_bytes().decode() == content.replace("\r\n", "\n")
    assert found.sha256 == prepared(plain, tmp_path / "cache").sha256, "a run goes on with either of them"


@pytest.mark.parametrize("suffix", PACK)
def test_what_is_compressed_is_known_by_its_content_too(tmp_path: Path, suffix: str) -> None:
    path = write(tmp_path / "no-suffix.txt", PACK[suffix](b"some text\n"))
    assert read(path, tmp_path / "cache") == "some text\n"


@pytest.mark.parametrize("suffix", PACK)
def test_compressed_tables_and_several_streams_on_end(tmp_path: Path, suffix: str) -> None:
    lines = [b'{"prompt": "Hi", "response": "Hello"}\n', b'{"prompt": "Bye", "response": "Bye"}\n']
    path = write(tmp_path / f"a.jsonl{suffix}", b"".join(map(PACK[suffix], lines)))
    assert read(path, tmp_path / "cache") == "You: Hi\nBot: Hello<END>\nYou: Bye\nBot: Bye<END>\n"


@pytest.mark.parametrize("suffix", PACK)
def test_a_cut_or_damaged_file_is_one_line(tmp_path: Path, suffix: str) -> None:
    whole = PACK[suffix](os.urandom(3000).hex().encode())
    for number, data in enumerate((whole[: len(whole) // 2], whole[:-1], whole[:300] + b"\xff" * 9 + whole[309:])):
        said = refused(write(tmp_path / f"{number}.txt{suffix}", data), tmp_path / "cache")
        assert "damaged or cut short" in said or "not UTF-8" in said, said


@pytest.mark.parametrize("suffix", PACK)
def test_a_bomb_is_refused_before_it_fills_the_disk(
    tmp_path: Path, suffix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(unpack, "ALWAYS", 1 << 20)
    path = write(tmp_path / f"a.txt{suffix}", PACK[suffix](b"a" * (8 << 20)))
    assert "as bombs do" in refused(path, tmp_path / "cache")
    assert not list((tmp_path / "cache").rglob("*.txt"))


def test_without_zstandard_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "zstandard", None)
    assert "tinytui[zstd]" in refused(write(tmp_path / "a.txt.zst", PACK[".zst"](b"x")), tmp_path / "cache")


def test_a_window_that_takes_much_memory_is_refused(tmp_path: Path) -> None:
    wide = zstandard.ZstdCompressor(
        compression_params=zstandard.ZstdCompressionParameters(window_log=28, enable_ldm=False)
    ).compressobj()
    path = write(tmp_path / "a.zst", wide.compress(b"x" * 1000) + wide.flush())
    assert "zstd -d --long=31" in refused(path, tmp_path / "cache")


# --- encodings


@pytest.mark.parametrize("encoding", ["utf-16", "utf-32", "utf-8-sig"])
@some
@given(a_text)
def test_a_byte_order_mark_says_how_to_read_it(tmp_path: Path, encoding: str, content: str) -> None:
    path = write(tmp_path / "a.txt", content.encode(encoding))
    assert read(path, tmp_path / "cache") == content.replace("\r\n", "\n")


@pytest.mark.parametrize("encoding", ["utf-16-be", "utf-32-be"])
def test_big_ends_and_tables_in_utf_16(tmp_path: Path, encoding: str) -> None:
    path = write(tmp_path / "a.csv", "\ufeffprompt,response\r\nHé,Hello\r\n".encode(encoding))
    assert read(path, tmp_path / "cache") == "You: Hé\nBot: Hello<END>\n"


def test_utf_16_that_is_cut_inside_a_character_is_one_line(tmp_path: Path) -> None:
    path = write(tmp_path / "a.txt", "some text\U0001f600".encode("utf-16")[:-1])
    assert "UTF-16 text its byte order mark says" in refused(path, tmp_path / "cache")


# --- what is no text


def database() -> bytes:
    connection = sqlite3.connect(":memory:")
    connection.execute("create table a (b)")
    return connection.serialize()


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"%PDF-1.7\n%\xe2\xe3", "is a PDF"),
        (b"\x89PNG\r\n\x1a\n\0\0", "is a PNG image"),
        (b"\xff\xd8\xff\xe0\0\x10JFIF", "is a JPEG image"),
        (b"GIF89a\1\0\1\0", "is a GIF image"),
        (database(), "is a SQLite database"),
        (b"\x7fELF\2\1\1\0", "is a program"),
        (b"\x93NUMPY\1\0", "is a NumPy array"),
        (b"PK\x05\x06" + bytes(18), "no text in"),
        (b"Rar!\x1a\x07\1\0", "is a RAR archive"),
        (b"7z\xbc\xaf\x27\x1c\0", "is a 7z archive"),
        (b"\0\0\0\x20ftypisom\0", "is a video"),
        (b"RIFF\1\0\0\0WAVEfmt ", "is a WAV recording"),
        (b"a.txt" + bytes(252) + b"ustar\x0000", "is a tar archive"),
        (gzip.compress(b"a.txt" + bytes(252) + b"ustar\x0000"), "is a tar archive.*name its folder"),
        (gzip.compress(b"\x89PNG\r\n\x1a\n"), "is a PNG image"),
        (gzip.compress(gzip.compress(b"text")), "is compressed"),
        (gzip.compress(b"caf\xe9"), "byte 0xe9 at offset 3"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",  # bytes of gzip hold the time
)
def test_what_is_no_text_is_named_for_what_it_is(tmp_path: Path, data: bytes, says: str) -> None:
    for name in ("thing.txt", "thing.csv"):
        said = refused(write(tmp_path / name, data), tmp_path / "cache")
        assert __import__("re").search(says, said), said


@pytest.mark.parametrize(
    ("member", "says"),
    [
        ("word/document.xml", "a Word document"),
        ("xl/workbook.xml", "an Excel workbook"),
        ("META-INF/container.xml", "an EPUB book"),
        ("archive/data.pkl", "a PyTorch file"),
    ],
)
def test_a_document_that_is_a_zip_archive_is_named(tmp_path: Path, member: str, says: str) -> None:
    assert says in refused(zipped(tmp_path / "a.bin", {member: "x"}), tmp_path / "cache")


def test_text_that_begins_like_something_else_is_text(tmp_path: Path) -> None:
    for number, begin in enumerate(("MZ is a code", "GIF89a was a format", "BZh9 hello", "ID3 tags", "a1b2ftyp", "PK")):
        assert read(write(tmp_path / f"{number}.txt", f"{begin}\n"), tmp_path / "cache") == f"{begin}\n"


# --- zip archives and folders


@some
@given(st.lists(a_text, min_size=1, max_size=4))
def test_the_texts_of_an_archive_and_of_a_folder_come_one_after_the_other(tmp_path: Path, texts: list[str]) -> None:
    folder = tmp_path / "texts"
    for left in folder.rglob("*.txt"):
        left.unlink()
    members = {f"part-{number}/a.txt": text for number, text in enumerate(texts)}
    for name, text in members.items():
        write(folder / name, text)
    ended = [text.replace("\r\n", "\n") for text in texts]
    expected = "".join(text + ("\n" if text.endswith("\n") else "\n\n") for text in ended[:-1]) + ended[-1]
    assert read(zipped(tmp_path / "a.zip", dict(members)), tmp_path / "cache") == expected
    assert read(folder, tmp_path / "cache") == expected


def test_a_single_text_in_an_archive_is_that_text(tmp_path: Path) -> None:
    plain = prepared(write(tmp_path / "a.txt", "To be\n\nor not\n"), tmp_path / "cache")
    found = prepared(zipped(tmp_path / "a.zip", {"a.txt": "To be\n\nor not\n"}), tmp_path / "cache")
    assert (found.sha256, found.boundary) == (plain.sha256, None)


def test_what_is_left_out_of_a_folder_is_said(tmp_path: Path) -> None:
    folder = tmp_path / "notes"
    write(folder / "b.md", "second\n")
    write(folder / "a.txt", "first\n")
    write(folder / "sub" / "c.txt.gz", gzip.compress(b"third\n"))
    write(folder / "logo.png", b"\x89PNG\r\n\x1a\n")
    write(folder / "latin.txt", b"caf\xe9")
    write(folder / ".secret", "hidden\n")
    write(folder / ".git" / "config", "hidden\n")
    write(folder / "empty.txt", "")
    os.mkfifo(folder / "pipe")
    (folder / "loop").symlink_to(folder)
    (folder / "gone").symlink_to(tmp_path / "nothing")
    found = prepared(folder, tmp_path / "cache")
    assert found.path.read_text() == "first\n\nsecond\n\nthird\n"
    assert found.boundary == "\n\n"
    for name in ("logo.png (a PNG image)", "latin.txt (not UTF-8 text", "pipe (no regular file)", "2 hidden"):
        assert name in found.left_out, found.left_out
    again = prepared(folder, tmp_path / "cache")
    assert again == found, "said again when the text comes from the cache"


def test_a_folder_without_text_says_what_it_has(tmp_path: Path) -> None:
    write(tmp_path / "pictures" / "logo.png", b"\x89PNG\r\n\x1a\n")
    said = refused(tmp_path / "pictures", tmp_path / "cache")
    assert "no text" in said and "logo.png (a PNG image)" in said


def test_a_folder_is_named_with_a_slash(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A bare word means a corpus: a run made with corpus `notes` never reads whatever folder is called so here."""
    write(tmp_path / "notes" / "a.txt", "text\n")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(CorpusError, match="notes/, with a slash"):
        find_corpus("notes", tmp_path / "none")
    assert find_corpus("notes/", tmp_path / "none").name == "notes"


@pytest.mark.parametrize("change", ["edit", "add", "remove", "rename"])
def test_a_folder_that_changed_is_read_again(tmp_path: Path, change: str) -> None:
    folder = tmp_path / "notes"
    for name in "ab":
        os.utime(write(folder / f"{name}.txt", f"text {name}\n"), (1e9, 1e9))
    before = prepared(folder, tmp_path / "cache").sha256
    if change == "edit":
        os.utime(write(folder / "a.txt", "TEXT a\n"), (1e9 + 5, 1e9 + 5))
    elif change == "add":
        os.utime(write(folder / "c.txt", "text c\n"), (1e9, 1e9))
    elif change == "remove":
        (folder / "a.txt").unlink()
    else:
        (folder / "a.txt").rename(folder / "z.txt")
    assert prepared(folder, tmp_path / "cache").sha256 != before


def test_an_archive_that_changed_is_read_again(tmp_path: Path) -> None:
    first = prepared(zipped(tmp_path / "a.zip", {"a.txt": "one\n"}), tmp_path / "cache").sha256
    assert prepared(zipped(tmp_path / "a.zip", {"a.txt": "two\n"}), tmp_path / "cache").sha256 != first


def test_a_folder_of_tables_gives_their_records(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    write(folder / "README.md", "# about\n")
    write(folder / "b.jsonl", '{"text": "two"}\n')
    write(folder / "a.jsonl.gz", gzip.compress(b'{"text": "one"}\n'))
    found = prepared(folder, tmp_path / "cache")
    assert found.path.read_text() == "one\n\ntwo\n\n"
    assert "README.md" in found.left_out
    write(folder / "code.py", "print()\n")
    assert "print()" in read(folder, tmp_path / "cache"), "among other texts tables are text"


def test_an_archive_with_a_table(tmp_path: Path) -> None:
    path = zipped(tmp_path / "faq.zip", {"__MACOSX/._faq.csv": b"\0\5", "faq.csv": "question,answer\nHi,Hello\n"})
    assert read(path, tmp_path / "cache") == "You: Hi\nBot: Hello<END>\n"


def test_archives_that_cannot_be_read_are_one_line(tmp_path: Path) -> None:
    whole = zipped(tmp_path / "a.zip", {"a.txt": os.urandom(3000).hex()}).read_bytes()
    assert "damaged zip archive" in refused(write(tmp_path / "cut.zip", whole[: len(whole) // 2]), tmp_path / "cache")
    bent = refused(write(tmp_path / "bent.zip", whole[:200] + bytes(50) + whole[250:]), tmp_path / "cache")
    assert "no text" in bent and "damaged" in bent
    flags = bytearray(whole)
    for place in (whole.index(b"PK\x03\x04") + 6, whole.index(b"PK\x01\x02") + 8):
        flags[place] |= 1  # says that the member is encrypted
    assert "encrypted" in refused(write(tmp_path / "locked.zip", bytes(flags)), tmp_path / "cache")


def test_an_archive_that_unpacks_to_a_bomb_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for room in ("engine.text.unpack.ALWAYS", "engine.text.source.ALWAYS"):
        monkeypatch.setattr(room, 1 << 20)
    path = zipped(tmp_path / "a.zip", {f"{number}.txt": "a" * (1 << 20) for number in range(9)})
    assert "as bombs do" in refused(path, tmp_path / "cache")


def test_an_archive_of_very_many_members_is_refused_before_they_are_listed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = zipped(tmp_path / "a.zip", {f"{number}.txt": "x" for number in range(60)})
    whole = path.read_bytes()
    end = whole.rindex(b"PK\x05\x06")
    size = int.from_bytes(whole[end + 12 : end + 16], "little")
    # the same as a 64-bit archive: its end with the true numbers, where it lies, and the old end with none
    big = whole[:end] + b"PK\x06\x06" + bytes(36) + size.to_bytes(8, "little") + bytes(8)
    big += b"PK\x06\x07" + bytes(4) + end.to_bytes(8, "little") + bytes(4)
    big += whole[end : end + 12] + b"\xff" * 4 + whole[end + 16 :]
    monkeypatch.setattr("engine.text.source.MOST_PARTS", 5)
    monkeypatch.setattr("engine.text.source.ZipFile", None)  # listing them would fail
    for data in (whole, big):
        assert "over 5 files" in refused(write(path, data), tmp_path / "cache")


def test_a_folder_of_very_many_files_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("engine.text.source.MOST_PARTS", 5)
    for number in range(7):
        write(tmp_path / "many" / f"{number}.txt", "x")
    assert "over 5 files" in refused(tmp_path / "many", tmp_path / "cache")


def test_a_folder_that_changes_while_it_is_read_is_noticed(tmp_path: Path) -> None:
    folder = tmp_path / "notes"
    write(folder / "a.txt", "first\n")

    def change(stage: str, done: float) -> None:
        write(folder / "b.txt", "second\n")

    with pytest.raises(CorpusError, match="changed while it was read"):
        find_corpus(f"{folder}/").prepare(tmp_path / "cache", change)


# --- JSON lists, conversations, Parquet

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | words, lambda inner: st.lists(inner) | st.dictionaries(words, inner)
)


@settings(max_examples=12)
@given(
    st.lists(
        st.tuples(words, words, json_values).filter(lambda row: any(cell.strip() for cell in row[:2])), min_size=1
    ),
    st.booleans(),
    st.sampled_from([None, 1]),
    st.integers(1, 40),
)
def test_any_json_list_is_read_object_by_object(
    tmp_path: Path, cells: list[tuple[str, str, Any]], ascii: bool, indent: int | None, piece: int
) -> None:
    listed = [{"prompt": a, "other": c, "response": b} for a, b, c in cells]
    path = write(tmp_path / "a.json", " \n" + json.dumps(listed, ensure_ascii=ascii, indent=indent) + "\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rows, "_PIECE", piece)  # an object may be cut anywhere
        expected = [CHAT_TEMPLATE.record(*(cell.replace("\r\n", "\n") for cell in row[:2])) for row in cells]
        assert read(path, tmp_path / "cache") == "".join(expected)


def test_openai_and_sharegpt_conversations_become_turns(tmp_path: Path) -> None:
    openai = {
        "messages": [
            {"role": "system", "content": "Be kind."},
            {"role": "user", "content": "Hi"},
            {"role": "assistant", "content": "Hello."},
            {"role": "user", "content": [{"type": "text", "text": "Look"}, {"type": "image_url", "image_url": {}}]},
            {"role": "assistant", "content": None, "tool_calls": []},
            {"role": "tool", "content": "42"},
            {"role": "assistant", "content": "I see."},
        ]
    }
    sharegpt = {
        "id": "1",
        "conversations": [
            {"from": "gpt", "value": "Welcome"},
            {"from": "human", "value": "One"},
            {"from": "human", "value": "Two"},
            {"from": "gpt", "value": "Three"},
            {"from": "human", "value": "nobody answers"},
        ],
    }
    expected = "You: Hi\nBot: Hello.<END>\nYou: Look\nBot: I see.<END>\n\n"
    path = write(tmp_path / "a.jsonl", json.dumps(openai) + "\n")
    corpus = find_corpus(str(path))
    assert (corpus.chat, corpus.template) == (True, CHAT_TEMPLATE)
    found = corpus.prepare(tmp_path / "cache")
    assert found.path.read_text() == expected
    assert found.boundary == "<END>\n\n", "validation begins with a whole conversation"
    assert found.left_out == "1 system message, 1 part of a message that is no text, 1 tool message"
    path = write(tmp_path / "b.json", json.dumps([sharegpt]))
    assert read(path, tmp_path / "cache") == "You: One\n\nTwo\nBot: Three<END>\n\n"
    said = prepared(path, tmp_path / "cache").left_out
    assert "1 answer before any question" in said and "1 question without an answer" in said


def test_a_conversation_is_trained_on_in_the_form_that_chat_gives(tmp_path: Path) -> None:
    """What a chat gives the model before its second answer is how the training text of that conversation begins."""
    said = [("user", "Hi"), ("assistant", "Hello."), ("user", "How are you?"), ("assistant", "Well.")]
    messages = [{"role": role, "content": content} for role, content in said]
    path = write(tmp_path / "a.jsonl", json.dumps({"messages": messages}))
    template = find_corpus(str(path)).template
    assert template is not None
    assert read(path, tmp_path / "cache").startswith(template.turns([("Hi", "Hello.")], "How are you?") + "Well.")


@some
@given(st.lists(st.tuples(st.booleans(), words), max_size=8), st.booleans())
def test_turns_keep_every_word_between_first_question_and_last_answer(
    said: list[tuple[bool, str]], named: bool
) -> None:
    keys, roles = (("role", "content"), ("assistant", "user")) if named else (("from", "value"), ("gpt", "human"))
    messages = [dict(zip(keys, (roles[asks], text), strict=True)) for asks, text in said]
    left_out: Counter[str] = Counter()
    found = turns(messages, "here", left_out)
    kept = "\n".join(text for turn in found for text in turn)
    told = [(asks, text.replace("\r\n", "\n")) for asks, text in said if text.strip()]
    while told and not told[0][0]:
        told = told[1:]
    while told and told[-1][0]:
        told = told[:-1]
    assert all(text in kept for _, text in told)
    assert len(found) == sum(asks and not after for (asks, _), (after, _) in pairwise(told))


@pytest.mark.parametrize(
    ("messages", "says"),
    [
        ([{"role": "wizard", "content": "x"}], "line 2: a message has role 'wizard'"),
        ([{"content": "x"}], "line 2: a message has no role"),
        ([{"role": "user", "content": 3}], "line 2: a message's content is a int"),
        ([{"role": ["user"], "content": "x"}], "line 2: a message has role"),
        (["x"], "line 2: a message is a str"),
        ("x", "line 2: the conversation is a str"),
        ([{"role": "user", "content": "\ud800"}], "line 2: .*surrogate"),
    ],
)
def test_a_damaged_conversation_is_refused_with_its_line(tmp_path: Path, messages: Any, says: str) -> None:
    good = {"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]}
    path = write(tmp_path / "a.jsonl", f"{json.dumps(good)}\n{json.dumps({'messages': messages})}\n")
    said = refused(path, tmp_path / "cache")
    assert __import__("re").search(says, said), said


@some
@given(st.lists(st.tuples(words, words).filter(lambda row: any(cell.strip() for cell in row)), min_size=1, max_size=6))
def test_any_parquet_table_is_rendered_row_by_row(tmp_path: Path, pairs: list[tuple[str, str]]) -> None:
    table = pyarrow.table({"id": range(len(pairs)), "response": [b for _, b in pairs], "prompt": [a for a, _ in pairs]})
    parquet.write_table(table, tmp_path / "a.parquet", row_group_size=2)
    expected = [CHAT_TEMPLATE.record(*(cell.replace("\r\n", "\n") for cell in pair)) for pair in pairs]
    assert read(tmp_path / "a.parquet", tmp_path / "cache") == "".join(expected)


def test_conversations_and_folders_of_parquet(tmp_path: Path) -> None:
    said = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]
    (tmp_path / "data").mkdir()
    for name in ("a", "b"):
        parquet.write_table(pyarrow.table({"messages": [said]}), tmp_path / "data" / f"{name}.parquet")
    write(tmp_path / "README.md", "about\n")
    assert read(tmp_path / "data", tmp_path / "cache") == "You: Hi\nBot: Hello<END>\n\n" * 2


def test_a_damaged_parquet_table_is_one_line(tmp_path: Path) -> None:
    parquet.write_table(pyarrow.table({"text": ["some text"] * 100}), tmp_path / "a.parquet")
    whole = (tmp_path / "a.parquet").read_bytes()
    assert "damaged Parquet" in refused(write(tmp_path / "cut.parquet", whole[:-20]), tmp_path / "cache")
    assert "not the Parquet table" in refused(write(tmp_path / "b.parquet", "text"), tmp_path / "cache")
    parquet.write_table(pyarrow.table({"text": [b"bytes"]}), tmp_path / "bytes.parquet")
    assert "'text' is bytes" in refused(tmp_path / "bytes.parquet", tmp_path / "cache")


def test_without_pyarrow_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    parquet.write_table(pyarrow.table({"text": ["x"]}), tmp_path / "a.parquet")
    monkeypatch.setitem(__import__("sys").modules, "pyarrow", None)
    assert "tinytui[parquet]" in refused(tmp_path / "a.parquet", tmp_path / "cache")


# --- CSV as it is written by hand


def test_values_without_quotes_and_with_spaces_before_them_are_kept_as_they_are(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", ' prompt , response\nHi,  Hello \n  "Bye" , see "you"\n, x\n')
    assert read(path, tmp_path / "cache") == (
        'You: Hi\nBot:   Hello <END>\nYou:   "Bye" \nBot:  see "you"<END>\nYou: \nBot:  x<END>\n'
    )


@pytest.mark.parametrize("mark", [",", ";", "\t"])
def test_values_are_parted_by_what_the_header_has(tmp_path: Path, mark: str) -> None:
    """Spreadsheets write semicolons where the comma is a decimal point."""
    path = write(tmp_path / "a.csv", f'id{mark}prompt{mark}response\n1{mark}"Hi{mark} you"{mark}x\n')
    assert read(path, tmp_path / "cache") == f"You: Hi{mark} you\nBot: x<END>\n"


def test_the_columns_of_a_tsv_may_have_commas(tmp_path: Path) -> None:
    path = write(tmp_path / "a.tsv", "id, or not\tprompt\tresponse\n1\tHi, you\tHello\n")
    assert read(path, tmp_path / "cache") == "You: Hi, you\nBot: Hello<END>\n"


def test_of_equal_columns_the_first_counts(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", "id,text,text,id\n1,one,two,2\n")
    assert read(path, tmp_path / "cache") == "one\n\n"


def test_a_table_of_very_many_columns_is_none(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", "a," * 20_000 + "a\n")
    assert "20,001 columns in its first line" in refused(path, tmp_path / "cache")


bare = st.text(st.characters(codec="utf-8", exclude_characters='\0\ufeff\r\n,"'), max_size=30)


@some
@given(st.lists(st.tuples(bare, bare).filter(lambda row: any(cell.strip() for cell in row)), min_size=1, max_size=6))
def test_any_csv_without_quotes_is_read_to_the_letter(tmp_path: Path, pairs: list[tuple[str, str]]) -> None:
    lines = "".join(f"{a},{b}\n" for a, b in pairs)
    path = write(tmp_path / "a.csv", f"prompt,response\n{lines}")
    assert read(path, tmp_path / "cache") == "".join(CHAT_TEMPLATE.record(*pair) for pair in pairs)


@some
@given(
    st.lists(st.tuples(words, words).filter(lambda row: any(cell.strip() for cell in row)), min_size=1, max_size=6),
    st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL, csv.QUOTE_NONNUMERIC]),
    st.sampled_from([("a.csv", ","), ("a.tsv", "\t")]),
    st.sampled_from(["\n", "\r\n"]),
)
def test_what_a_table_program_writes_comes_back(
    tmp_path: Path, pairs: list[tuple[str, str]], quoting: Any, kind: tuple[str, str], end: str
) -> None:
    if quoting == csv.QUOTE_MINIMAL:  # a carriage return alone, which ends a line for readers, is not quoted then
        pairs = [(a.replace("\r", ""), b.replace("\r", "")) for a, b in pairs]
        pairs = [pair for pair in pairs if any(cell.strip() for cell in pair)] or [("a", "b")]
    out = io.StringIO(newline="")
    writer = csv.writer(out, delimiter=kind[1], quoting=quoting, lineterminator=end)
    writer.writerows([("prompt", "response"), *pairs])
    path = write(tmp_path / kind[0], out.getvalue())
    expected = [CHAT_TEMPLATE.record(*(cell.replace("\r\n", "\n") for cell in pair)) for pair in pairs]
    assert read(path, tmp_path / "cache") == "".join(expected)


# --- adding


@pytest.mark.parametrize("kind", ["folder", "zip", "gz", "parquet", "chat", "utf-16"])
def test_what_is_added_is_the_same_corpus_when_its_source_is_gone(tmp_path: Path, kind: str) -> None:
    said = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]
    path = tmp_path / f"mine.{kind}"
    if kind == "folder":
        write(path / "a.txt", "one\n")
        write(path / "b.txt", "two\n")
    elif kind == "zip":
        zipped(path, {"a.txt": "one\n", "b.txt": "two"})
    elif kind == "gz":
        write(path, gzip.compress(b"some text\n"))
    elif kind == "parquet":
        parquet.write_table(pyarrow.table({"prompt": ["a"], "response": ["b"]}), path)
    elif kind == "chat":
        path = write(tmp_path / "mine.jsonl", json.dumps({"messages": said}))
    else:
        write(path, "héllo\n".encode("utf-16"))
    before = find_corpus(f"{path}/" if path.is_dir() else str(path), tmp_path / "corpora")
    text = before.prepare(tmp_path / "cache")
    added = add_corpus(path, "mine", tmp_path / "corpora")
    after = added.prepare(tmp_path / "cache")
    assert (after.sha256, after.boundary, added.template) == (text.sha256, text.boundary, before.template)
    assert not added.chat and added.path.is_file()


def test_the_newest_file_of_a_folder_and_the_time_of_a_file(tmp_path: Path) -> None:
    for name, time in (("a.txt", 3), ("b.txt", 7), ("c.txt", 5)):
        write(tmp_path / "folder" / name, b"text\n")
        os.utime(tmp_path / "folder" / name, (time, time))
    for path, time in ((tmp_path / "folder", 7), (tmp_path / "folder" / "a.txt", 3)):
        with Source(path) as source:
            assert source.newest() == time * 10**9
