"""Tokens made ahead, step by step: what is learned from, what is said and when, what a source is taken to be."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from engine.config import DataConfig
from engine.errors import CorpusError
from engine.text.corpus import Text
from engine.text.prepared import META, TOKENIZER, UNIT, Prepared, Split, read_prepared
from engine.text.template import CHAT_TEMPLATE, Template
from engine.tokenizers import pieces, prepare
from engine.tokenizers.base import END_OF_TEXT, Tokenizer
from engine.tokenizers.byte import ByteTokenizer
from engine.tokenizers.char import CharTokenizer
from engine.tokenizers.documents import Ask, Document, Documents, FileDocuments, Piece
from engine.tokenizers.pieces import Encoded, encode_piece, mark_of
from engine.tokenizers.prepare import SHARD, ask_for
from engine.tokenizers.word import WordTokenizer

BYTES = DataConfig(tokenizer="byte")


class Listed(Documents):
    """Documents that a test names, those of each piece."""

    by = "documents"
    ending = "--"

    def __init__(self, *content: list[Told], **ask: Any) -> None:
        super().__init__(Ask(path="listed", **ask))
        self.content, self.read_pieces = content, list[int]()

    def state(self) -> str:
        return "as it was"

    def pieces(self) -> list[Piece]:
        return [Piece(number) for number in range(len(self.content))]

    def read(self, piece: Piece) -> Iterator[Document]:
        self.read_pieces.append(piece.part)
        for text, held, ends in self.content[piece.part]:
            yield Document(text if isinstance(text, str) else iter(text), held, ends)


Told = tuple[str | list[str], bool, bool]


def train(text: str | list[str], ends: bool = True) -> Told:
    return text, False, ends


def val(text: str) -> Told:
    return text, True, True


# -- what is learned from ----------------------------------------------------------------------------------------------


def test_a_sample_is_of_what_is_trained_on_with_marks_between() -> None:
    made = Listed([train("a"), val("no"), train(["b", "c"]), train(["d"], ends=False)], [val("no")], [train("e")])
    mark = END_OF_TEXT
    assert list(prepare._sample(made, made.pieces())) == ["a", mark, "b", "c", mark, "d", "e", mark]
    sides: list[Any] = ["train", "val", ""]
    by_end = [Piece(number, side=side) for number, side in enumerate(sides)]
    assert list(prepare._sample(made, by_end))[-2:] == ["e", mark] and made.read_pieces == [0, 1, 2, 0, 2]
    made.ending = ""
    assert list(prepare._sample(made, made.pieces())) == ["a", "b", "c", "d", "e"]
    assert list(prepare._sample(made, [])) == []


@pytest.mark.parametrize(
    ("most", "sampled", "read", "found"),
    [
        (1000, 64, [0, 1, 2, 3, 4, 5, 6], "aa-bb-aa-bb-aa-bb-aa-bb-aa-bb-aa-bb-aa-bb-"),
        (1000, 7, [0, 1, 2, 3, 4, 5, 6], "aa-bb-aa-bb-aa-bb-aa-bb-aa-bb-aa-bb-aa-bb-"),
        (1000, 3, [0, 2, 4], "aa-bb-aa-bb-aa-bb-"),
        (9, 3, [0, 2, 4], "aa-bb-aa-bb-aa-bb-"),
        (8, 3, [0, 2, 4], "aa-aa-aa-"),
        (6, 3, [0, 2, 4], "aa-aa-aa-"),
        (3, 3, [0, 2, 4], "aa-aa-aa-"),
        (8, 2, [0, 3], "aa-bb-aa-bb-"),
        (1, 1, [0], "aa-"),
    ],
)
def test_a_sample_is_the_beginning_of_pieces_at_even_distances(
    most: int, sampled: int, read: list[int], found: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prepare, "MOST", most)
    monkeypatch.setattr(prepare, "_SAMPLED", sampled)
    made = Listed(*[[train("aa"), train("bb")]] * 7)
    assert "".join(prepare._sample(made, made.pieces())).replace(END_OF_TEXT, "-") == found
    assert made.read_pieces == read


def test_a_sample_is_of_64_places() -> None:
    """However many there are: the same source gives the same vocabulary in every version."""
    made = Listed(*[[train("a")]] * 200)
    assert len(list(prepare._sample(made, made.pieces()))) == 128
    assert made.read_pieces == [number * 200 // 64 for number in range(64)]


def test_of_a_long_document_so_many_characters_are_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prepare, "MOST", 6)
    for chunks, taken in ((["abc", "def", "ghi"], 2), (["abcdef", "ghi"], 1), (["abcd", "e", "fgh", "i"], 3)):
        made = Listed([train(chunks)], [])
        assert list(prepare._sample(made, made.pieces()[:1])) == [*chunks[:taken], END_OF_TEXT]


def test_every_character_is_seen_once_whatever_its_side() -> None:
    made = Listed([train("abca"), val("xyz")], [train(["cab", "é-a", ""]), val("b")])
    assert list(prepare._characters(made, made.pieces())) == ["-", "abc", "xyz", "é"]


def test_a_vocabulary_is_learned_from_the_sample_and_nothing_of_it_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[tuple[str, float]] = []
    seen: list[tuple[bytes, Text, int]] = []

    def learned(data: DataConfig, text: Text, size: int, progress: Any = None) -> Tokenizer:
        seen.append((text.path.read_bytes() if text.path.exists() else b"", text, size))
        return ByteTokenizer()

    monkeypatch.setattr(prepare, "train_tokenizer", learned)
    monkeypatch.setattr(prepare, "MOST", 40)
    made = Listed([train("é" * 5)], [train("cd"), val("xy")], boundary="--")

    def learn(kind: str, **more: Any) -> None:
        wish = DataConfig(tokenizer=kind, **more)
        prepare._learned(made, made.pieces(), wish, tmp_path, lambda what, share: told.append((what, share)))
        assert not list(tmp_path.iterdir())

    learn("word", vocab_size=300)
    sample = f"{'é' * 5}{END_OF_TEXT}cd{END_OF_TEXT}".encode()
    assert seen[-1] == (sample, Text(tmp_path / ".sample.tmp", 38, "", "--"), 38)
    assert told == [("reading a sample", share / 40) for share in (10, 23, 25, 38)]
    monkeypatch.setattr(prepare, "MOST", 20)
    told.clear()
    learn("word", vocab_size=300)
    assert [share for _, share in told] == [0.5, 1.0, 1.0, 1.0]
    learn("char")
    assert seen[-1][0] == "-écdxy".encode() and seen[-1][2] == 7
    learn("byte")
    assert seen[-1][0] == b"" and seen[-1][2] == 0
    made = Listed([train("a")], template=Template.parse("{prompt}: {response}\n\n"))
    learn("word")
    form = made.ask.template
    assert form is not None and seen[-1][1].boundary == form.suffix == "\n\n"
    made = Listed([train("a")])
    learn("word")
    assert seen[-1][1].boundary is None


# -- what a piece becomes ----------------------------------------------------------------------------------------------


def word() -> WordTokenizer:
    return WordTokenizer.train(["ab cd ab cd é é"], 300, [END_OF_TEXT])


def encoded(
    made: Documents, tokenizer: Tokenizer, folder: Path, number: int = 3, piece: int = 0
) -> tuple[Encoded, str, str]:
    found = encode_piece(made, tokenizer, folder, number, Piece(piece))
    ids = [[int.from_bytes(data[i : i + 2], "little") for i in range(0, len(data), 2)]
           for data in (Path(path).read_bytes() for path in found.paths)]  # fmt: skip
    return found, tokenizer.decode(ids[0]), tokenizer.decode(ids[1])


def test_a_piece_is_two_files_of_ids_and_what_they_are(tmp_path: Path) -> None:
    made = Listed([train("é cd"), val("ab"), train(["ab", " cd"], ends=False), train(["é"])], [])
    found, trained, held = encoded(made, word(), tmp_path)
    assert (trained, held) == (f"é cd{END_OF_TEXT}ab cdé{END_OF_TEXT}", f"ab{END_OF_TEXT}")
    special = word().special[END_OF_TEXT]
    tokens = [Path(path).stat().st_size // 2 for path in found.paths]
    assert found.splits[0] == Split(tokens=tokens[0], bytes=12, documents=2), "a mark is no text"
    assert found.splits[1] == Split(tokens=tokens[1], bytes=2, documents=1)
    assert [Path(path).name.startswith(".piece-0000003-") for path in found.paths] == [True, True]
    assert Path(found.paths[0]).read_bytes().endswith(special.to_bytes(2, "little"))
    empty, *_ = encoded(made, word(), tmp_path, 4, 1)
    assert empty.splits == (Split(), Split())
    assert Encoded.model_validate_json(found.model_dump_json()) == found


def test_without_a_token_for_it_the_ending_is_text(tmp_path: Path) -> None:
    made = Listed([train("é"), val("ab"), train(["a", "b"], ends=False), train(["c"])])
    found, trained, held = encoded(made, ByteTokenizer(), tmp_path)
    assert (trained, held) == ("é--abc--", "ab--")
    assert found.splits == (Split(tokens=9, bytes=9, documents=2), Split(tokens=4, bytes=4, documents=1))
    made.ending = ""
    found, trained, held = encoded(made, word(), tmp_path)
    assert (trained, held) == ("éabc", "ab") and [split.documents for split in found.splits] == [2, 1]


def test_a_first_token_is_the_text_that_was_counted(tmp_path: Path) -> None:
    """A file with nothing in it ends nothing; a text may begin with what else is put between documents."""
    made = Listed([train([]), train(["ab"])])
    assert encoded(made, word(), tmp_path)[1] == f"ab{END_OF_TEXT}"
    path = tmp_path / "marks.txt"
    rest = [f"{n}--" for n in range(40)]
    path.write_text("".join([f"{END_OF_TEXT}ab cd--", *rest]))
    name, ask = ask_for(str(path), boundary="--", val_fraction=0.5)
    about = prepare.prepare(name, ask, tmp_path / "made", BYTES, tokenizer=word(), shard_tokens=UNIT)
    assert about.mark == END_OF_TEXT
    firsts = {about.train.first, about.val.first}
    assert firsts == {len(END_OF_TEXT), 1}, (
        "the first document begins with a mark, the first of the others with a digit"
    )
    assert about.n_bytes == len(path.read_bytes()) - 2 * 41


def test_what_is_counted_is_of_one_piece(tmp_path: Path) -> None:
    class Counting(Listed):
        def read(self, piece: Piece) -> Iterator[Document]:
            self.counted["odd row"] += piece.part + 1
            yield from super().read(piece)

    made = Counting([train("a")], [train("b")])
    assert [encoded(made, ByteTokenizer(), tmp_path, 0, piece)[0].counted for piece in (0, 1)] == [
        {"odd row": 1}, {"odd row": 2},
    ]  # fmt: skip


def test_a_mark_is_put_where_there_is_one_and_something_ends() -> None:
    assert mark_of(word(), "--") == END_OF_TEXT and mark_of(word(), "") == "" and mark_of(ByteTokenizer(), "--") == ""


def test_a_text_is_encoded_in_chunks_that_end_where_it_may_be_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pieces, "CHUNK", 8)
    for text, ends, chunks in (
        ("ab cd", True, ["ab cd--\n"]),
        ("ab cdx", True, ["ab", " cdx--", "\n"]),
        ("ab cd", False, ["ab cd"]),
        ("ab cdx e", False, ["ab cdx e"]),
        ("ab cdx ef", False, ["ab cdx", " ef"]),
    ):
        assert list(pieces._chunks(Document(text, False, ends), "--\n")) == chunks
    for parts, ending, ends, whole in (
        (["a", "b"], "--", True, "ab--"),
        (["a", "b"], "--", False, "ab"),
        (["a", "b"], "\n\n", True, "ab\n\n"),
        (["a", "b\n"], "\n\n", True, "ab\n\n"),
        (["a", "b\n", ""], "\n\n", True, "ab\n\n"),
        (["a\n", "b"], "\n\n", True, "a\nb\n\n"),
        (["a", "b\n"], "-\n", True, "ab\n-\n"),
        (["a", "b\n"], "", True, "ab\n"),
    ):
        assert "".join(pieces._chunks(Document(iter(parts), False, ends), ending)) == whole


# -- a folder is filled ------------------------------------------------------------------------------------------------


def lines(path: Path, n: int = 60) -> Path:
    path.write_text("".join(json.dumps({"text": f"document {i} of some length"}) + "\n" for i in range(n)))
    return path


def made_of(path: Path, folder: Path, **more: Any) -> Prepared:
    name, ask = ask_for(str(path), val_fraction=0.3)
    ask = ask.model_copy(update={"piece_bytes": 400})
    return prepare.prepare(name, ask, folder, BYTES, **({"shard_tokens": UNIT} | more))


def test_it_says_how_far_it_is_by_pieces(tmp_path: Path) -> None:
    told: list[tuple[str, float]] = []
    about = made_of(lines(tmp_path / "a.jsonl"), tmp_path / "made", progress=lambda *word: told.append(word))
    assert about.pieces > 4 and about.pieces_done == about.pieces
    assert told == [("encoding", (n + 1) / about.pieces) for n in range(about.pieces)]
    tokens = {name: (tmp_path / "made" / f"{name}-00000.bin").stat().st_size // 2 for name in ("train", "val")}
    assert (about.train.tokens, about.val.tokens) == (tokens["train"], tokens["val"])
    assert about.train.documents + about.val.documents == 60
    assert about.train.first == about.val.first == 1 and about.left_out == "" and about.dtype == "uint16"


@pytest.mark.parametrize(("step", "each"), [(2.6, 2), (4.5, 2), (2.4, 3), (5.0, 2), (5.1, 1), (100.0, 1)])
def test_the_folder_is_told_every_five_seconds(
    step: float, each: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seconds, said, say = count(50.0, step), list[int](), prepare._say

    def noted(about: Prepared) -> None:
        said.append(about.pieces_done)
        say(about)

    class Clock:
        """Goes on by `step` at each piece; it is asked once more where it is noted."""

        def __init__(self) -> None:
            self.now = next(seconds)

        def monotonic(self) -> float:
            return self.now

    clock = Clock()
    encode = prepare.encode_pieces

    def slowly(*args: Any) -> Iterator[Encoded]:
        for found in encode(*args):
            clock.now = next(seconds)
            yield found

    monkeypatch.setattr(prepare, "encode_pieces", slowly)
    monkeypatch.setattr(prepare, "time", clock)
    monkeypatch.setattr(prepare, "_say", noted)
    about = made_of(lines(tmp_path / "a.jsonl"), tmp_path / "made")
    assert said == [0, *range(each, about.pieces + 1, each), about.pieces]


@pytest.mark.parametrize("after", ["a", "z"])
def test_a_source_that_changes_meanwhile_is_refused(
    after: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    states = iter(["m", after])
    monkeypatch.setattr(FileDocuments, "state", lambda self: next(states))
    with pytest.raises(CorpusError, match=r"a\.jsonl changed while it was read; remove .*made and prepare it again$"):
        made_of(lines(tmp_path / "a.jsonl"), tmp_path / "made")
    assert not read_prepared(tmp_path / "made").finished


def test_what_was_left_out_is_told_with_how_often(tmp_path: Path) -> None:
    path = tmp_path / "chats.jsonl"
    talk, tool = [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "ho"}], {"role": "tool"}
    rows = [[{**talk[0], "content": f"hi {n}"}, talk[1]] for n in range(40)]
    rows = [[*talk, tool], *rows, [*talk, tool, *talk, tool]]
    path.write_text("".join(json.dumps({"messages": row}) + "\n" for row in rows))
    about = made_of(path, tmp_path / "made")
    assert about.pieces > 3 and about.counted == {"tool message": 3} and about.left_out == "3 tool messages"
    with_counts = about.model_copy(update={"counted": {"odd row": 1, "tool message": 1234}})
    (tmp_path / "more").mkdir()
    (tmp_path / "more" / "a.txt").write_text("a")
    for number in range(3):
        (tmp_path / "more" / f".{number}").write_text("a")
    with FileDocuments(Ask(path=str(tmp_path / "more"))) as documents:
        said = prepare._finished(with_counts, documents, ByteTokenizer())
    assert said.left_out == "1 odd row, 1,234 tool messages, 3 hidden" and said.finished


@pytest.mark.parametrize(
    ("fraction", "says"), [(0.999, "training; give a smaller"), (0.001, "validation; give a larger")]
)
def test_both_sides_need_something(fraction: float, says: str, tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"text": "one"}\n')
    name, ask = ask_for(str(path), val_fraction=fraction)
    with pytest.raises(CorpusError, match=rf"^nothing of .*a\.jsonl fell to {says} --val-fraction, or more text"):
        prepare.prepare(name, ask, tmp_path / "made", BYTES, shard_tokens=UNIT)


def test_what_was_counted_of_pieces_is_kept_when_it_is_gone_on_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also the tokenizer, which is not learned again."""
    path = lines(tmp_path / "a.jsonl")
    whole = made_of(path, tmp_path / "whole", tokenizer=CharTokenizer.train(["document of some length\n0123456789"]))
    encode = prepare.encode_pieces

    def breaks(*args: Any) -> Iterator[Encoded]:
        for number, found in enumerate(encode(*args)):
            if number == 3:
                raise CorpusError("broken off")
            yield found

    monkeypatch.setattr(prepare, "EVERY", -1.0)
    same = CharTokenizer.train(["document of some length\n0123456789"])
    with monkeypatch.context() as patch, pytest.raises(CorpusError, match="broken off"):
        patch.setattr(prepare, "encode_pieces", breaks)
        made_of(path, tmp_path / "made", tokenizer=same)
    assert read_prepared(tmp_path / "made").pieces_done == 3
    assert not list((tmp_path / "made").glob(".*"))
    monkeypatch.setattr(prepare, "_learned", None)
    told: list[float] = []
    about = made_of(path, tmp_path / "made", tokenizer=same, progress=lambda _, share: told.append(share))
    assert about.model_dump(exclude={"asked"}) == whole.model_dump(exclude={"asked"})
    assert told == [n / about.pieces for n in range(4, about.pieces + 1)]


