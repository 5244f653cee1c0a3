"""Processes that help in turn: how many there are, what each is told, and that a lost one costs only time."""

from __future__ import annotations

import io
import json
import runpy
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from engine import process
from engine.errors import CorpusError, TokenizerError
from engine.process import Helper
from engine.text.corpus import Text
from engine.text.prepared import Split
from engine.tokenizers import encoding, pieces
from engine.tokenizers.byte import ByteTokenizer
from engine.tokenizers.char import CharTokenizer
from engine.tokenizers.documents import Ask, FileDocuments, Piece
from engine.tokenizers.pieces import Encoded, encode_pieces, open_documents


class Helping:
    """Stands for a helping process: notes what it is told, and answers what `work` would."""

    everyone: list[Helping]
    answers: Any

    def __init__(self, *_: object) -> None:
        self.orders: list[Any] = []
        self.taken = 0
        self.closed = False
        self.everyone.append(self)

    def order(self, order: object) -> None:
        assert not self.closed
        self.orders.append(json.loads(json.dumps(order)))

    def answer(self) -> bytes | None:
        self.taken += 1
        found: bytes | None = self.answers(self.orders[self.taken])
        return found

    def close(self) -> None:
        self.closed = True


def under_way() -> int:
    return sum(len(each.orders) - 1 - each.taken for each in Helping.everyone)


@pytest.fixture
def helping(monkeypatch: pytest.MonkeyPatch) -> type[Helping]:
    Helping.everyone = []
    monkeypatch.setattr(process, "Helper", Helping)
    return Helping


def listed(tmp_path: Path) -> FileDocuments:
    path = tmp_path / "all.jsonl"
    path.write_text("".join(json.dumps({"text": f"document {n}"}) + "\n" for n in range(40)))
    ask = Ask(path=str(path), format="jsonl", columns=("text",), piece_bytes=100, val_fraction=0.5)
    return FileDocuments(ask)


def encoded(number: int) -> Encoded:
    splits = Split(tokens=number, bytes=2, documents=4), Split(tokens=1, bytes=3, documents=5)
    return Encoded(paths=(f"{number}", "val"), splits=splits, counted={"odd row": number})


@pytest.mark.parametrize(
    ("workers", "first", "helpers"), [(2, 0, 2), (3, 0, 3), (3, 4, 3), (40, 0, 9), (40, 6, 3), (5, 8, 1), (5, 9, 1)]
)
def test_pieces_are_given_out_in_turn_two_ahead_each(
    workers: int, first: int, helpers: int, tmp_path: Path, helping: type[Helping]
) -> None:
    documents, some = listed(tmp_path), [Piece(0, 1, n, n + 1) for n in range(9)]
    helping.answers = staticmethod(lambda order: encoded(order[0]).model_dump_json().encode())
    most, found = 0, []
    for each in encode_pieces(documents, ByteTokenizer(), tmp_path, some, first, workers):
        most = max(most, under_way() + 1)
        assert not any(one.closed for one in helping.everyone)
        found.append(each)
    assert found == [encoded(number) for number in range(first, 9)]
    assert len(helping.everyone) == helpers and all(each.closed for each in helping.everyone)
    assert most == min(2 * helpers, 9 - first)
    told = {
        "ask": documents.ask.model_dump(mode="json"),
        "tokenizer": ByteTokenizer().to_dict(),
        "folder": str(tmp_path),
    }
    assert all(one.orders[0] == told for one in helping.everyone)
    got = sorted(order[0] for one in helping.everyone for order in one.orders[1:])
    assert got == list(range(first, 9))
    for one in helping.everyone:
        assert all(after[0] - before[0] == helpers for before, after in pairwise(one.orders[1:]))
        assert all(order[1] == vars(some[order[0]]) for order in one.orders[1:])


def test_one_process_is_this_one(tmp_path: Path, helping: type[Helping]) -> None:
    documents = listed(tmp_path)
    some = documents.pieces()
    found = list(encode_pieces(documents, ByteTokenizer(), tmp_path, some, 2, 1))
    assert not helping.everyone and len(found) == len(some) - 2
    assert [int(Path(each.paths[0]).name.split("-")[1]) for each in found] == list(range(2, len(some)))


def test_a_lost_helper_s_piece_is_encoded_here(tmp_path: Path, helping: type[Helping]) -> None:
    documents = listed(tmp_path)
    some = documents.pieces()
    helping.answers = staticmethod(lambda order: None)
    lost = list(encode_pieces(documents, ByteTokenizer(), tmp_path, some, 0, 2))
    assert lost == list(encode_pieces(documents, ByteTokenizer(), tmp_path, some, 0, 1)) and len(lost) > 3


