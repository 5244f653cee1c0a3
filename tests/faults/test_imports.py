"""Folders of models as others leave them: damaged, edited, made up. Imported exactly, or refused with nothing made."""

from __future__ import annotations

import json
import os
import random
import resource
import shutil
import signal
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
import torch
from torch import Generator

from engine.config import ModelConfig
from engine.errors import UserError
from engine.interop.exports import export
from engine.interop.imports import import_model
from engine.interop.tokenizers import read_tokenizer
from engine.model import build_model
from engine.runs.layout import list_runs
from engine.tokenizers.base import Tokenizer
from engine.tokenizers.bpe import BpeTokenizer, byte_alphabet
from engine.tokenizers.char import CharTokenizer
from engine.training.checkpoint import load_model
from engine.training.fork import import_run

from .conftest import Campaign

SECONDS = 20  # for one import, which takes some ten milliseconds
GROWTH = 512 << 20  # bytes of memory that all imports together may take; the models are some 50 KB
TEXT = "First Citizen: before we proceed any further, hear me speak. Speak, speak! 1234 naïve — 日本\n\n  the the"
SHAPE: dict[str, Any] = {"n_layer": 2, "n_head": 2, "n_embd": 16, "block_size": 16}
GPT2 = {"position": "learned", "norm": "layernorm", "mlp": "gelu_tanh", "bias": True}
LLAMA = {"position": "rope", "norm": "rmsnorm", "mlp": "swiglu", "n_kv_head": 1}
NANOCHAT = {"position": "rope", "norm_weight": False, "embd_norm": True, "mlp": "relu2", "qk_norm": True}
KINDS: dict[str, tuple[dict[str, Any], Callable[[], Tokenizer]]] = {
    "gpt2": (GPT2, lambda: BpeTokenizer.train([TEXT * 3], 300, ["<|endoftext|>"])),
    "llama": (LLAMA, lambda: CharTokenizer.train([TEXT], "unk")),
    "nanochat": ({**NANOCHAT, "embd_window": 2}, lambda: CharTokenizer.train([TEXT], "skip")),
}


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A whole folder of each family."""
    folder = tmp_path_factory.mktemp("sound")
    for name, (settings, tokenizer) in KINDS.items():
        own = tokenizer()
        model = build_model(ModelConfig(**SHAPE, **settings), own.vocab_size, Generator().manual_seed(1)).eval()
        export(model, own, folder / name)
    return {name: folder / name for name in KINDS}


@contextmanager
def within(seconds: int) -> Iterator[None]:
    """Interrupts what takes longer."""

    def late(number: int, frame: FrameType | None) -> None:
        raise TimeoutError(f"took over {seconds} s")

    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


# -- damage ----------------------------------------------------------------------------------------------------------

VALUES: tuple[Any, ...] = (
    *(None, True, False, 0, -1, 1, 2**31, 2**63, 10**30, 0.5, -1e300, float("nan"), float("inf"), "", "x", "\x1b[2J"),
    *("1", [], [1], ["a", "b"], {}, {"a": 1}, {"type": "ByteLevel"}, [[["x"] * 3] * 3], "é" * 500),
)


def places(tree: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Where values stand in a tree of JSON, the many entries of a vocabulary thinned out."""
    found = [path] if path else []
    items = list(tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ())
    for key, value in items if len(items) < 60 else [*items[:5], *items[100:105], *items[-5:]]:
        found += places(value, (*path, key))
    return found


def edit_json(folder: Path, dice: random.Random) -> str:
    """One value of one file changed for one of another type, left out, or put in twice under another name."""
    path = dice.choice(sorted(folder.glob("*.json")))
    tree = json.loads(path.read_text())
    *above, last = dice.choice(places(tree))
    parent = tree
    for key in above:
        parent = parent[key]
    how = dice.choice(["other", "other", "other", "none", "twice"])
    value = dice.choice(VALUES)
    if how == "none":
        del parent[last]
    elif how == "twice" and isinstance(parent, list):
        parent.append(parent[last])
    elif how == "twice":
        parent[f"{last}2"] = parent[last]
    else:
        parent[last] = value
    path.write_text(json.dumps(tree))
    return f"{path.name}: {above} {last} {how} {str(value)[:20]!r}"


def cut_short(folder: Path, dice: random.Random) -> str:
    path = dice.choice(sorted(folder.iterdir()))
    size = dice.randrange(path.stat().st_size)
    os.truncate(path, size)
    return f"{path.name}: cut to {size}"


