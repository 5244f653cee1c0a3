"""What seldom goes wrong with a corpus, each named in one line."""

from __future__ import annotations

import errno
import io
import json
import os
import zipfile
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from engine.errors import CorpusError, TokenizerError
from engine.files import reading
from engine.preset_files import load_config
from engine.text import catalog, fetch, rows, stdlib, web
from engine.text import scan as scanning
from engine.text.card import read_card
from engine.text.catalog import add_corpus, find_corpus, remove_corpus
from engine.text.corpus import Text
from engine.text.magic import no_text
from engine.text.scan import Scan, check_file, remembered_scan
from engine.text.source import Source
from engine.text.tables import chat_key
from engine.tokenizers import cache, cutting, encoding, gpt2, learning, table, word
from engine.tokenizers.bpe import BpeTokenizer, byte_alphabet
from engine.tokenizers.byte import ByteTokenizer
from engine.tokenizers.char import CharTokenizer
from engine.tokenizers.cutting import cut_safely
from engine.tokenizers.dataset import TokenDataset
from engine.tokenizers.gpt2 import Gpt2Tokenizer, load_gpt2
from engine.tokenizers.word import WordTokenizer

EIO = OSError(errno.EIO, "Input/output error")


def failing(error: BaseException) -> Callable[..., Any]:
    def fails(*_: object, **__: object) -> Any:
        raise error

    return fails


# -- files -------------------------------------------------------------------------------------------------------------


def test_what_is_no_readable_file_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(CorpusError, match="is a directory; name a"):
        check_file(tmp_path)
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(CorpusError, match="is not a regular file"):
        check_file(tmp_path / "pipe")
    with pytest.raises(CorpusError, match="it is not there"):
        check_file(tmp_path / "none")
    with pytest.raises(CorpusError, match=r"cannot read .*null"):
        check_file(Path("a\0b"))
    (tmp_path / "empty").touch()
    with pytest.raises(CorpusError, match="is empty"):
        check_file(tmp_path / "empty")
    (tmp_path / "text").write_text("a")
    assert check_file(tmp_path / "text") == 1
    monkeypatch.setattr(Path, "open", failing(PermissionError(errno.EACCES, "Permission denied")))
    with pytest.raises(CorpusError, match=r"cannot read .*text: permission denied"):
        check_file(tmp_path / "text")


@pytest.mark.parametrize(
    "wrong",
    [
        {"n_bytes": 3, "no such": 1}, [], {"n_bytes": "5", "sha256": "", "bom": False, "crlf": True},
        {"n_bytes": 5, "sha256": None, "bom": False, "crlf": True}, {"n_bytes": 5, "sha256": "", "bom": 0, "crlf": 1},
    ],
)  # fmt: skip
def test_a_scan_that_is_remembered_wrong_is_made_again(
    wrong: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "text"
    path.write_text("abc\r\n")
    whole = scanning.scan(path)
    monkeypatch.setattr(scanning, "remembered", lambda *_: wrong)
    assert remembered_scan(path, tmp_path / "cache") == whole == Scan(5, whole.sha256, False, True)


@pytest.mark.parametrize(
    ("tail", "said"),
    [
        (b"\xe2\x82", "byte 0xe2 at offset 10"),
        (b"\xf0\x9f\x98", "byte 0xf0 at offset 10"),
        (b"\xe2\x82x", "byte 0xe2 at offset 10"),
        (b"x\xff", "byte 0xff at offset 11"),
    ],
)
@pytest.mark.parametrize("block", [3, 4, 7, 1 << 20])
def test_the_first_byte_that_is_no_utf_8_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tail: bytes, said: str, block: int
) -> None:
    monkeypatch.setattr(scanning, "BLOCK", block)
    path = tmp_path / "text"
    path.write_bytes("ab€é\nxy".encode() + tail)
    with pytest.raises(CorpusError, match=f"{said}; convert it, e.g. iconv -f ISO-8859-1 -t UTF-8 {path} > utf8"):
        scanning.scan(path)


