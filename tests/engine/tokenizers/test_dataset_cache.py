"""The token cache: whole or not at all, made again when damaged, the same however many processes made it."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from engine.config import DataConfig
from engine.errors import CorpusError
from engine.text.corpus import Text
from engine.tokenizers import cache, cutting, encoding, shards
from engine.tokenizers.base import Tokenizer
from engine.tokenizers.bpe import BpeTokenizer
from engine.tokenizers.cache import cached_tokens
from engine.tokenizers.dataset import TokenDataset
from engine.tokenizers.encoding import encode_stream, parts_of
from engine.tokenizers.shards import Mapped, checksum
from engine.tokenizers.word import WordTokenizer

TALE = "".join(f"On day {i} the miller's naïve donkey carried {i * i} sacks — uphill.\n\n" for i in range(1500))
BPE = BpeTokenizer.train([TALE[:20_000]], 320)
WORD = WordTokenizer.train([TALE[:20_000]], 320)


@pytest.fixture
def text(tmp_path: Path) -> Text:
    data = TALE.encode()
    path = tmp_path / "tale.txt"
    path.write_bytes(data)
    return Text(path, len(data), hashlib.sha256(data).hexdigest())


def ids_of(stream: object) -> list[int]:
    return [id for ids, _ in stream for id in ids.tolist()]  # type: ignore[attr-defined]


def entry(folder: Path) -> Path:
    (found,) = (folder / "tokens").iterdir()
    return found


def test_a_second_opening_reads_what_the_first_wrote(text: Text, tmp_path: Path) -> None:
    data = DataConfig(tokenizer="bpe", vocab_size=320)
    first = TokenDataset.open(text, data, tmp_path)
    files = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*") if path.is_file()}
    second = TokenDataset.open(text, data, tmp_path)
    assert np.array_equal(first.train, second.train)
    assert files == {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*") if path.is_file()}
    folder = entry(tmp_path)
    cut = text.split(data.val_fraction)
    assert folder.name == f"{text.sha256[:16]}-{second.tokenizer.fingerprint[:16]}-{cut}"
    meta = json.loads((folder / "meta.json").read_text())
    assert meta["train"]["tokens"] == len(second.train) and meta["split"] == cut
    assert (folder / "val.bin").stat().st_size == 2 * len(second.val)


def test_another_split_tokenizer_or_corpus_has_its_own_tokens(text: Text, tmp_path: Path) -> None:
    for data in (DataConfig(), DataConfig(val_fraction=0.2), DataConfig(tokenizer="byte")):
        TokenDataset.open(text, data, tmp_path)
    assert len(list((tmp_path / "tokens").iterdir())) == 3


def halves(folder: Path, boundary: str | None = None, animal: str = "zebra") -> Text:
    """A text whose second half is in other words than its first; all of it in records that end with `boundary`."""
    mark = boundary or "\n"
    first = "".join(f"the quiet miller counts {i % 7} sacks{mark}" for i in range(300))
    second = "".join(f"a {animal} gallops across {i % 7} zigzags{mark}" for i in range(300))
    data = (first + second).encode()
    (folder / "halves.txt").write_bytes(data)
    return Text(folder / "halves.txt", len(data), hashlib.sha256(data).hexdigest(), boundary)


def vocabulary(text: Text, data: DataConfig, folder: Path) -> list[bytes]:
    tokenizer = TokenDataset.open(text, data, folder).tokenizer
    return [tokenizer.token_bytes(id) for id in range(tokenizer.vocab_size)]


@pytest.mark.parametrize("kind", ["bpe", "word"])
def test_the_cache_never_gives_a_vocabulary_that_saw_validation_text(kind: str, tmp_path: Path) -> None:
    """Opened with little validation text first, then with much: what was learned from it before must not come back."""
    text = halves(tmp_path)
    for fraction, known in ((0.02, True), (0.6, False), (0.02, True)):
        data = DataConfig(tokenizer=kind, vocab_size=340, val_fraction=fraction)
        assert any(b"zebra" in token for token in vocabulary(text, data, tmp_path / "shared")) == known, fraction


@pytest.mark.parametrize("kind", ["char", "byte", "bpe", "word"])
def test_one_cache_serves_any_settings_as_an_empty_one_does(kind: str, tmp_path: Path) -> None:
    """Settings, splits, texts and record ends, one after the other: each vocabulary is the one made for it."""
    opened = []
    for boundary, animal in ((None, "zebra"), ("<END>", "zebra"), (None, "llama")):
        text = halves(tmp_path, boundary, animal)
        for size in (264, 272) if kind in ("bpe", "word") else (300,):
            for fraction in (0.02, 0.6):
                for unknown in ("error", "skip", "unk") if kind == "char" else ("error",):
                    data = DataConfig(tokenizer=kind, vocab_size=size, val_fraction=fraction, unknown=unknown)
                    found = TokenDataset.open(text, data, tmp_path / "shared")
                    alone = TokenDataset.open(text, data, tmp_path / f"alone-{len(opened)}")
                    assert found.tokenizer == alone.tokenizer, data
                    assert np.array_equal(found.train, alone.train) and np.array_equal(found.val, alone.val), data
                    opened.append(found.tokenizer.fingerprint)
    # with most text kept for validation no animal is learned from: zebra and llama then give the same vocabulary
    assert len(set(opened)) == {"char": 9, "byte": 1, "bpe": 10, "word": 10}[kind]


@pytest.mark.parametrize("damage", ["short", "flipped", "no meta", "bad meta", "no file", "other corpus", "list"])
def test_damage_is_found_and_mended(damage: str, text: Text, tmp_path: Path) -> None:
    before = TokenDataset.open(text, DataConfig(), tmp_path)
    wanted = before.train.copy(), before.val.copy()
    folder = entry(tmp_path)
    data = (folder / "train.bin").read_bytes()
    if damage == "short":
        (folder / "train.bin").write_bytes(data[:-2])
    elif damage == "flipped":
        (folder / "train.bin").write_bytes(data[:500] + bytes([data[500] ^ 4]) + data[501:])
    elif damage == "no meta":
        (folder / "meta.json").unlink()
    elif damage == "bad meta":
        (folder / "meta.json").write_text("{")
    elif damage == "list":
        (folder / "meta.json").write_text("[]")
    elif damage == "no file":
        (folder / "val.bin").unlink()
    else:
        meta = json.loads((folder / "meta.json").read_text())
        (folder / "meta.json").write_text(json.dumps(meta | {"corpus": "0" * 64}))
    after = TokenDataset.open(text, DataConfig(), tmp_path)
    assert np.array_equal(after.train, wanted[0]) and np.array_equal(after.val, wanted[1])
    assert entry(tmp_path) == folder, "and nothing else is left lying"


def test_a_damaged_tokenizer_in_the_cache_is_trained_again(text: Text, tmp_path: Path) -> None:
    data = DataConfig(tokenizer="word", vocab_size=320)
    before = TokenDataset.open(text, data, tmp_path).tokenizer
    (path,) = (tmp_path / "tokenizers").iterdir()
    path.write_bytes(path.read_bytes()[:100])
    assert TokenDataset.open(text, data, tmp_path).tokenizer == before


def test_two_processes_that_make_the_same_tokens_both_succeed(text: Text, tmp_path: Path) -> None:
    code = (
        "import sys\nfrom pathlib import Path\nfrom engine.config import DataConfig\n"
        "from engine.text.corpus import Text\nfrom engine.tokenizers.dataset import TokenDataset\n"
        "path, size, sha, cache = sys.argv[1:]\nprint('ready', flush=True)\nsys.stdin.readline()\n"
        "data = TokenDataset.open(Text(Path(path), int(size), sha), DataConfig(tokenizer='byte'), Path(cache))\n"
        "print(int(data.train.sum()), len(data.val))"
    )
    arguments = [str(text.path), str(text.n_bytes), text.sha256, str(tmp_path)]
    root = str(Path(cache.__file__).parents[2])
    both = [
        subprocess.Popen(
            [sys.executable, "-c", code, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | {"PYTHONPATH": root},
        )
        for _ in range(2)
    ]
    for process in both:
        assert process.stdout is not None and process.stdout.readline() == "ready\n"
    for process in both:
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
    outputs = [process.communicate(timeout=60)[0] for process in both]
    assert outputs[0] == outputs[1] and outputs[0]
    assert [process.returncode for process in both] == [0, 0]
    assert entry(tmp_path)


def test_another_process_may_finish_first(text: Text, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write, cut = cache._write, text.split(0.1)

    def slower(folder: Path, *arguments: object) -> None:
        monkeypatch.setattr(cache, "_write", write)
        cached_tokens(text, BPE, cut, tmp_path)  # what the other process does meanwhile
        write(folder, *arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(cache, "_write", slower)
    train, _ = cached_tokens(text, BPE, cut, tmp_path)
    assert BPE.decode_bytes(train.ids) == text.path.read_bytes()[:cut]
    assert entry(tmp_path)


def test_another_process_may_take_away_what_was_just_made(
    text: Text, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It had seen a damaged one in its place."""
    opened, cut = cache._opened, text.split(0.1)
    looked: list[Path] = []

    def gone(folder: Path, *arguments: object) -> object:
        looked.append(folder)
        if len(looked) == 2:
            shutil.rmtree(folder)
        return opened(folder, *arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(cache, "_opened", gone)
    train, _ = cached_tokens(text, BPE, cut, tmp_path)
    assert BPE.decode_bytes(train.ids) == text.path.read_bytes()[:cut] and len(looked) == 3


def test_a_full_disk_is_one_clear_line_and_leaves_nothing(
    text: Text, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(handle: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(CorpusError, match="no space left on device; make room there, or set TINYTUI_CACHE") as caught:
        cached_tokens(text, BPE, text.split(0.1), tmp_path)
    assert "\n" not in str(caught.value)
    assert list((tmp_path / "tokens").iterdir()) == []


def test_what_a_killed_process_left_is_swept_after_a_day(text: Text, tmp_path: Path) -> None:
    old, new = tmp_path / "tokens" / ".a.partial", tmp_path / "tokens" / ".b.partial"
    for folder in (old, new):
        folder.mkdir(parents=True)
    day = time.time() - 90_000
    os.utime(old, (day, day))
    cached_tokens(text, BPE, text.split(0.1), tmp_path)
    assert not old.exists() and new.exists()


@pytest.mark.parametrize("tokenizer", [BPE, WORD], ids=lambda t: t.kind)
def test_workers_give_the_same_ids_in_the_same_order(
    tokenizer: Tokenizer, text: Text, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(encoding, "PART", 20_000)
    alone = list(encode_stream(tokenizer, text, 0, text.n_bytes, workers=1))
    assert ids_of(alone) == tokenizer.encode(TALE).tolist()

    def not_here(*_: object) -> None:
        raise AssertionError("this is the workers' task")

    monkeypatch.setattr(type(tokenizer), "_encode", not_here)
    helped = list(encode_stream(tokenizer, text, 0, text.n_bytes, workers=2))
    assert len(helped) > 3 and ids_of(helped) == ids_of(alone)
    assert [done for _, done in helped] == sorted(done for _, done in helped)
    assert helped[-1][1] == alone[-1][1] == text.n_bytes


def test_a_lost_worker_costs_no_tokens(text: Text, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(encoding.sys, "executable", "/bin/false")
    assert ids_of(encode_stream(BPE, text, 0, text.n_bytes, workers=2)) == BPE.encode(TALE).tolist()


def test_an_abandoned_encoding_ends_its_workers(text: Text, monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[subprocess.Popen[bytes]] = []
    popen = subprocess.Popen

    def noted(*arguments: object, **settings: object) -> subprocess.Popen[bytes]:
        started.append(popen(*arguments, **settings))  # type: ignore[call-overload]
        return started[-1]

    monkeypatch.setattr(subprocess, "Popen", noted)
    monkeypatch.setattr(encoding, "PART", 20_000)
    stream = encode_stream(BPE, text, 0, text.n_bytes, workers=2)
    next(stream)
    stream.close()  # type: ignore[attr-defined]
    assert len(started) == 2 and all(process.poll() is not None for process in started)


@pytest.mark.parametrize(
    "line", ["On day {} the naïve donkey\n\n", "第{}天，驴驮着袋子上山去了。\n", "é {}\u00a0 🙂\n "]
)
def test_parts_end_where_a_text_may_be_cut(line: str, tmp_path: Path) -> None:
    path = tmp_path / "lines.txt"
    path.write_text("".join(line.format(i) for i in range(9000)), encoding="utf-8")
    raw = path.read_bytes()
    text = Text(path, len(raw), "0")
    start, end = len(line.format(0).encode()), text.n_bytes - 1
    for size in (5000, 5001, 5002, 5003):
        parts = list(parts_of(text, start, end, size))
        assert [part[0] for part in parts] == [start, *(part[1] for part in parts[:-1])] and parts[-1][1] == end
        assert len(parts) > 5 and all(size <= stop - begin < size + 100 for begin, stop in parts[:-1])
        for _, stop in parts[:-1]:
            before, after = raw[:stop].decode()[-1], raw[stop:].decode()[0]
            assert not before.isspace() and after in " \n"


def test_text_without_a_place_to_cut_is_cut_between_characters_in_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "long.txt"
    path.write_text("漢字" * 40_000, encoding="utf-8")
    text = Text(path, path.stat().st_size, "0")
    assert list(parts_of(text, 0, text.n_bytes, 1000)) == [(0, text.n_bytes)]
    monkeypatch.setattr(cutting, "HELD", 70_000)
    parts = list(parts_of(text, 0, text.n_bytes, 1000))
    assert parts[0] == (0, 1002) and parts[-1][1] == text.n_bytes and all(stop % 3 == 0 for _, stop in parts)


def test_a_large_file_is_checked_by_samples_and_gives_its_pages_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shards, "_RESIDENT", 4096)
    path = tmp_path / "big.bin"
    ids = np.arange(5000, dtype=np.uint16)
    path.write_bytes(ids.tobytes())
    found = Mapped(path, ids.dtype, 1)
    sums = {checksum(path, 16, 8)}
    for place in (0, -1):
        data = bytearray(ids.tobytes())
        data[place] ^= 1
        path.write_bytes(data)
        sums.add(checksum(path, 16, 8))
    path.write_bytes(ids.tobytes() + b"\0\0")
    assert len(sums | {checksum(path, 16, 8)}) == 4, "the first and last byte and the length always count"
    for _ in range(50):
        found.touched(4, 100)
    assert np.array_equal(found.ids[:5000], ids)
    assert not found.ids.flags.writeable