def test_a_folder_with_nothing_but_what_was_begun_is_empty(tmp_path: Path) -> None:
    folder = tmp_path / "made"
    folder.mkdir()
    (folder / TOKENIZER).write_text("cut off before it was told of")
    (folder / ".sample.tmp").write_text("left behind")
    assert made_of(lines(tmp_path / "a.jsonl"), folder).finished
    assert not (folder / ".sample.tmp").exists()
    for name in ("notes.txt", ".notes", "a.tmp"):
        other = tmp_path / f"other {name}"
        other.mkdir()
        (other / name).write_text("mine")
        with pytest.raises(CorpusError, match="is not empty; choose another folder"):
            made_of(tmp_path / "a.jsonl", other)
        assert [path.name for path in other.iterdir()] == [name]


def test_shards_are_of_200_mb_unless_asked_for(tmp_path: Path) -> None:
    assert SHARD % UNIT == 0 and abs(SHARD * 2 - 200e6) < UNIT * 2
    name, ask = ask_for(str(lines(tmp_path / "a.jsonl")))
    assert ask.val_fraction == 0.1
    assert prepare.prepare(name, ask, tmp_path / "made", BYTES).shard_tokens == SHARD
    asked = json.loads((tmp_path / "made" / META).read_text())["asked"]
    assert asked["tokenizer"] == {"kind": "byte"} and "path" not in asked["documents"]
    assert prepare._asked_of(DataConfig(tokenizer="bpe", vocab_size=300)) == {"kind": "bpe", "vocab_size": 300}