@pytest.mark.parametrize(
    ("head", "what"),
    [
        (b"PK\x03\x04rest", "a zip archive"),
        (b"PK\x05\x06rest", "a zip archive"),
        (b"PAR1rest", "a Parquet table"),
        (b"\x1f\x8b\x08rest", "compressed (gz)"),
        (b"a\0b\0", "UTF-16 text without a byte order mark (iconv -f UTF-16LE -t UTF-8 makes it readable)"),
        (b"\0a\0b", "UTF-16 text without a byte order mark (iconv -f UTF-16BE -t UTF-8 makes it readable)"),
        (b"a\0", None),
        (bytes(4096), "all NUL bytes where it begins (a copy that was cut short?)"),
        (b"\0a", None),
        (b"a\0bc", None),
        (b"plain", None),
        (b"", None),
        (b"\xff\xfea\0b\0", None),
    ],
)
def test_what_a_file_is_by_its_first_bytes(head: bytes, what: str | None) -> None:
    assert no_text(head) == what


def test_a_table_inside_an_archive_or_an_unreadable_folder_is_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as made:
        made.writestr("table.parquet", b"PAR1")
        made.writestr("text.txt", "some text")
    with Source(tmp_path / "a.zip") as found:
        assert [part.inner for part in found.parts] == ["text.txt"]
        assert found.left_out({}) == "table.parquet (a Parquet table; unpack it)"
    folder = tmp_path / "folder"
    (folder / "closed").mkdir(parents=True)
    for number in range(3):
        (folder / f"{number}.txt").write_text("text")
    scandir = os.scandir

    def closed(path: Any) -> Any:
        if str(path).endswith("closed"):
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", closed)
    with Source(folder) as found:
        assert found.left_out({}) == "closed (permission denied)"
        found.skipped += [(str(number), "why") for number in range(3)]
        assert found.left_out({}).endswith("2 (why)")
        found.skipped += [("more", "why"), ("still", "why")]
        found.hidden = 7
        assert found.left_out({}).endswith("2 (why), 2 more, 7 hidden")
    with pytest.raises(CorpusError, match="cannot read x: input/output error"), reading(Path("x"), CorpusError):
        raise EIO


# -- tables ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("over", [0, 1])
def test_a_line_of_a_table_has_a_bound(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, over: int) -> None:
    monkeypatch.setattr(rows, "LONGEST", 20)
    path = tmp_path / "table.csv"
    path.write_text("text\nshort\n" + "x" * (19 + over) + "\nlast\n")
    with Source(path, "csv") as table:
        found = rows.rows_of(table, table.parts[0])
        if over:
            with pytest.raises(CorpusError, match=r"table\.csv, line 3: a line of over 20 characters; part it"):
                list(found)
        else:
            assert [row["text"] for _, row in found] == ["short", "x" * 19, "last"]


def test_a_header_without_an_end_is_named(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    path.write_text('"text\nshort\n')
    with Source(path, "csv") as table, pytest.raises(CorpusError, match=r"line 1: .*; is a quote missing\?"):
        list(rows.rows_of(table, table.parts[0]))


@pytest.mark.parametrize("content", ["[" + '{"a": ' * 400 + "1", '[{"text": "' + "x" * 99])
def test_an_object_of_a_list_has_a_bound(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, content: str) -> None:
    monkeypatch.setattr(rows, "LONGEST", 50)
    path = tmp_path / "table.json"
    path.write_text(content)
    with (
        Source(path, "jsonl") as table,
        pytest.raises(CorpusError, match="not valid JSON, or an object of over 50 characters"),
    ):
        list(rows.rows_of(table, table.parts[0]))


@pytest.mark.parametrize(
    ("record", "key"),
    [
        ({"messages": []}, "messages"),
        ({"messages": [{}]}, "messages"),
        ({"conversations": [], "text": "x"}, "conversations"),
        ({"messages": ["text"]}, None),
        ({"messages": "text"}, None),
        ({"messages": None}, None),
        ({}, None),
    ],
)
def test_a_conversation_is_a_list_of_objects(record: dict[str, Any], key: str | None) -> None:
    assert chat_key(record) == key


# -- the user's corpora ------------------------------------------------------------------------------------------------


def test_a_card_that_cannot_be_read_is_a_damaged_corpus(tmp_path: Path) -> None:
    (tmp_path / "mine" / "corpus.toml").mkdir(parents=True)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "corpus.toml").write_bytes(b"title = 3")
    with pytest.raises(CorpusError, match="title must be text, not 3"):
        find_corpus("other", tmp_path).prepare()
    assert "corpus.toml: it is a folder" in str(read_card(tmp_path / "mine", shipped=False).problem)


