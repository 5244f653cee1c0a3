"""How a source falls into pieces, and its documents to training or validation: every edge by itself."""

from __future__ import annotations

import gzip
import json
from hashlib import blake2b, sha256
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from engine.errors import CorpusError
from engine.text.template import Template
from engine.tokenizers import documents
from engine.tokenizers.documents import Ask, Document, FileDocuments, Piece, _groups, _sides, hash_of

TEMPLATE = Template.parse("Q {prompt} A {response}--")


def asked(path: Path, **more: Any) -> FileDocuments:
    return FileDocuments(Ask(path=str(path), **more))


def read(made: FileDocuments, piece: Piece) -> list[tuple[str, bool, bool]]:
    return [
        (each.text if isinstance(each.text, str) else "".join(each.text), each.val, each.ends)
        for each in made.read(piece)
    ]


@pytest.mark.parametrize(
    ("number", "cut", "sides"),
    [
        (3, None, [("", 0, None)]),
        (2, (3, 0), [("train", 0, None)]),
        (2, (3, 7), [("train", 0, None)]),
        (3, (3, 0), [("val", 0, None)]),
        (3, (3, 1), [("train", 0, 1), ("val", 1, None)]),
        (3, (3, 7), [("train", 0, 7), ("val", 7, None)]),
        (4, (3, 0), [("val", 0, None)]),
        (4, (3, 7), [("val", 0, None)]),
        (0, (0, 0), [("val", 0, None)]),
    ],
)
def test_a_part_falls_to_the_side_of_the_cut_it_is_on(
    number: int, cut: tuple[int, int] | None, sides: list[tuple[str, int, int | None]]
) -> None:
    assert list(_sides(number, cut)) == sides


@pytest.mark.parametrize(
    ("sizes", "spans"),
    [
        ([], []),
        ([5], [(0, 1)]),
        ([50], [(0, 1)]),
        ([5, 5], [(0, 2)]),
        ([5, 6], [(0, 1), (1, 2)]),
        ([50, 50], [(0, 1), (1, 2)]),
        ([1, 2, 3, 4, 1, 9, 1, 1], [(0, 4), (4, 6), (6, 8)]),
        ([0, 0, 10, 0, 1], [(0, 4), (4, 5)]),
    ],
)
def test_groups_of_rows_make_up_so_many_bytes(sizes: list[int], spans: list[tuple[int, int]]) -> None:
    assert _groups(sizes, 10) == spans


def test_pieces_join_where_they_are_whole_neighbours_on_one_side() -> None:
    whole = Piece(3, 2)
    assert whole.joins([Piece(5)]) and not whole.joins([Piece(6)]) and not whole.joins([Piece(4)])
    assert not whole.joins([Piece(5, side="val")]) and Piece(3, 2, side="val").joins([Piece(5, side="val")])
    assert not whole.joins([]) and not whole.joins([Piece(5), Piece(6)]) and not whole.joins([Piece(5, 2)])
    assert not whole.joins([Piece(5, 1, 0, 9)]) and not Piece(3, 2, 0, 9).joins([Piece(5)])
    assert not Piece(3, 2, 1).joins([Piece(5)])
    assert Piece(0).whole and not Piece(0, start=1).whole and not Piece(0, end=0).whole


def number_of(text: str) -> int:
    return int.from_bytes(blake2b(text.encode(), digest_size=8).digest(), "little")


def test_a_document_is_held_out_by_the_hash_of_its_words(tmp_path: Path) -> None:
    (tmp_path / "t.txt").write_text("a\n\nb")
    exact = next(str(n) for n in count() if number_of(str(n)) % 2048 == 0)  # a double holds the other 53 bits
    share = number_of(exact) / 2.0**64
    for fraction, held in ((share, False), (share * (1 + 2**-40), True), (share * (1 - 2**-40), False)):
        for mark in ("--", None):
            made = asked(tmp_path / "t.txt", boundary=mark, val_fraction=fraction)
            assert made.held_out(exact) is held
            assert made.held_out(f"\n {exact}\t\n") is held
            assert made.held_out(f"{exact} --") is (held if mark else number_of(f"{exact} --") < fraction * 2.0**64)
    assert isinstance(made.held_out("\ud800"), bool)  # a surrogate of a damaged row is told elsewhere


@pytest.mark.parametrize(
    ("name", "content", "more", "by", "ending"),
    [
        ("t.txt", "a", {}, "end", ""),
        ("t.txt", "a", {"boundary": "--"}, "documents", "--"),
        ("t.txt", "a", {"boundary": "--", "template": TEMPLATE}, "documents", ""),
        ("t.jsonl", '{"text": "a"}\n', {"format": "jsonl"}, "documents", "\n\n"),
        ("t.jsonl", '{"text": "a"}\n', {"format": "jsonl", "boundary": "--"}, "documents", "--"),
        ("t.jsonl", '{"text": "a"}\n', {"format": "jsonl", "template": TEMPLATE}, "documents", ""),
    ],
)
def test_what_ends_a_document(
    name: str, content: str, more: dict[str, Any], by: str, ending: str, tmp_path: Path
) -> None:
    (tmp_path / name).write_text(content)
    made = asked(tmp_path / name, **more)
    assert (made.by, made.ending) == (by, ending)


