"""A tiny real corpus and tiny real runs."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from engine.config import Config
from engine.preset_files import load_config
from engine.runs.layout import RunDir
from engine.text.card import write_card
from engine.text.corpus import Corpus
from engine.text.template import CHAT_TEMPLATE
from engine.training.host import TrainingHost
from engine.training.start import start_run

TINY = (
    "model.n_layer=2",
    "model.n_head=2",
    "model.n_embd=16",
    "model.block_size=16",
    "train.batch_size=4",
    "train.max_steps=12",
    "train.eval_every=6",
    "train.checkpoint_every=4",
    "train.sample_tokens=2",
    "train.keep_last=20",
)


def tiny_text(seed: int = 1, sentences: int = 300) -> str:
    """Sentences of a small grammar: enough structure to learn from."""
    rng = random.Random(seed)
    who, does, what = ("a cat", "the dog", "one bird"), ("sees", "wants", "finds"), ("a fish", "the tree", "some rain")
    return "".join(f"{rng.choice(who)} {rng.choice(does)} {rng.choice(what)}.\n" for _ in range(sentences))


@pytest.fixture(autouse=True)
def private_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TINYTUI_CACHE", str(tmp_path_factory.mktemp("cache")))


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    path = tmp_path / "tiny.txt"
    path.write_text(tiny_text())
    return path


@pytest.fixture
def start(tmp_path: Path, corpus: Path) -> Callable[..., RunDir]:
    """Make a run: start("name", "train.dropout=0.1", preset="nano")."""

    def make(name: str, *sets: str, preset: str = "nano") -> RunDir:
        return start_run(str(corpus), tiny_config(*sets, preset=preset), tmp_path / "runs", name=name, device="cpu")

    return make


ANSWERS = "data.loss=answers"
TURNS = [("what is it " * (n % 5), "a cat " * (1 + n % 3)) for n in range(60)]


@pytest.fixture
def start_on_answers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., RunDir]:
    """Make a run on questions and answers, that learns from answers alone; as `start` does."""
    monkeypatch.setenv("TINYTUI_CORPORA", str(tmp_path / "corpora"))
    folder = tmp_path / "corpora" / "asked"
    folder.mkdir(parents=True)
    (folder / "asked.txt").write_text("".join(CHAT_TEMPLATE.record(*turn) for turn in TURNS))
    write_card(folder, Corpus("asked", path=folder / "asked.txt", template=CHAT_TEMPLATE, boundary="<END>\n"))

    def make(name: str, *sets: str, **how: Any) -> RunDir:
        return start_run("asked", tiny_config(ANSWERS, *sets), tmp_path / "runs", name=name, device="cpu", **how)

    return make


def tiny_config(*sets: str, preset: str = "nano") -> Config:
    return load_config(preset, sets=(*TINY, *sets))


def train(run: RunDir) -> TrainingHost:
    """Train to the end and give back the host that did."""
    host = TrainingHost(run, device="cpu")
    host.start()
    host.join(60)
    assert not host.alive
    return host


def flat(model: torch.nn.Module, gradients: bool = False) -> torch.Tensor:
    """All weights, or gradients, of a model as they are now, one after the other."""
    tensors = [p.grad if gradients else p for p in model.parameters()]
    return torch.cat([tensor.detach().flatten() for tensor in tensors if tensor is not None])
