"""What a file that is no text is said to be, with the way out that fits it; where a NUL stands."""

from __future__ import annotations

import codecs
import io
from collections.abc import Iterator

import pytest

from engine.errors import CorpusError
from engine.text import magic
from engine.text.magic import HEAD
from engine.text.utf8 import as_lines, refuse_no_text, utf8

UNPACK, EXPORT = "; unpack it and name its folder", "; export its text as CSV or JSONL"
SAVE = "; save it as plain text first"


ADVICE = {
    UNPACK: ["a 7z archive", "a RAR archive", "a tar archive"],
    EXPORT: [
        "a SQLite database",
        "an Arrow table",
        "an Avro table",
        "a Parquet table",
        "an Arrow stream",
        "an HDF5 file",
        "a NumPy array",
        "an Excel workbook",
        "an old Word, Excel or PowerPoint file",
    ],
    SAVE: ["a PDF", "a Word document", "a rich text document", "an EPUB book"],
}


def test_the_way_out_is_one_that_fits(monkeypatch: pytest.MonkeyPatch) -> None:
    kinds = {words for *_, words in magic._NAMED} | {words for _, words in magic._IN_ZIP} | {"a Parquet table"}
    kinds.add("UTF-16 text without a byte order mark (iconv -f UTF-16LE -t UTF-8 makes it readable)")
    known = {what: advice for advice, all_of in ADVICE.items() for what in all_of}
    assert kinds > known.keys()
    for what in kinds:
        monkeypatch.setattr("engine.text.utf8.no_text", lambda head, what=what: what)
        with pytest.raises(CorpusError) as caught:
            refuse_no_text(b"x", "file")
        assert str(caught.value) == f"file is {what}, and a corpus is text{known.get(what, '')}"


@pytest.mark.parametrize("before", [0, 1, HEAD - 1, HEAD, HEAD + 7])
@pytest.mark.parametrize("block", [5, 1 << 16])
def test_a_nul_is_named_with_its_place(before: int, block: int) -> None:
    data = b"a" * before + b"b\0c" + b"a" * 50

    def blocks() -> Iterator[bytes]:
        file = io.BytesIO(data)
        while part := file.read(block):
            yield part

    with pytest.raises(CorpusError, match=f"file is not text: a NUL byte at offset {before + 1:,}$"):
        list(utf8(blocks(), "file"))


@pytest.mark.parametrize(("block", "place"), [(4, 10_000), (4096, 8192)])
def test_a_nul_of_a_wide_encoding_is_named_with_its_block(block: int, place: int) -> None:
    data = codecs.BOM_UTF16_LE + ("a" * 5000 + "\0").encode("utf-16-le")
    blocks = (data[at : at + block] for at in range(0, len(data), block))
    with pytest.raises(CorpusError, match=f"a NUL byte at offset {place:,}$"):
        list(utf8(blocks, "file"))


@pytest.mark.parametrize("block", [2, 3, 7])
def test_lines_of_blocks_are_those_of_the_whole(block: int) -> None:
    data = "eins\nzwéi\r\ndrei\r\n\nvier€".encode()
    blocks = (data[at : at + block] for at in range(0, len(data), block))
    assert list(as_lines(blocks)) == ["eins\n", "zwéi\r\n", "drei\r\n", "\n", "vier€"]


@pytest.mark.parametrize("name", ["a.csv.gz", "b.BZ2", "c.xz", "d.zst", "e.zip", "in.zip: f.gz"])
def test_of_a_packed_file_it_is_said_that_it_may_be_damaged(name: str) -> None:
    kind = name.lower().rpartition(".")[2]
    advice = f"; is the .{kind} file damaged? get it again, or unpack it and convert what is in it"
    for data in (b"\x1f\x8b\x09\x80", b"a\0bc", b"ab\xff"):
        with pytest.raises(CorpusError) as told:
            list(utf8(iter([data]), name))
        assert str(told.value).endswith(advice) and "iconv" not in str(told.value)