def flip_bits(folder: Path, dice: random.Random) -> str:
    """In the beginning of a file, where its structure is."""
    path = dice.choice(sorted(folder.iterdir()))
    data = bytearray(path.read_bytes())
    for _ in range(dice.choice([1, 1, 1, 8])):
        data[dice.randrange(min(len(data), 3000))] ^= 1 << dice.randrange(8)
    path.write_bytes(data)
    return f"{path.name}: bits"


def edit_header(folder: Path, dice: random.Random) -> str:
    """What the weights' file says of its tensors: names, types, shapes, places; sizes beyond all reason among them."""
    path = folder / "model.safetensors"
    data = path.read_bytes()
    length = struct.unpack("<Q", data[:8])[0]
    header = json.loads(data[8 : 8 + length])
    name = dice.choice(sorted(set(header) - {"__metadata__"}))
    entry = header[name]
    how = dice.randrange(9)
    if how == 0:
        entry["shape"] = dice.choice([[], [0], [2**40, 2**40], [-1, 16], [10**18], [*entry["shape"][::-1], 1], "16"])
    elif how == 1:
        entry["dtype"] = dice.choice(["I8", "BOOL", "F8_E4M3", "U64", "F16", "F64", "C64", "X", 3])
    elif how == 2:
        entry["data_offsets"] = dice.choice([[0, 2**62], [5, 3], [-4, 0], [0, 0], [0], "all"])
    elif how == 3:
        del header[name]
    elif how == 4:
        header[dice.choice(["x", "lm_head.weight", "", "\x1b[2J", "transformer.h.9.ln_1.weight"])] = header.pop(name)
    elif how == 5:
        header[name] = dice.choice(VALUES)
    elif how == 6:
        header["__metadata__"] = dice.choice(VALUES)
    elif how == 7:
        header[name + "2"] = dict(entry)
    told = json.dumps(header).encode()
    length = dice.choice([2**63, 2**64 - 1, 10**9, 0, 1]) if how == 8 else len(told)
    path.write_bytes(struct.pack("<Q", length) + told + data[8 + struct.unpack("<Q", data[:8])[0] :])
    return f"header: {name} {how}"


def no_file(folder: Path, dice: random.Random) -> str:
    """Something that is no file in the place of one."""
    path = dice.choice(sorted(folder.iterdir()))
    path.unlink()
    how = dice.randrange(6)
    if how == 0:
        os.mkfifo(path)
    elif how == 1:
        path.mkdir()
    elif how == 2:
        path.symlink_to("/dev/zero")
    elif how == 3:
        path.symlink_to(path)
    elif how == 4:
        path.write_bytes(dice.randbytes(dice.randrange(2000)))
    return f"{path.name}: {how}"


def pretend(folder: Path, dice: random.Random) -> str:
    """An index of shards that are not there, are elsewhere, or are no text."""
    (folder / "model.safetensors").rename(folder / "part.safetensors")
    names = dice.choice([["part.safetensors"], ["../part.safetensors"], ["/dev/zero"], ["x" * 300], [""], [3], [None]])
    shards: Any = {f"w{number}": name for number, name in enumerate(names)}
    tree = {"weight_map": dice.choice([shards, shards, shards, list(shards), None, 3])}
    (folder / "model.safetensors.index.json").write_text(json.dumps(tree))
    return f"index: {tree}"


DAMAGES = (edit_json, edit_json, edit_json, edit_header, edit_header, cut_short, flip_bits, no_file, pretend)


def check(folder: Path, runs: Path) -> None:
    """Import it, and see that it is one thing or the other."""
    with within(SECONDS):
        try:
            run = import_run(folder, runs, name="run")
        except UserError as error:
            message = str(error)
            assert message.isprintable() and len(message.replace(str(folder), "")) < 400, message
            assert not runs.exists() or not list(runs.iterdir()), "something was made"
            return
    assert [each.name for each in list_runs(runs)] == ["run"]
    model, tokenizer, _ = load_model(run, "last")
    assert tokenizer.vocab_size == model.vocab_size
    ids = tokenizer.encode("speak the speak")
    with torch.inference_mode():
        logits = model(torch.from_numpy(ids.astype("int64"))[None, : model.config.block_size])
    assert logits.shape[-1] == tokenizer.vocab_size
    theirs = library_ids(folder / "tokenizer.json", "speak the speak")
    assert theirs is None or ids.tolist() == theirs


def library_ids(path: Path, text: str) -> list[int] | None:
    """What `tokenizers` makes of the text by the file as it is; None when it cannot read it."""
    from tokenizers import Tokenizer as Backend

    if not path.is_file():
        return None
    try:
        backend = Backend.from_file(str(path))
    except Exception:  # the library has no class of errors of its own
        return None
    backend.no_truncation()
    backend.no_padding()
    ids: list[int] = backend.encode(text, add_special_tokens=False).ids
    return ids


