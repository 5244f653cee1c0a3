"""What is asked of the dataset library and how its answers are taken, by a stand-in of its interface.

The library is an extra; `test_hub.py` has the same with it, where it is installed.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from engine.errors import CorpusError
from engine.text.template import CHAT_TEMPLATE
from engine.tokenizers import documents
from engine.tokenizers.documents import Ask, Documents
from engine.tokenizers.hub import HubDocuments, hub_columns
from engine.tokenizers.prepare import ask_for

ROWS = [{"text": f"row {n}"} for n in range(5)]
TALK = [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "ho"}]


class Rows:
    """A split, streamed."""

    def __init__(self, rows: list[dict[str, Any]], columns: list[str] | None = None, files: int = 2) -> None:
        self.rows, self.column_names, self.num_shards = rows, columns, files
        self.features = dict.fromkeys(columns or (), "string")

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return iter(self.rows)

    def shard(self, files: int, number: int) -> list[dict[str, Any]]:
        return self.rows[number::files]


class Library(SimpleNamespace):
    """`datasets`, with what it gives and what it was asked for."""

    def __init__(self, gives: Any) -> None:
        super().__init__()
        self.gives, self.asked = gives, list[Any]()

    def disable_progress_bars(self) -> None:
        self.asked.append("quiet")

    def load_from_disk(self, *args: Any, **named: Any) -> Any:
        return self._given("disk", args, named)

    def load_dataset(self, *args: Any, **named: Any) -> Any:
        return self._given("hub", args, named)

    def _given(self, *asked: Any) -> Any:
        self.asked.append(asked)
        if isinstance(self.gives, Exception):
            raise self.gives
        return self.gives


@pytest.fixture
def library(monkeypatch: pytest.MonkeyPatch) -> Library:
    made = Library(Rows(ROWS, ["text"]))
    monkeypatch.setitem(sys.modules, "datasets", made)
    return made


@pytest.mark.parametrize(
    ("name", "args", "revision"),
    [
        ("someone/tales", ("someone/tales", None), None),
        ("tales:en", ("tales", "en"), None),
        ("tales@v2", ("tales", None), "v2"),
        ("someone/tales@v2:en:x", ("someone/tales", "en:x"), "v2"),
    ],
)
def test_a_name_may_have_a_revision_and_a_config(
    name: str, args: tuple[Any, ...], revision: str | None, library: Library
) -> None:
    assert hub_columns(name) == (("text",), False)
    assert library.asked == ["quiet", ("hub", args, {"revision": revision, "streaming": True})]


@pytest.mark.parametrize("name", ["@v2", ":en", "a@", "a:"])
def test_what_is_no_name_is_said(name: str, library: Library) -> None:
    with pytest.raises(CorpusError, match=rf"^hf:{name} names no dataset; write hf:NAME, or hf:NAME@REVISION:CONFIG$"):
        hub_columns(name)
    assert library.asked == ["quiet"]


def test_a_place_on_the_disk_is_no_name(library: Library, tmp_path: Path) -> None:
    hub_columns(str(tmp_path))
    assert library.asked[1:] == [("hub", (str(tmp_path),), {"streaming": True})]
    (tmp_path / "dataset_dict.json").touch()
    hub_columns(str(tmp_path))
    assert library.asked[3:] == [("disk", (str(tmp_path),), {})]


def test_of_several_splits_train_is_read_or_the_only_one(library: Library) -> None:
    train, other = Rows(ROWS, ["text"]), Rows(ROWS, ["content"])
    for gives, column in (
        ({"test": other, "train": train}, "text"),
        ({"train": train}, "text"),
        ({"test": other}, "content"),
        (other, "content"),
    ):
        library.gives = gives
        assert hub_columns("tales") == ((column,), False)
    library.gives = {"dev": train, "test": other}
    with pytest.raises(CorpusError, match=r"^hf:tales has no split named train, but dev, test; save the one you want"):
        hub_columns("tales")


def test_columns_are_those_the_library_names_or_those_of_the_first_row(library: Library) -> None:
    library.gives = Rows([{"text": "a", "id": 1}])
    assert hub_columns("tales") == (("text",), False)
    library.gives = Rows([], ["question", "answer"])
    assert hub_columns("tales") == (("question", "answer"), False)
    library.gives = Rows([{"messages": TALK}], ["messages"])
    assert hub_columns("tales") == (("messages",), True)
    library.gives = Rows([{"a": "x", "b": "y"}], ["a", "b"])
    assert hub_columns("tales", "b") == (("b",), False) and hub_columns("tales", "b", "a") == (("b", "a"), False)
    advice = "tinytui corpora prepare hf:tales --prompt-column NAME --response-column NAME"
    with pytest.raises(CorpusError, match=f"^tales has columns a, b; say which to use: {advice}$"):
        hub_columns("tales")
    library.gives = Rows([])
    with pytest.raises(CorpusError, match=r"has columns \(none\)"):
        hub_columns("tales")


def test_how_a_dataset_is_read_follows_from_its_columns(library: Library, tmp_path: Path) -> None:
    name, ask = ask_for("hf:someone/Tales")
    assert name == "someone-Tales" and ask == Ask(path="someone/Tales", format="hf", columns=("text",))
    library.gives = Rows([{"question": "a", "answer": "b"}], ["question", "answer"])
    ask = ask_for("hf:tales", val_fraction=0.3)[1]
    assert (ask.template, ask.chat, ask.val_fraction) == (CHAT_TEMPLATE, False, 0.3)
    library.gives = Rows([{"messages": TALK}], ["messages"])
    ask = ask_for("hf:tales")[1]
    assert (ask.template, ask.chat, ask.columns) == (CHAT_TEMPLATE, True, ("messages",))
    (tmp_path / "dataset_dict.json").touch()
    assert ask_for(str(tmp_path))[1].path == str(tmp_path)
    assert ask_for(str(tmp_path), prompt_column="messages")[1].chat is True


@pytest.mark.parametrize(
    ("more", "ending"),
    [({}, "\n\n"), ({"boundary": "--"}, "--"), ({"template": CHAT_TEMPLATE, "boundary": "--"}, "")],
)
def test_what_ends_a_row(more: dict[str, Any], ending: str, library: Library) -> None:
    made: Documents = HubDocuments(Ask(path="tales", format="hf", columns=("text",), **more))
    assert (made.by, made.ending, made.left_out({})) == ("documents", ending, "")
    assert made.left_out({"odd row": 1, "tool message": 1234}) == "1 odd row, 1,234 tool messages"


def test_rows_become_documents(library: Library, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(documents.Documents, "held_out", lambda self, text: text == "row 1")
    library.gives = Rows([*ROWS, {"text": " "}, {"text": None}], ["text"])
    made = HubDocuments(Ask(path="tales", format="hf", columns=("text",)))
    found = [(each.text, each.val, each.ends) for piece in made.pieces() for each in made.read(piece)]
    assert found == [(f"row {n}", n == 1, True) for n in (0, 2, 4, 1, 3)]


def test_a_streamed_dataset_is_the_same_while_its_files_and_features_are(library: Library) -> None:
    made = HubDocuments(Ask(path="tales", format="hf", columns=("text",)))
    states = [made.state(), made.state()]
    for gives in (Rows([], ["text"], files=3), Rows([], ["text", "id"]), Rows([], ["text"])):
        library.gives = gives
        states.append(made.state())
    assert states[0] == states[1] == states[4] and len(set(states)) == 3


def test_a_saved_dataset_is_the_same_while_its_files_are(library: Library, tmp_path: Path) -> None:
    (tmp_path / "train").mkdir()
    (tmp_path / "dataset_dict.json").touch()
    rows = tmp_path / "train" / "rows.arrow"
    rows.write_bytes(b"rows")
    made = HubDocuments(Ask(path=str(tmp_path), format="hf", columns=("text",)))
    states = [made.state(), made.state()]
    os.utime(rows, ns=(1, 1))
    states.append(made.state())
    rows.write_bytes(b"more")
    os.utime(rows, ns=(1, 1))
    states.append(made.state())
    rows.write_bytes(b"more rows")
    os.utime(rows, ns=(1, 1))
    states.append(made.state())
    assert states[0] == states[1] and states[2] == states[3] and len(set(states)) == 3


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (ValueError("a\n  b"), "a b"),
        (ConnectionError(), "ConnectionError"),
        (RuntimeError("x" * 300), "x" * 200),
        (OSError(" \n"), "OSError"),
    ],
)
def test_whatever_the_library_raises_is_one_line(error: Exception, says: str, library: Library) -> None:
    made = HubDocuments(Ask(path="tales", format="hf", columns=("text",)))
    library.gives = error
    for ask in (lambda: hub_columns("tales"), made.state, lambda: HubDocuments(made.ask)):
        with pytest.raises(CorpusError) as told:
            ask()
        assert str(told.value) == f"cannot read hf:tales: {says}"


def test_a_reader_that_stops_and_our_own_errors_are_no_failures_of_the_library(library: Library) -> None:
    library.gives = Rows([{"text": "a"}, {"text": ["no text"]}, {"text": "b"}], ["text"], files=1)
    made = HubDocuments(Ask(path="tales", format="hf", columns=("text",)))
    reader = made.read(made.pieces()[0])
    assert next(reader).text == "a"
    reader.close()  # type: ignore[attr-defined]
    with pytest.raises(CorpusError, match=r"^tales, row 2 of file 1: 'text' is a list, not text$"):
        list(made.read(made.pieces()[0]))