def test_a_text_that_changes_while_it_is_copied_is_not_added(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = tmp_path / "text.txt"
    text.write_text("some text\n" * 20)
    copyfile = catalog.shutil.copyfile

    def copies(one: Path, other: Path) -> None:
        copyfile(one, other)
        other.write_text("another")

    monkeypatch.setattr(catalog.shutil, "copyfile", copies)
    with pytest.raises(CorpusError, match="changed while it was copied; add it again"):
        add_corpus(text, "mine", corpora_dir=tmp_path / "corpora")
    assert os.listdir(tmp_path / "corpora") == []  # noqa: PTH208


@pytest.mark.parametrize("how", ["it is taken meanwhile", "the disk fails"])
def test_a_corpus_that_cannot_take_its_place_is_gone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str) -> None:
    rename = Path.rename

    def renames(self: Path, target: Path) -> Path:
        if not self.name.endswith(".tmp"):
            return rename(self, target)
        if how == "it is taken meanwhile":
            target.mkdir()
        raise EIO

    monkeypatch.setattr(Path, "rename", renames)
    text = tmp_path / "text.txt"
    text.write_text("some text\n" * 20)
    taken = how == "it is taken meanwhile"
    said = "there is a corpus mine already" if taken else "cannot write to .*input/output error"
    with pytest.raises(CorpusError, match=said):
        add_corpus(text, "mine", corpora_dir=tmp_path / "corpora")
    assert os.listdir(tmp_path / "corpora") == (["mine"] if taken else [])  # noqa: PTH208


@pytest.mark.parametrize("what", ["an empty folder", "a file", "a link to nothing"])
def test_whatever_has_the_name_of_a_corpus_stays(tmp_path: Path, what: str) -> None:
    text, place = tmp_path / "text.txt", tmp_path / "corpora" / "mine"
    text.write_text("some text\n" * 20)
    place.parent.mkdir()
    if what == "an empty folder":
        place.mkdir()
    elif what == "a file":
        place.write_text("mine")
    else:
        place.symlink_to(tmp_path / "nothing")

    def facts() -> tuple[int, ...]:
        status = place.lstat()  # but for when it was looked at last
        return status.st_ino, status.st_mode, status.st_size, status.st_mtime_ns

    before = facts()
    with pytest.raises(CorpusError, match="there is a corpus mine already"):
        add_corpus(text, "mine", corpora_dir=place.parent)
    assert facts() == before and os.listdir(place.parent) == ["mine"]  # noqa: PTH208


def test_a_corpus_that_cannot_be_removed_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = tmp_path / "text.txt"
    text.write_text("some text\n" * 20)
    add_corpus(text, "mine", corpora_dir=tmp_path / "corpora")
    monkeypatch.setattr(catalog.shutil, "rmtree", failing(EIO))
    with pytest.raises(CorpusError, match=r"cannot remove .*mine: input/output error"):
        remove_corpus("mine", tmp_path / "corpora")


def test_what_comes_from_the_web_is_named_by_its_address(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetch, "download", lambda url, path, *_: path.write_bytes(b"a\0b"))
    for what, address in (("https://example.org/book.txt",) * 2, ("gutenberg:84", "https://www.gutenberg.org/")):
        with pytest.raises(CorpusError) as caught:
            catalog.fetch_corpus(what, tmp_path)
        assert address in str(caught.value) and str(tmp_path) not in str(caught.value)


def test_only_text_has_an_encoding_to_undo() -> None:
    for name in ("utf-8", "UTF8", "ascii", "us-ascii", "hex", "base64", "no such", "a\0b", ""):
        assert web._decoder(name) is None
    decoder = web._decoder("latin-1")
    assert decoder is not None and decoder.decode("é".encode("latin-1")) == "é"