def folder_of(path: Path, *texts: str) -> Path:
    path.mkdir()
    for number, text in enumerate(texts):
        (path / f"{number:02}.txt").write_bytes(text.encode())
    return path


def test_texts_of_a_folder_are_parted_by_a_blank_line(tmp_path: Path) -> None:
    assert asked(folder_of(tmp_path / "two", "a", "b")).ending == "\n\n"
    assert asked(folder_of(tmp_path / "one", "a")).ending == ""


@pytest.mark.parametrize(
    ("fraction", "cut"),
    [(0.1, (1, 6)), (0.2, (1, 4)), (0.3, (1, 0)), (0.4, (1, 0)), (0.5, (0, 10)), (0.99, (0, 0))],
)
def test_the_end_of_a_source_is_held_out_from_a_character_on(
    fraction: float, cut: tuple[int, int], tmp_path: Path
) -> None:
    """12 and 8 bytes; the second begins with a character of four."""
    made = asked(folder_of(tmp_path / "two", "a bc def gh\n", "😀 xy\n"), val_fraction=fraction)
    assert made._cut([0, 1]) == cut


def test_where_nothing_is_text_there_is_no_cut(tmp_path: Path) -> None:
    made = asked(folder_of(tmp_path / "one", "a"))
    with pytest.raises(CorpusError, match=r"^no text in .*one; a corpus needs text$"):
        made._cut([])


def test_a_packed_text_is_cut_by_its_share(tmp_path: Path) -> None:
    path = tmp_path / "t.txt.gz"
    path.write_bytes(gzip.compress(b"ab cd ef gh ij\n" * 40))
    size, made = path.stat().st_size, asked(path, val_fraction=0.25)
    assert made._cut([0]) == (0, int(int(0.75 * size) / size * 600))
    assert asked(path, val_fraction=0.999)._cut([0]) == (0, 0)


@pytest.mark.parametrize(
    ("piece_bytes", "parts"),
    [(9, [1, 1, 1, 1, 1, 1]), (10, [2, 2, 2]), (14, [2, 2, 2]), (15, [3, 3]), (25, [5, 1]), (1000, [6])],
)
def test_small_files_share_a_piece(piece_bytes: int, parts: list[int], tmp_path: Path) -> None:
    made = asked(folder_of(tmp_path / "six", *["ab--c"] * 6), boundary="--", piece_bytes=piece_bytes)
    found = made.pieces()
    assert [piece.parts for piece in found] == parts
    assert [piece.part for piece in found] == [sum(parts[:n]) for n in range(len(parts))]
    assert [text for piece in found for text, _, _ in read(made, piece)] == ["ab", "c"] * 6


def test_pieces_of_a_text_end_where_it_may_be_cut(tmp_path: Path) -> None:
    path = tmp_path / "t.txt"
    path.write_text("ab cd ef gh ij kl mn")  # 20 bytes; the cut is at 16, the places to cut 2, 5, 8, 11, 14, 17
    made = asked(path, val_fraction=0.2, piece_bytes=6)
    assert made.pieces() == [
        Piece(0, 1, 0, 8, "train"), Piece(0, 1, 8, 14, "train"), Piece(0, 1, 14, 16, "train"),
        Piece(0, 1, 16, None, "val"),
    ]  # fmt: skip
    assert [read(made, piece) for piece in made.pieces()] == [
        [("ab cd ef", False, False)], [(" gh ij", False, False)], [(" k", False, False)], [("l mn", True, False)],
    ]  # fmt: skip
    for size, spans in ((19, 2), (20, 2), (10, 3)):  # a piece holds the whole, or is as large as it may be
        assert len(asked(path, val_fraction=0.2, piece_bytes=size).pieces()) == spans
    assert asked(path, boundary="--", piece_bytes=20).pieces() == [Piece(0)]
    assert asked(path, boundary="--", piece_bytes=10).pieces() == [Piece(0, 1, 0, 10), Piece(0, 1, 10, None)]
    assert asked(path, boundary="--", piece_bytes=9).pieces() == [
        Piece(0, 1, 0, 9), Piece(0, 1, 9, 18), Piece(0, 1, 18, None),
    ]  # fmt: skip