def test_a_damaged_model(campaign: Callable[..., Campaign], sound: dict[str, Path], tmp_path: Path) -> None:
    promise = campaign(
        "a damaged or made-up folder of a model is imported as it says, or refused in one line with nothing made, "
        "in bounded time and memory",
        quick=15,
        whole=1500,
    )
    held = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    for number in promise:
        dice = random.Random(number)
        name = dice.choice(sorted(sound))
        folder = tmp_path / "model"
        shutil.copytree(sound[name], folder)
        damage = dice.choice(DAMAGES)
        what = damage(folder, dice)
        with promise.trial(f"{number}, {name}, {what}"):
            check(folder, tmp_path / "runs")
            grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 - held
            assert grown < GROWTH, f"{grown >> 20} MiB more"
        shutil.rmtree(folder)
        shutil.rmtree(tmp_path / "runs", ignore_errors=True)


# -- vocabularies of others ------------------------------------------------------------------------------------------

ALPHABETS = (
    "abc de",
    "the cat, a Hat! 123",
    " \n\t\r\u00a0",
    "áéñ ß",
    "日本語テキスト",
    "👩‍👧🏳️‍🌈 e\u0301",
    "'s 't 'LL _-",
    "\x00\x7f\x1c\x85",
)


def scribbled(dice: random.Random, n: int) -> str:
    parts = [dice.choice(dice.choice(ALPHABETS)) for _ in range(n)]
    return "".join(part * dice.choice([1, 1, 1, 3]) for part in parts)


def vocabulary_of(dice: random.Random) -> tuple[dict[str, int], list[tuple[str, str]], list[str]]:
    """A byte-level BPE trained on a scribble, its ids in any order, special tokens among them."""
    from tokenizers import Tokenizer as Backend
    from tokenizers import models, pre_tokenizers, trainers

    backend = Backend(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = trainers.BpeTrainer(
        vocab_size=dice.randrange(260, 400), initial_alphabet=byte_alphabet(), show_progress=False
    )
    backend.train_from_iterator([scribbled(dice, 400) for _ in range(5)], trainer)
    merges = [(left, right) for left, right in json.loads(backend.to_str())["model"]["merges"]]
    special = dice.sample(["<|endoftext|>", "<s>", "</s>", "<|im_start|>", "[PAD]", "é¤", "<|"], dice.randrange(1, 5))
    names = [*backend.get_vocab(), *special]
    if dice.random() < 0.8:
        dice.shuffle(names)
    return {name: id for id, name in enumerate(names)}, merges, special


def test_a_vocabulary_of_others(campaign: Callable[..., Campaign], tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    promise = campaign("an imported vocabulary gives every text the ids that transformers gives it", quick=4, whole=300)
    for number in promise:
        dice = random.Random(number)
        vocab, merges, special = vocabulary_of(dice)
        folder = tmp_path / str(number)
        named: dict[str, Any] = dict(zip(("eos_token", "bos_token", "pad_token", "unk_token"), special, strict=False))
        named |= {name: None for name in ("eos_token", "bos_token", "pad_token", "unk_token") if name not in named}
        theirs = transformers.GPT2Tokenizer(vocab=vocab, merges=merges, **named)
        if dice.random() < 0.5:
            theirs.save_pretrained(folder)
        else:
            folder.mkdir()
            (folder / "vocab.json").write_text(json.dumps(vocab))
            (folder / "merges.txt").write_text("\n".join(["#version: 0.2", *map(" ".join, merges)]))
            (folder / "special_tokens_map.json").write_text(json.dumps(named))
        with promise.trial(f"vocabulary {number}, {special}"):
            ours = read_tokenizer(folder)
            assert ours is not None and ours.vocab_size == len(vocab)
            for _ in range(40):
                text = dice.choice(["", *special]).join(scribbled(dice, dice.randrange(1, 60)) for _ in range(3))
                ids = ours.encode(text).tolist()
                assert ids == theirs.encode(text, add_special_tokens=False), repr(text)
                assert ours.decode(ids) == text


def test_the_sound_ones_are_imported(sound: dict[str, Path], tmp_path: Path) -> None:
    """Or the campaign would show nothing."""
    for name, folder in sound.items():
        assert import_model(folder)[0].n_layer == 2
        shutil.copytree(folder, tmp_path / name)
        check(tmp_path / name, tmp_path / "runs" / name)