@pytest.mark.parametrize("length", [None, 10, 11])
def test_more_than_is_taken_from_the_web_is_refused(monkeypatch: pytest.MonkeyPatch, length: int | None) -> None:
    monkeypatch.setattr(web, "MOST", 10)
    for size in (10, 11):
        content = io.BytesIO(b"x" * size)
        answer: Any = SimpleNamespace(length=length, read1=lambda most, content=content: content.read(7))
        if size == 11 or length == 11:
            with pytest.raises(CorpusError, match="sends more than 10 bytes; download it with another tool"):
                list(web._blocks(answer, "https://example.org", None, 0))
        else:
            told: list[float] = []
            note = told.append
            found = list(web._blocks(answer, "https://example.org", lambda what, share, note=note: note(share), 0))
            assert b"".join(found) == b"x" * 10 and told == ([0.7, 1.0] if length else [0.0, 0.0])


def test_a_library_without_sources_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "lib").mkdir()
    for name, content in (("a.py", "import os\n" * 9), ("b.py", "# é"), ("c.py", " \n"), ("d.py", "x = '\x01'")):
        (tmp_path / "lib" / name).write_text(content)
    with pytest.raises(CorpusError, match=r"has no standard library sources in .*lib"):
        stdlib.build_stdlib(tmp_path / "cache", None, tmp_path / "lib")
    expected = f"# file: a.py\n\n{('import os' + chr(10)) * 9}".rstrip("\n") + "\n\n\n"
    monkeypatch.setattr(stdlib, "LEAST", len(expected))
    told: list[float] = []
    path = stdlib.build_stdlib(tmp_path / "cache", lambda what, share: told.append(share), tmp_path / "lib")
    assert path.read_text() == expected and told == sorted(told) and told[-1] == 1.0
    assert stdlib.build_stdlib(tmp_path / "cache", failing(AssertionError()), tmp_path / "lib") == path


# -- tokens ------------------------------------------------------------------------------------------------------------


def test_tokens_that_come_back_damaged_are_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "text"
    path.write_text("some text\n" * 100)
    text = find_corpus(str(path)).prepare(tmp_path / "cache")
    (tmp_path / "cache" / "tokens").mkdir(parents=True)
    monkeypatch.setattr(cache, "_opened", lambda *_: None)
    with pytest.raises(CorpusError, match="come back damaged; set TINYTUI_CACHE"):
        TokenDataset.open(text, load_config().data, tmp_path / "cache")


def test_a_vocabulary_has_room_for_bytes_and_marks() -> None:
    for kind in (BpeTokenizer, WordTokenizer):
        with pytest.raises(TokenizerError, match="has at least 258 tokens"):
            kind.train(["text"], 257, ["<a>", "<b>"])
        assert kind.train(["text"], 258, ["<a>", "<b>"]).vocab_size == 258
    with pytest.raises(TokenizerError, match="needs a text that is not empty"):
        CharTokenizer.train([])
    with pytest.raises(TokenizerError, match="half of a surrogate pair"):
        BpeTokenizer.train(["a\ud800b"], 300)


def test_units_seen_once_are_forgotten_when_there_are_too_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(word, "_MOST", 3)
    chunks = ["one one ", "two two ", "one three ", "two four ", "five two one two one"]
    found = WordTokenizer.train(chunks, 300)
    assert set(found.words) >= {" one", " two"} and " three" not in found.words


def test_bytes_have_the_letters_that_gpt2_gave_them() -> None:
    byte_alphabet.cache_clear() if hasattr(byte_alphabet, "cache_clear") else None
    alphabet = list(byte_alphabet())
    assert len(set(alphabet)) == 256 and "".join(alphabet[0x21:0x7F]) == "".join(map(chr, range(0x21, 0x7F)))
    assert (alphabet[0], alphabet[0x20], alphabet[0x7F], alphabet[0xAD], alphabet[0xFF]) == ("Ā", "Ġ", "ġ", "Ń", "ÿ")


