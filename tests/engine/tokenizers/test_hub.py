"""Hugging Face datasets on this machine, saved or streamed, as documents. Nothing here asks a network."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from engine.config import DataConfig
from engine.errors import CorpusError
from engine.text.catalog import find_corpus
from engine.text.prepared import UNIT, Prepared
from engine.tokenizers import prepare
from engine.tokenizers.dataset import TokenDataset, material
from engine.tokenizers.prepare import ask_for

BYTES = DataConfig(tokenizer="byte")


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))


TEXTS = [f"document {number}, of which there are {number % 7} more like it" for number in range(200)]


def made(source: str, folder: Path, **more: Any) -> Prepared:
    name, ask = ask_for(source)
    ask = ask.model_copy(update={"piece_bytes": 1500})
    return prepare.prepare(name, ask, folder, BYTES, shard_tokens=UNIT, **more)


def documents(folder: Path, ending: str = "\n\n") -> list[str]:
    dataset = TokenDataset.open(material(find_corpus(f"{folder}/")), BYTES)
    text = dataset.tokenizer.decode(dataset.train) + dataset.tokenizer.decode(dataset.val)
    return [each for each in text.split(ending) if each]


def test_without_the_library_it_is_said_which(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(CorpusError, match=r"pip install 'tinytui\[datasets\]'"):
        ask_for("hf:someone/something")


def test_a_saved_dataset_is_read_by_ranges_of_rows(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    found = datasets.Dataset.from_dict({"id": list(range(200)), "text": TEXTS})
    found.save_to_disk(str(tmp_path / "saved"))
    datasets.DatasetDict({"train": found}).save_to_disk(str(tmp_path / "dict"))
    about = made(str(tmp_path / "saved"), tmp_path / "one")
    assert about.by == "documents" and about.pieces > 3
    assert sorted(documents(tmp_path / "one")) == sorted(TEXTS)
    again = made(f"hf:{tmp_path / 'dict'}", tmp_path / "two", workers=2)
    assert [shard.sha256 for shard in again.train.shards] == [shard.sha256 for shard in about.train.shards]
    datasets.Dataset.from_dict({"id": [0], "text": ["other"]}).save_to_disk(str(tmp_path / "saved"))
    with pytest.raises(CorpusError, match="has changed since"):
        made(str(tmp_path / "saved"), tmp_path / "one")


def test_a_dataset_is_streamed_file_by_file(tmp_path: Path) -> None:
    pytest.importorskip("datasets")
    (tmp_path / "rows").mkdir()
    for number in range(4):
        lines = [json.dumps({"text": text}) + "\n" for text in TEXTS[number * 50 : number * 50 + 50]]
        (tmp_path / "rows" / f"{number}.jsonl").write_text("".join(lines))
    about = made(f"hf:{tmp_path / 'rows'}", tmp_path / "made")
    assert about.pieces == 4 and sorted(documents(tmp_path / "made")) == sorted(TEXTS)


def test_conversations_of_a_dataset_stand_in_the_template(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    rows = [
        [{"role": "user", "content": f"what is {n}?"}, {"role": "assistant", "content": f"a number, {n}"}]
        for n in range(99)
    ]
    datasets.Dataset.from_dict({"messages": rows}).save_to_disk(str(tmp_path / "chats"))
    about = made(f"hf:{tmp_path / 'chats'}", tmp_path / "made")
    assert about.template is not None and not about.mark
    said = documents(tmp_path / "made", "<END>\n\n")
    assert sorted(said) == sorted(f"You: what is {n}?\nBot: a number, {n}" for n in range(99))


def test_what_cannot_be_read_is_said_in_one_line(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    datasets.Dataset.from_dict({"a": ["x"], "b": ["y"]}).save_to_disk(str(tmp_path / "odd"))
    splits = {"dev": datasets.Dataset.from_dict({"text": ["x"]}), "test": datasets.Dataset.from_dict({"text": ["y"]})}
    datasets.DatasetDict(splits).save_to_disk(str(tmp_path / "splits"))
    (tmp_path / "empty").mkdir()
    for source, says in (
        (f"hf:{tmp_path / 'odd'}", "has columns a, b; say which to use: tinytui corpora prepare hf:"),
        (f"hf:{tmp_path / 'splits'}", "has no split named train, but dev, test"),
        (f"hf:{tmp_path / 'empty'}", "cannot read hf:"),
    ):
        with pytest.raises(CorpusError, match=says) as told:
            ask_for(source)
        assert "\n" not in str(told.value)
