"""Shards of tokens byte for byte: written, gone on with, looked at, mapped; and what a folder may say of itself."""

from __future__ import annotations

import errno
import hashlib
import json
import mmap
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from engine.errors import CorpusError
from engine.text import prepared
from engine.text.prepared import (
    META,
    UNIT,
    Prepared,
    Shard,
    Split,
    dump,
    is_prepared,
    read_prepared,
    shard_path,
)  # fmt: skip
from engine.tokenizers import shards
from engine.tokenizers.shards import Mapped, ShardWriter, check_all, open_shards


def about(**more: Any) -> Prepared:
    fields: dict[str, Any] = {
        "path": Path("tale"), "name": "tale", "asked": {}, "tokenizer": {"fingerprint": "f" * 64},
        "dtype": "uint16", "by": "end",
        "val_fraction": 0.25, "shard_tokens": 65536, "pieces": 3,
    }  # fmt: skip
    return Prepared.model_validate(fields | more)


def written(folder: Path, data: bytes, itemsize: int, most: int, split: Split | None = None) -> ShardWriter:
    writer = ShardWriter(folder, "train", itemsize, most, split or Split())
    (folder / "piece").write_bytes(data)
    writer.append(folder / "piece")
    return writer


def crc(data: bytes, places: list[int], block: int) -> int:
    found = zlib.crc32(str(len(data)).encode())
    for place in places:
        found = zlib.crc32(data[place : place + block], found)
    return found