# -- what a source is taken to be --------------------------------------------------------------------------------------


def test_a_source_is_a_corpus_or_a_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table = tmp_path / "faq.csv"
    table.write_text("frage,antwort,text\na,b,c\n")
    name, ask = ask_for(str(table))
    assert name == "faq" and (ask.format, ask.columns, ask.template) == ("csv", ("text",), None)
    _, ask = ask_for(str(table), prompt_column="frage", response_column="antwort")
    assert ask.columns == ("frage", "antwort") and ask.template == CHAT_TEMPLATE and not ask.chat
    assert ask.path == str(table.resolve()) and ask.boundary is None
    _, ask = ask_for(str(table), prompt_column="frage", boundary="--", val_fraction=0.3)
    assert (ask.columns, ask.boundary, ask.val_fraction) == (("frage",), "--", 0.3)


def test_a_text_ends_its_documents_as_its_card_says(tmp_path: Path) -> None:
    folder = tmp_path / "corpora" / "tales"
    folder.mkdir(parents=True)
    (folder / "corpus.toml").write_text('title = "T"\nfile = "t.txt"\nboundary = "<END>\\n"\n')
    (folder / "t.txt").write_text("a<END>\nb<END>\n")
    assert ask_for("tales", tmp_path / "corpora")[1].boundary == "<END>\n"
    assert ask_for("tales", tmp_path / "corpora", boundary="--")[1].boundary == "--"


@pytest.mark.parametrize(("available", "builder"), [(True, "python-stdlib"), (False, None), (False, "python-stdlib")])
def test_what_is_built_or_not_here_is_prepared_first(
    available: bool, builder: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = tmp_path / "built.txt"
    text.write_text("a")
    corpus = SimpleNamespace(
        prepared=None, path=tmp_path / "none.csv", format="csv", available=available, builder=builder, name="built",
        prepare=lambda: Text(text, 1, ""), columns=(), chat=False, template=None, boundary="--",
    )  # fmt: skip
    monkeypatch.setattr(prepare, "find_corpus", lambda *_: corpus)
    name, ask = ask_for("built")
    assert (name, ask.path, ask.format, ask.boundary) == ("built", str(text), "text", "--")
    corpus.available, corpus.builder = True, None
    assert ask_for("built")[1].path == str(tmp_path / "none.csv")