def test_only_what_ends_a_file_of_several_ends_a_document(tmp_path: Path) -> None:
    made = asked(folder_of(tmp_path / "two", "ab cd ef", "gh ij kl mn op\n"), val_fraction=0.5, piece_bytes=6)
    said = [each for piece in made.pieces() for each in read(made, piece)]
    assert "".join(text for text, _, _ in said) == "ab cd efgh ij kl mn op\n"
    assert [ends for _, _, ends in said] == [text.endswith(("ef", "\n")) for text, _, _ in said]
    assert [val for _, val, _ in said] == sorted(val for _, val, _ in said)


@pytest.mark.parametrize(
    ("name", "content", "format"),
    [
        ("t.jsonl.gz", gzip.compress(b'{"text": "a"}\n' * 50), "jsonl"),
        ("t.json", json.dumps([{"text": "a"}] * 50).encode(), "jsonl"),
        ("t.csv", b"text\n" + b"a\n" * 50, "csv"),
        ("t.txt", "a--b".encode("utf-16"), "text"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",  # bytes of gzip hold the time
)
def test_what_is_known_from_its_beginning_alone_is_one_piece(
    name: str, content: bytes, format: Any, tmp_path: Path
) -> None:
    (tmp_path / name).write_bytes(content)
    made = asked(tmp_path / name, format=format, columns=("text",) * (format != "text"), piece_bytes=5, boundary="--")
    assert made.pieces() == [Piece(0)]
    assert {text for text, _, _ in read(made, Piece(0))} == ({"a", "b"} if format == "text" else {"a"})


def test_lines_of_a_range_are_told_by_their_byte(tmp_path: Path) -> None:
    path = tmp_path / "t.jsonl"
    path.write_text('{"text": "one"}\n\n  \n{"text": "two"}\n{"text": 3}\n{"text": ""}\n{"more": 1}\n')
    made = asked(path, format="jsonl", columns=("text",))
    assert [text for text, _, _ in read(made, Piece(0, 1, 0, 36))] == ["one", "two"]
    assert [text for text, _, _ in read(made, Piece(0, 1, 1, 37))] == ["two", "3"]
    with pytest.raises(CorpusError, match=r"t\.jsonl, at byte 61: no 'text'"):
        read(made, Piece(0, 1, 40, None))


def test_documents_of_a_text_have_one_kind_of_line_end_and_blank_ones_are_none(tmp_path: Path) -> None:
    path = tmp_path / "t.txt"
    path.write_bytes("\ufeffa\r\nb--\r\n--é--".encode())
    assert [text for text, _, _ in read(asked(path, boundary="--"), Piece(0))] == ["a\nb", "é"]
    said = read(asked(path, boundary="--", template=TEMPLATE), Piece(0))
    assert [text for text, _, _ in said] == ["a\nb--", "\n--", "é--"]
    whole, some = asked(path), {(0, None): "a\nb--\n--é--", (0, 7): "a\nb", (4, 11): "\nb--\n", (12, None): "-é--"}
    assert {span: read(whole, Piece(0, 1, *span, side="train"))[0][0] for span in some} == some


def test_what_is_left_out_is_told_without_an_and(tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "two", "a", "b")
    (folder / ".hidden").write_text("x")
    assert asked(folder).left_out({}) == "1 hidden"
    assert asked(folder_of(tmp_path / "one", "a")).left_out({}) == ""


def test_a_source_is_hashed_as_json() -> None:
    assert hash_of(["a", 1, None]) == sha256(b'["a", 1, null]').hexdigest()


def test_a_folder_of_tables_is_no_text_to_be_looked_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "rows"
    folder.mkdir()
    for number in range(3):
        (folder / f"{number}.jsonl").write_text('{"text": "a"}\n')
    monkeypatch.setattr(documents, "is_text", None)
    monkeypatch.setattr(FileDocuments, "_is_plain", None)
    assert asked(folder, format="jsonl", columns=("text",), piece_bytes=28).pieces() == [Piece(0, 2), Piece(2)]
    assert asked(folder, format="jsonl", columns=("text",), piece_bytes=14).pieces() == [Piece(0), Piece(1), Piece(2)]


def test_what_turns_out_to_be_no_text_is_left_out(tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "some", "a", "\x89PNG\r\n", "b")
    (folder / "01.txt").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(500))
    made = asked(folder, boundary="--", piece_bytes=1)
    assert made.pieces() == [Piece(0), Piece(2)] and "01.txt (" in made.left_out({})


def test_an_ask_has_bounds() -> None:
    for wrong in ({"val_fraction": 0.0}, {"val_fraction": 1.0}, {"piece_bytes": 0}):
        with pytest.raises(ValueError, match="should be"):
            Ask(path="x", **wrong)
    assert Ask(path="x").val_fraction == 0.1 and Ask(path="x", piece_bytes=1, val_fraction=0.001).format == "text"
    assert Document("a", False).ends and Ask(path="x").chat is False and Ask(path="x").piece_bytes == 1 << 24