@pytest.mark.parametrize(("of", "kind"), [("corpus", CorpusError), ("tokenizer", TokenizerError)])
def test_the_first_problem_in_order_is_raised_and_all_are_ended(
    of: str, kind: type[Exception], tmp_path: Path, helping: type[Helping]
) -> None:
    def answers(order: Any) -> bytes:
        number = order[0]
        problem = {"problem": f"piece {number} is odd", "of": of}
        return json.dumps(problem if number >= 2 else encoded(number).model_dump()).encode()

    helping.answers = staticmethod(answers)
    found = []
    with pytest.raises(kind, match=r"^piece 2 is odd$"):
        for each in encode_pieces(listed(tmp_path), ByteTokenizer(), tmp_path, [Piece(n) for n in range(9)], 0, 3):
            found.append(each)
    assert found == [encoded(0), encoded(1)] and all(each.closed for each in helping.everyone)


def lines(*orders: object) -> Any:
    return SimpleNamespace(buffer=io.BytesIO(b"".join(json.dumps(order).encode() + b"\n" for order in orders)))


def test_a_helper_encodes_pieces_until_its_input_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    documents, told = listed(tmp_path), list[Any]()
    ask = documents.ask.model_dump(mode="json")
    some = [vars(piece) for piece in documents.pieces()[:2]]
    monkeypatch.setattr(pieces, "answer", lambda data: told.append(json.loads(data)))

    def worked(tokenizer: Any, ask: Any, *orders: Any) -> list[Any]:
        told.clear()
        order = {"tokenizer": tokenizer.to_dict(), "ask": ask, "folder": str(tmp_path)}
        monkeypatch.setattr("sys.stdin", lines(order, *orders))
        pieces.work()
        return told

    found = worked(ByteTokenizer(), ask, [0, some[0]], [1, some[1]])
    assert [Encoded.model_validate(each) for each in found] == list(
        encode_pieces(documents, ByteTokenizer(), tmp_path, documents.pieces()[:2], 0, 1)
    )
    (odd,) = worked(CharTokenizer.train(["abc"]), ask, [0, some[0]])
    assert odd["of"] == "tokenizer" and "is not among the 3 of this tokenizer" in odd["problem"]
    (odd,) = worked(ByteTokenizer(), {**ask, "path": str(tmp_path / "none")}, [0, some[0]])
    assert odd["of"] == "corpus" and "none" in odd["problem"]


def test_a_helper_that_nobody_waits_for_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    documents, asked = listed(tmp_path), list[bytes]()
    some = [vars(piece) for piece in documents.pieces()[:2]]

    def gone(data: bytes) -> None:
        asked.append(data)
        raise BrokenPipeError

    monkeypatch.setattr(pieces, "answer", gone)
    for ask in (documents.ask, documents.ask.model_copy(update={"path": str(tmp_path / "none")})):
        order = {"tokenizer": ByteTokenizer().to_dict(), "ask": ask.model_dump(mode="json"), "folder": str(tmp_path)}
        monkeypatch.setattr("sys.stdin", lines(order, [0, some[0]], [1, some[1]]))
        pieces.work()
    assert len(asked) == 2 and [path.name for path in tmp_path.iterdir()] == ["all.jsonl"]


def test_documents_are_of_files_or_of_the_library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pieces, "HubDocuments", lambda ask: ("library", ask))
    ask = listed(tmp_path).ask
    assert isinstance(open_documents(ask), FileDocuments)
    ask = ask.model_copy(update={"format": "hf"})
    assert open_documents(ask) == ("library", ask)


# -- a process and what goes to and fro --------------------------------------------------------------------------------


def a_helper(answers: bytes, orders: Any = None) -> Helper:
    made = Helper.__new__(Helper)
    made._process = SimpleNamespace(stdin=orders or io.BytesIO(), stdout=io.BytesIO(answers))  # type: ignore[assignment]
    return made


def test_an_answer_comes_whole_or_not_at_all() -> None:
    one = (3).to_bytes(8, "little") + b"abc"
    made = a_helper(one + (0).to_bytes(8, "little") + one)
    assert [made.answer() for _ in range(4)] == [b"abc", b"", b"abc", None]
    for cut in range(len(one)):
        assert a_helper(one[:cut]).answer() is None


def test_an_order_is_a_line_and_a_dead_process_takes_none() -> None:
    made = a_helper(b"")
    made.order([1, "é\n"])
    made.order({"a": None})
    assert made._process.stdin.getvalue() == b'[1, "\\u00e9\\n"]\n{"a": null}\n'  # type: ignore[union-attr]

    class Dead(io.BytesIO):
        def flush(self) -> None:
            raise BrokenPipeError

    a_helper(b"", Dead()).order(1)