def test_a_vocabulary_that_is_cut_short_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    tree = Gpt2Tokenizer([bytes([byte]) for byte in range(256)]).to_dict()
    import base64

    data = base64.b64decode(tree["tokens"])
    for cut in (data[:-1], data + b"\x02x"):
        with pytest.raises(ValueError, match="cut short"):
            Gpt2Tokenizer.from_dict(tree | {"tokens": base64.b64encode(cut).decode()})
    assert Gpt2Tokenizer.from_dict(tree).to_dict() == tree


def test_gpt2_comes_from_tiktoken_without_its_special_token(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TINYTUI_CACHE", str(tmp_path))
    names = [bytes([byte]) for byte in range(256)]
    told = SimpleNamespace(n_vocab=257, decode_single_token_bytes=lambda id: names[id])
    monkeypatch.setattr(gpt2, "_tiktoken", lambda: SimpleNamespace(get_encoding=lambda name: told))
    assert load_gpt2() == Gpt2Tokenizer(names)
    config = load_config(sets=["data.tokenizer=gpt2"])
    assert table.train_tokenizer(config.data, Text(tmp_path / "text", 0, "0"), 0) == Gpt2Tokenizer(names)


def test_tokenizers_that_do_the_same_are_equal_and_one_in_a_set() -> None:
    one, other = CharTokenizer("ab"), CharTokenizer("ab")
    assert one == other and len({one, other, CharTokenizer("abc")}) == 2
    assert one != CharTokenizer("ab", "skip") and one != "ab" and ByteTokenizer() == ByteTokenizer()


def test_marks_are_looked_for_until_all_are_found() -> None:
    usual = list(learning.USUAL_SPECIAL)

    def chunks() -> Any:
        yield f"a{''.join(usual)}<own>b"
        raise AssertionError("all are found")

    assert learning.special_in(chunks(), "<own>") == [*usual, "<own>"]
    assert learning.special_in(["<own>", usual[0]], "<own>") == [usual[0], "<own>"]
    assert learning.special_in(["text"], None) == [] and learning.special_in(["\n\n"], "\n\n") == []


def test_progress_is_a_share_of_the_bytes() -> None:
    told: list[float] = []
    chunks = learning.reporting(["ab", "é", "xyz"], 7, "reading", lambda what, share: told.append(share))
    assert list(chunks) == ["ab", "é", "xyz"] and told == [2 / 7, 4 / 7, 1.0]
    assert list(learning.reporting(["a"], 0, "reading", lambda what, share: told.append(share))) == ["a"]
    assert told[-1] == 1.0


@pytest.mark.parametrize(("held", "lengths"), [(4, [5, 5, 5]), (5, [10, 5]), (9, [10, 5]), (10, [15]), (15, [15])])
def test_text_without_a_place_to_cut_is_held_back_for_so_long(
    monkeypatch: pytest.MonkeyPatch, held: int, lengths: list[int]
) -> None:
    monkeypatch.setattr(cutting, "HELD", held)
    found = list(cut_safely(["x" * 5, "y" * 5, "z" * 5]))
    assert "".join(found) == "x" * 5 + "y" * 5 + "z" * 5 and [len(each) for each in found] == lengths


def test_a_worker_encodes_until_its_input_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "text"
    path.write_text("ab ba\n")
    fields = {"path": str(path), "n_bytes": 6, "sha256": "0", "boundary": None}
    orders = [{"tokenizer": ByteTokenizer().to_dict(), "text": fields}, [0, 6], [2, 4]]
    read, wrote = io.BytesIO(b"".join(json.dumps(order).encode() + b"\n" for order in orders)), io.BytesIO()
    monkeypatch.setattr(encoding.sys, "stdin", SimpleNamespace(buffer=read))
    monkeypatch.setattr(encoding.sys, "stdout", SimpleNamespace(buffer=wrote))
    encoding.work()
    size = ByteTokenizer().dtype.itemsize
    assert wrote.getvalue() == b"".join(
        (len(part) * size).to_bytes(8, "little") + b"".join(byte.to_bytes(size, "little") for byte in part)
        for part in (b"ab ba\n", b" b")
    )