@pytest.mark.parametrize("itemsize", [2, 4])
@pytest.mark.parametrize("block", [8, 1 << 20])
@pytest.mark.parametrize("parts", [[100], [1, 99], [10, 10, 80], [0, 30, 30, 40], [9, 2, 89]])
def test_ids_are_laid_into_shards_of_one_length(
    parts: list[int], block: int, itemsize: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shards, "_BLOCK", block)
    data = bytes(range(100)) * itemsize
    writer, at = ShardWriter(tmp_path, "train", itemsize, 30, Split()), 0
    for part in parts:
        (tmp_path / "piece").write_bytes(data[at : at + part * itemsize])
        writer.append(tmp_path / "piece")
        at += part * itemsize
        told = writer.so_far()
        assert [shard.tokens for shard in told] == [
            tokens for first in range(0, at // itemsize, 30) if (tokens := min(30, at // itemsize - first))
        ]
        assert all(bool(shard.sha256) == (shard.tokens == 30) for shard in told)
        for number, shard in enumerate(told):  # on the disk, before it is said
            assert shard_path(tmp_path, "train", number).stat().st_size == shard.tokens * itemsize
    whole = writer.finish()
    assert [shard.tokens for shard in whole] == [30, 30, 30, 10] and writer.finish() == whole
    for number, shard in enumerate(whole):
        content = data[number * 30 * itemsize : (number + 1) * 30 * itemsize]
        assert shard_path(tmp_path, "train", number).read_bytes() == content
        assert shard.sha256 == hashlib.sha256(content).hexdigest()
        assert shard.sampled == crc(content, [0], len(content))
    assert not shard_path(tmp_path, "train", 4).exists()


def test_nothing_is_no_shard(tmp_path: Path) -> None:
    writer = written(tmp_path, b"", 2, 30)
    assert writer.so_far() == () == writer.finish()
    writer.close()
    writer.close()
    assert [path.name for path in tmp_path.iterdir()] == ["piece"]


@pytest.mark.parametrize("block", [8, 1 << 20])
@pytest.mark.parametrize("begun", [1, 4, 5, 29, 31, 45])
def test_a_shard_is_gone_on_with_where_it_stood(
    begun: int, block: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shards, "_BLOCK", block)
    data = bytes(range(100)) * 2
    first = written(tmp_path, data[: begun * 2], 2, 30)
    told = Split(tokens=begun, shards=first.so_far())
    (tmp_path / "piece").write_bytes(b"not told of any more")
    first.append(tmp_path / "piece")
    first.close()
    again = written(tmp_path, data[begun * 2 :], 2, 30, told)
    whole = again.finish()
    assert [shard.tokens for shard in whole] == [30, 30, 30, 10]
    for number, shard in enumerate(whole):
        content = shard_path(tmp_path, "train", number).read_bytes()
        assert content == data[number * 60 : number * 60 + 60] and shard.sha256 == hashlib.sha256(content).hexdigest()


def test_a_shard_that_lost_bytes_is_not_gone_on_with(tmp_path: Path) -> None:
    first = written(tmp_path, bytes(40), 2, 30)
    told = Split(tokens=20, shards=first.so_far())
    first.close()
    shard_path(tmp_path, "train", 0).write_bytes(bytes(39))
    with pytest.raises(CorpusError, match=r"train-00000\.bin is shorter than it was; remove .* and prepare it again$"):
        ShardWriter(tmp_path, "train", 2, 30, told)
    shard_path(tmp_path, "train", 0).write_bytes(bytes(40))
    ShardWriter(tmp_path, "train", 2, 30, told).close()


def test_sixteen_places_of_a_shard_are_looked_at_each_time(tmp_path: Path) -> None:
    size, block = 300_000, 1 << 14
    data = np.random.default_rng(1).bytes(size)
    shard = written(tmp_path, data, 2, size // 2).finish()[0]
    assert shard.sampled == crc(data, [(size - block) * i // 15 for i in range(16)], block)
    small = data[: 16 * block]  # as much as is looked at anyway
    (tmp_path / "small").mkdir()
    shard = written(tmp_path / "small", small, 2, size // 2).finish()[0]
    assert shard.sampled == crc(small, list(range(0, len(small), block)), block)


def folder_of(path: Path, dtype: str, train: list[int], val: list[int]) -> Prepared:
    """A finished folder of shards of so many tokens each, which count on from 0."""
    path.mkdir()
    splits = {}
    for name, sizes in (("train", train), ("val", val)):
        made, first = [], 0
        for number, size in enumerate(sizes):
            data = np.arange(first, first + size).astype(dtype).tobytes()
            shard_path(path, name, number).write_bytes(data)
            sampled = shards.checksum(shard_path(path, name, number), **shards._SAMPLE)
            made.append(Shard(tokens=size, sha256=hashlib.sha256(data).hexdigest(), sampled=sampled))
            first += size
        splits[name] = Split(tokens=sum(sizes), bytes=1000 + len(name), first=5, shards=tuple(made))
    return about(path=path, dtype=dtype, finished=True, **splits)


@pytest.mark.parametrize("dtype", ["uint16", "uint32"])
def test_shards_are_opened_as_one_array_with_the_bytes_of_its_targets(dtype: str, tmp_path: Path) -> None:
    said = folder_of(tmp_path / "made", dtype, [UNIT, UNIT, 3], [7])
    train, val = open_shards(said)
    assert train.ids.dtype == np.dtype(dtype) and not train.ids.flags.writeable
    assert np.array_equal(train.ids, np.arange(2 * UNIT + 3).astype(dtype)) and val.ids.tolist() == list(range(7))
    assert (train.n_bytes, val.n_bytes) == (1000, 998)
    told: list[tuple[str, float]] = []
    check_all(said, lambda what, share: told.append((what, share)))
    assert told == [("checking", 0.25), ("checking", 0.5), ("checking", 0.75), ("checking", 1.0)]


@pytest.mark.parametrize("dtype", ["uint16", "uint32"])
@pytest.mark.parametrize("name", ["train-00000.bin", "train-00001.bin", "val-00000.bin"])
def test_every_shard_is_looked_at(name: str, dtype: str, tmp_path: Path) -> None:
    folder = tmp_path / "made"
    said = folder_of(folder, dtype, [UNIT, 9], [7])
    good = (folder / name).read_bytes()
    for more, length in ((b"x", len(good) + 1), (b"", len(good) - 1)):
        (folder / name).write_bytes((good + more)[:length])
        for look in (open_shards, check_all):
            with pytest.raises(
                CorpusError, match=rf"{name} has {length:,} bytes and should have {len(good):,}; copy it"
            ):
                look(said)
    (folder / name).write_bytes(good[:-1] + bytes([good[-1] ^ 1]))
    for look in (open_shards, check_all):
        with pytest.raises(CorpusError, match=rf"{name} is damaged; copy it there again, or remove"):
            look(said)
    (folder / name).unlink()
    for look in (open_shards, check_all):
        with pytest.raises(CorpusError, match=rf"{name} is missing; copy it there again"):
            look(said)
    (folder / name).mkdir()
    with pytest.raises(CorpusError, match=rf"{name} has .* bytes and should have"):
        check_all(said)


def test_what_cannot_be_read_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "made"
    said = folder_of(folder, "uint16", [9], [7])

    def fails(*_: object, **__: object) -> None:
        raise OSError(errno.EIO, "", str(folder / "val-00000.bin"))

    for place in ("checksum", "Mapped"):
        with monkeypatch.context() as patch, pytest.raises(CorpusError, match=r"^cannot read .*val-00000\.bin: "):
            patch.setattr(shards, place, fails)
            open_shards(said)
    with monkeypatch.context() as patch, pytest.raises(CorpusError, match=r"^cannot read .*train-00000\.bin: "):
        patch.setattr(shards.hashlib, "file_digest", fails)
        check_all(said)
    with monkeypatch.context() as patch, pytest.raises(CorpusError, match=r"^cannot read .*train-00000\.bin: "):
        patch.setattr(Path, "stat", fails)
        check_all(said)


# -- what a folder says of itself --------------------------------------------------------------------------------------


def test_a_folder_is_known_by_a_hash_that_every_version_makes(tmp_path: Path) -> None:
    """A run says which tokens it was trained on: the hash must not change."""
    shard = Shard(tokens=3, sha256="a" * 64)
    said = about(finished=True, train=Split(tokens=3, bytes=9, shards=(shard,)), val=Split(tokens=4, bytes=5))
    tree = [1, "f" * 64, "uint16", 9, 5, [[3, "a" * 64]], []]
    assert said.sha256 == hashlib.sha256(json.dumps(tree).encode()).hexdigest()
    assert said.n_bytes == 14 and said.format == 1 and said.kind == "tinytui tokens"
    tokens = said.model_copy(update={"tokenizer": {"settings": {"tokenizer": "bpe"}}})
    assert tokens.settings == {"data.tokenizer": "bpe", "data.val_fraction": 0.25} and tokens.n_bytes == 14
    assert said.settings == {"data.val_fraction": 0.25} and said.left_out == ""


@pytest.mark.parametrize(
    ("good", "wrong"),
    [
        ({"shard_tokens": 65536}, {"shard_tokens": 65535}),
        ({"shard_tokens": 131072}, {"shard_tokens": 65537}),
        ({"shard_tokens": 196608}, {"shard_tokens": 32768}),
        ({"shard_tokens": 196608}, {"shard_tokens": 0}),
        ({"pieces": 0}, {"pieces": -1}),
        ({"pieces_done": 0}, {"pieces_done": -1}),
        ({"val_fraction": 0.001}, {"val_fraction": 0.0}),
        ({"val_fraction": 0.999}, {"val_fraction": 1.0}),
        ({"train": {"tokens": 0}}, {"train": {"tokens": -1}}),
        ({"train": {"bytes": 0}}, {"train": {"bytes": -1}}),
        ({"train": {"first": 0}}, {"val": {"first": -1}}),
        ({"train": {"documents": 0}}, {"val": {"documents": -1}}),
        ({"val": {"shards": [{"tokens": 1}]}}, {"val": {"shards": [{"tokens": 0}]}}),
        ({"val": {"shards": [{"tokens": 1, "sampled": 0}]}}, {"val": {"shards": [{"tokens": 1, "sampled": -1}]}}),
        ({"val": {"shards": [{"tokens": 1, "sha256": ""}]}}, {"val": {"shards": [{"tokens": 1, "sha256": "a"}]}}),
        ({}, {"more": 1}),
        ({}, {"train": {"more": 1}}),
    ],
)
def test_what_a_folder_may_say_has_bounds(good: dict[str, Any], wrong: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / META).write_bytes(dump(about(**good)))
    assert is_prepared(tmp_path) and read_prepared(tmp_path) == about(path=tmp_path, **good)
    tree = about().model_dump(mode="json") | wrong
    (tmp_path / META).write_text(json.dumps(tree))
    with pytest.raises(CorpusError, match=r"is damaged; remove .* and prepare it again"):
        read_prepared(tmp_path)


def test_what_is_not_said_is_nothing() -> None:
    assert Shard(tokens=1) == Shard(tokens=1, sha256="", sampled=0)
    assert Split() == Split(tokens=0, bytes=0, first=0, documents=0, shards=())
    assert about().pieces_done == 0 and about().finished is False and about().template is None
    with pytest.raises(ValueError, match="frozen"):
        Split().tokens = 1  # type: ignore[misc]


def test_a_later_format_is_named(tmp_path: Path) -> None:
    for format in (0, 1):
        (tmp_path / META).write_bytes(dump(about(format=format)))
        assert (
            read_prepared(tmp_path).path == tmp_path and read_prepared(tmp_path).sha256 == about(format=format).sha256
        )
    (tmp_path / META).write_bytes(dump(about(format=2)))
    with pytest.raises(CorpusError, match="is of format 2, and this program knows up to 1; install a newer one"):
        read_prepared(tmp_path)


@pytest.mark.parametrize("text", ["", "[]", "7", "{", '{"kind": "tinytui tokens"}', "[" * 100_000])
def test_what_is_no_description_is_damage(text: str, tmp_path: Path) -> None:
    (tmp_path / META).write_text(text)
    with pytest.raises(CorpusError, match="is damaged"):
        read_prepared(tmp_path)


def test_other_folders_are_no_tokens(tmp_path: Path) -> None:
    assert not is_prepared(tmp_path)
    (tmp_path / META).write_text(json.dumps({"kind": "other", "more": "tinytui tokens"}))
    assert not is_prepared(tmp_path)
    (tmp_path / META).unlink()
    (tmp_path / META).mkdir()
    assert not is_prepared(tmp_path)


def test_a_folder_that_was_broken_off_says_how_far_it_is(tmp_path: Path) -> None:
    check_all(about(finished=True))
    for look in (check_all, open_shards):
        with pytest.raises(CorpusError, match=r"is not finished \(1,234 of 56,789 pieces of its source are in it\)"):
            look(about(pieces=56789, pieces_done=1234))


def test_a_description_has_a_bound(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = dump(about())
    (tmp_path / META).write_bytes(data)
    monkeypatch.setattr(prepared, "_MOST_META", len(data))
    assert read_prepared(tmp_path) == about(path=tmp_path)
    monkeypatch.setattr(prepared, "_MOST_META", len(data) - 1)
    with pytest.raises(CorpusError):
        read_prepared(tmp_path)


# -- mapped ------------------------------------------------------------------------------------------------------------


class Map:
    """Notes what the kernel is asked for."""

    def __init__(self, error: Exception | None = None) -> None:
        self.asked: list[tuple[int, int, int]] = []
        self.error = error

    def madvise(self, advice: int, first: int, size: int) -> None:
        if self.error is not None:
            raise self.error
        self.asked.append((advice, first, size))


def test_pages_are_asked_for_ahead(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = mmap.PAGESIZE
    (tmp_path / "ids").write_bytes(bytes(4 * page))
    monkeypatch.setattr(shards, "_RESIDENT", 4 * page - 1)
    file = Mapped(tmp_path / "ids", np.dtype("<u2"), 0)
    file._map = Map()  # type: ignore[assignment]
    starts = np.array([0, 3, page // 2 - 1, page // 2, 2 * page - 5])
    file.ahead(starts, 10)
    will = mmap.MADV_WILLNEED
    assert file._map.asked == [  # type: ignore[union-attr]
        (will, 0, 20), (will, 0, 26), (will, 0, page + 18), (will, page, 20), (will, 3 * page, page),
    ]  # fmt: skip
    for error in (OSError(), AttributeError()):
        file._map = Map(error)  # type: ignore[assignment]
        file.ahead(starts, 10)
    monkeypatch.setattr(shards, "_RESIDENT", 4 * page)
    file._map = Map(RuntimeError())  # type: ignore[assignment]
    file.ahead(starts, 10)
    file.touched(5, 10)
    file._map = None
    monkeypatch.setattr(shards, "_RESIDENT", 0)
    file.ahead(starts, 10)
    file.touched(5, 10)


def test_a_file_that_cannot_be_laid_beside_the_others_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    paths = [tmp_path / "0", tmp_path / "1"]
    for path in paths:
        path.write_bytes(bytes(mmap.PAGESIZE))
    monkeypatch.setattr(shards, "_mmap", lambda: lambda *_: -1)
    monkeypatch.setattr(shards.ctypes, "get_errno", lambda: errno.ENOMEM)
    with pytest.raises(OSError, match="Cannot allocate memory") as told:
        Mapped(paths, np.dtype("u1"), 0)
    assert (told.value.errno, told.value.filename) == (errno.ENOMEM, str(paths[0]))


def test_a_file_of_nothing_and_of_half_an_id(tmp_path: Path) -> None:
    (tmp_path / "0").write_bytes(b"")
    (tmp_path / "1").write_bytes(b"\1\0\2\0\3")
    assert len(Mapped(tmp_path / "0", np.dtype("<u2"), 0).ids) == 0
    assert Mapped(tmp_path / "1", np.dtype("<u2"), 0).ids.tolist() == [1, 2]
    assert Mapped([tmp_path / "1"], np.dtype("u1"), 7).ids.tolist() == [1, 0, 2, 0, 3]