def test_an_end_is_asked_for_and_waited_for_and_leaves_no_pipe_open() -> None:
    class Full(io.BytesIO):
        def close(self) -> None:
            super().close()
            raise BrokenPipeError  # what was not written yet

    done: list[str] = []
    made = a_helper(b"", Full())
    made._process.kill, made._process.wait = lambda: done.append("kill"), lambda: done.append("wait")  # type: ignore
    made.close()
    stdin, stdout = made._process.stdin, made._process.stdout
    assert done == ["kill", "wait"] and stdin is not None and stdin.closed and stdout is not None and stdout.closed


def test_an_answer_is_said_with_its_length(monkeypatch: pytest.MonkeyPatch) -> None:
    wrote = io.BytesIO()
    monkeypatch.setattr(process.sys, "stdout", SimpleNamespace(buffer=wrote))
    process.answer(b"abc")
    assert a_helper(wrote.getvalue()).answer() == b"abc"


# -- a text by several processes ---------------------------------------------------------------------------------------


@pytest.fixture
def workers(monkeypatch: pytest.MonkeyPatch, helping: type[Helping]) -> type[Helping]:
    monkeypatch.setattr(encoding, "PART", 10)
    return helping


@pytest.mark.parametrize("lost", [True, False])
@pytest.mark.parametrize("count", [2, 3, 9])
def test_parts_of_a_text_are_given_out_in_turn(count: int, lost: bool, tmp_path: Path, workers: type[Helping]) -> None:
    content = "".join(f"word{n:03} " for n in range(20))  # 8 bytes each: parts of 15, then 16, ended before a space
    path = tmp_path / "text"
    path.write_text(content)
    text, tokenizer = Text(path, len(content), "0", "--"), ByteTokenizer()

    def answers(order: Any) -> bytes | None:
        low, high = order
        return None if lost and low > 30 else tokenizer.encode(content[low:high]).tobytes()

    workers.answers = staticmethod(answers)
    most, done, found = 0, 0, []
    for ids, told in encoding.encode_stream(tokenizer, text, 8, len(content), count):
        most = max(most, under_way() + 1)
        done += len(ids)
        assert told == done
        found.append(ids)
    assert tokenizer.decode(np.concatenate(found)) == content[8:] and done == len(content) - 8
    assert [len(ids) for ids in found] == [15, *[16] * 8, 9] and most == min(2 * count, 10)
    assert len(workers.everyone) == count and all(each.closed for each in workers.everyone)
    fields = {"path": str(path), "n_bytes": len(content), "sha256": "0", "boundary": "--"}
    assert all(each.orders[0] == {"tokenizer": tokenizer.to_dict(), "text": fields} for each in workers.everyone)
    starts = [order[0] for turn in range(10) for each in workers.everyone for order in each.orders[1:][turn : turn + 1]]
    assert starts == sorted(starts) and len(starts) == 10


def test_parts_end_where_a_text_may_be_cut(tmp_path: Path) -> None:
    path = tmp_path / "text"
    path.write_text("ab cd ef gh ij")
    text = Text(path, 14, "0")

    def parts(start: int, end: int, size: int) -> list[tuple[int, int]]:
        found: Iterator[tuple[int, int]] = encoding.parts_of(text, start, end, size)
        return list(found)

    assert parts(0, 14, 4) == [(0, 5), (5, 11), (11, 14)] and parts(0, 14, 6) == [(0, 8), (8, 14)]
    assert parts(3, 12, 2) == [(3, 8), (8, 11), (11, 12)] and parts(3, 12, 100) == [(3, 12)] and parts(5, 5, 1) == []


@pytest.mark.filterwarnings("ignore:.*found in sys.modules:RuntimeWarning")
@pytest.mark.parametrize("module", ["pieces", "encoding"])
def test_a_module_of_helpers_works_when_it_is_run(module: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ask = listed(tmp_path).ask
    text = {"path": ask.path, "n_bytes": 4, "sha256": "0", "boundary": None}
    told = {
        "tokenizer": ByteTokenizer().to_dict(),
        "ask": ask.model_dump(mode="json"),
        "folder": str(tmp_path),
        "text": text,
    }
    order: Any = [0, vars(Piece(0))] if module == "pieces" else [0, 4]
    wrote = io.BytesIO()
    monkeypatch.setattr("sys.stdin", lines(told, order))
    monkeypatch.setattr("sys.stdout", SimpleNamespace(buffer=wrote))
    runpy.run_module(f"engine.tokenizers.{module}", run_name="__main__", alter_sys=True)
    assert a_helper(wrote.getvalue()).answer()
