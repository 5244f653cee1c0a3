"""Runs on tokens that were made ahead: the same weights as on the text, resumed, and refused when the tokens are not
what they were."""

from __future__ import annotations

import mmap
import shutil
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from engine.errors import CorpusError
from engine.inspect.subject import open_held_out
from engine.runs.layout import RunDir
from engine.runs.status import read_config, read_info, read_status
from engine.text.catalog import find_corpus
from engine.text.prepared import UNIT
from engine.tokenizers import shards
from engine.tokenizers.dataset import TokenDataset, material
from engine.tokenizers.prepare import ask_for, prepare
from engine.training.batches import Batches
from engine.training.checkpoint import choose_checkpoint, load_checkpoint
from engine.training.start import corpus_text, open_dataset, resume_run, start_run

from .conftest import tiny_config, tiny_text, train

BYTES = ("data.tokenizer=byte", "train.max_steps=8", "train.eval_every=4", "train.checkpoint_every=4")


@pytest.fixture
def tokens(tmp_path: Path) -> Path:
    """Two shards to train on."""
    path = tmp_path / "tale.txt"
    path.write_text(tiny_text(sentences=4000))
    name, ask = ask_for(str(path))
    about = prepare(name, ask, tmp_path / "tokens", tiny_config(*BYTES).data, shard_tokens=UNIT)
    assert len(about.train.shards) == 2
    return tmp_path / "tokens"


def started(tmp_path: Path, corpus: Path, name: str, *sets: str) -> RunDir:
    return start_run(str(corpus), tiny_config(*sets), tmp_path / "runs", name=name, device="cpu")


def weights(run: RunDir) -> dict[str, list[float]]:
    found = load_checkpoint(choose_checkpoint(run, "last"))
    return {name: tensor.flatten().tolist() for name, tensor in found.weights.items()}


def test_a_run_on_shards_has_the_weights_of_one_on_the_text(tmp_path: Path, tokens: Path) -> None:
    direct = started(tmp_path, tmp_path / "tale.txt", "direct", *BYTES)
    ahead = started(tmp_path, tokens, "ahead", *BYTES[1:])  # the tokenizer is the tokens'
    for run in (direct, ahead):
        train(run)
    assert weights(ahead) == weights(direct)
    said = [read_status(run) for run in (direct, ahead)]
    assert said[0]["last_val_loss"] == said[1]["last_val_loss"]
    assert said[0]["last_val_bpb"] == said[1]["last_val_bpb"]
    info = read_info(ahead)
    assert info["tokenizer"]["kind"] == "byte" and read_config(ahead).data.tokenizer == "byte"
    assert info["corpus"]["path"] == str(tokens) and info["corpus"]["train_tokens"] > UNIT
    assert len(open_held_out(ahead, load_checkpoint(choose_checkpoint(ahead, "last")).tokenizer).passage(0, 16)) == 17


def test_resumed_it_is_as_never_interrupted(tmp_path: Path, tokens: Path) -> None:
    whole = started(tmp_path, tokens, "whole", "train.schedule=constant")
    train(whole)
    parted = started(tmp_path, tokens, "parted", "train.schedule=constant", "train.max_steps=6")
    train(parted)
    train(resume_run(parted, max_steps=12))
    assert weights(parted) == weights(whole)


def test_what_the_next_batch_reads_is_asked_for_ahead(
    tmp_path: Path, tokens: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of the micro-batch after each, over the ends of steps; and its pages alone, inside the file."""
    config = tiny_config(*BYTES, "train.grad_accum=3", "train.batch_size=4")
    dataset = TokenDataset.open(material(find_corpus(f"{tokens}/")), config.data)
    assert dataset._maps is not None
    given: list[tuple[int, ...]] = []
    monkeypatch.setattr(dataset._maps[0], "_map", SimpleNamespace(madvise=lambda *told: given.append(told)))
    batches = Batches(dataset, config, torch.device("cpu"))
    batches.get(0, 0)
    assert given == []  # so little is in memory before long
    monkeypatch.setattr(shards, "_RESIDENT", 1000)
    monkeypatch.setattr(dataset._maps[0], "touched", lambda *told: None)
    order = [(step, micro) for step in range(20) for micro in range(batches.micros)]
    for now, later in pairwise(order):
        given.clear()
        batches.get(*now)
        places = batches.offsets(*later) * 2
        for place, (how, first, size) in zip(places.tolist(), given, strict=True):
            assert how == mmap.MADV_WILLNEED and first % mmap.PAGESIZE == 0
            assert place - mmap.PAGESIZE < first <= place and first + size == place + 2 * (batches.length + 1)
            assert first + size <= dataset.train.nbytes


def test_tokens_that_are_gone_or_others_are_named(tmp_path: Path, tokens: Path) -> None:
    run = started(tmp_path, tokens, "run")
    with pytest.raises(CorpusError, match="holds tokens, not text"):
        corpus_text(run)
    name, ask = ask_for(str(tmp_path / "tale.txt"), val_fraction=0.2)
    prepare(name, ask, tmp_path / "others", tiny_config(*BYTES).data, shard_tokens=UNIT)
    tokens.rename(tmp_path / "away")
    with pytest.raises(CorpusError, match=r"run\.json of run says of its corpus: cannot read .*tokens: it is not"):
        open_dataset(run)
    shutil.copytree(tmp_path / "others", tokens)
    with pytest.raises(CorpusError, match="corpus tokens has changed since run run began"):
        open_dataset(run)
    shutil.rmtree(tokens)
    (tmp_path / "away").rename(tokens)
    (tokens / "train-00001.bin").unlink()
    with pytest.raises(CorpusError, match=r"train-00001\.bin is missing; copy it there again"):
        open_dataset(run)
