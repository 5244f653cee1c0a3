"""What training relies on: the right tokens, batches that are a function of their arguments, exact validation."""

from __future__ import annotations

import hashlib
import math
import random
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.config import DataConfig
from engine.errors import CorpusError, TokenizerError
from engine.text.corpus import Text
from engine.tokenizers.base import Tokenizer
from engine.tokenizers.byte import ByteTokenizer
from engine.tokenizers.char import CharTokenizer
from engine.tokenizers.dataset import TokenDataset, record_starts

WORDS = ["fox", "hen", "barn", "moon", "the", "a", "runs", "sleeps,", "hides.", "naïve", "東京", "🙂", "\n"]
CONTENT = " ".join(random.Random(5).choices(WORDS, k=4000))


def as_text(path: Path, content: str = CONTENT, boundary: str | None = None) -> Text:
    data = content.encode()
    path.write_bytes(data)
    return Text(path, len(data), hashlib.sha256(data).hexdigest(), boundary)


def in_memory(train: int, val: int, tokenizer: Tokenizer | None = None) -> TokenDataset:
    """A dataset whose tokens are 0, 1, 2 ..., so that a token tells where it was taken from."""
    tokenizer = CharTokenizer("ab") if tokenizer is None else tokenizer
    return TokenDataset(np.arange(train, dtype=np.uint32), np.arange(val, dtype=np.uint32), tokenizer, val - 1)


KINDS = ("char", "byte", "bpe", "word")


@pytest.mark.parametrize("kind", KINDS)
def test_both_splits_are_the_whole_text(kind: str, tmp_path: Path) -> None:
    text = as_text(tmp_path / "a.txt")
    data = DataConfig(tokenizer=kind, vocab_size=400)
    dataset = TokenDataset.open(text, data, tmp_path / "cache")
    cut = text.split(data.val_fraction)
    raw = text.path.read_bytes()
    assert dataset.tokenizer.kind == kind
    assert dataset.train.dtype == dataset.val.dtype == np.uint16 and dataset.train.ndim == 1
    assert dataset.tokenizer.decode_bytes(dataset.train) == raw[:cut]
    assert dataset.tokenizer.decode_bytes(dataset.val) == raw[cut:]
    again = TokenDataset.open(text, data, tmp_path / "cache")
    assert np.array_equal(again.train, dataset.train) and np.array_equal(again.val, dataset.val)
    assert again.tokenizer == dataset.tokenizer


@pytest.mark.parametrize("kind", KINDS)
def test_bytes_are_those_of_the_targets(kind: str, tmp_path: Path) -> None:
    text = as_text(tmp_path / "a.txt")
    dataset = TokenDataset.open(text, DataConfig(tokenizer=kind, vocab_size=400), tmp_path / "cache")
    assert dataset.val_bytes == len(dataset.tokenizer.decode_bytes(dataset.val[1:]))
    total_bits = 2.0 / math.log(2) * (len(dataset.val) - 1)
    assert dataset.bits_per_byte(2.0) == pytest.approx(total_bits / dataset.val_bytes, rel=1e-12)


def test_bits_per_byte_of_guessing_bytes_is_eight(tmp_path: Path) -> None:
    dataset = TokenDataset.open(as_text(tmp_path / "a.txt"), DataConfig(tokenizer="byte"), tmp_path / "cache")
    assert dataset.bits_per_byte(math.log(256)) == pytest.approx(8.0)
    assert math.isnan(in_memory(5, 1).bits_per_byte(1.0))


arguments = st.tuples(st.integers(0, 2**63), st.integers(0, 10**14), st.integers(1, 20), st.integers(1, 40))


@given(arguments=arguments, extra=st.integers(0, 500))
def test_a_batch_is_a_pure_function_of_its_arguments(arguments: tuple[int, int, int, int], extra: int) -> None:
    seed, first, count, block_size = arguments
    dataset = in_memory(block_size + 1 + extra, 2)
    x, y = dataset.batch(*arguments)
    starts = dataset.offsets(*arguments)
    assert x.shape == y.shape == (count, block_size) and x.dtype == y.dtype == starts.dtype == np.int64
    assert x.flags.c_contiguous and y.flags.c_contiguous
    assert np.array_equal(y, x + 1), "the target is the next token"
    assert np.array_equal(x[:, 0], starts) and starts.min() >= 0 and y.max() < len(dataset.train)
    assert dataset.offsets(seed, first + count - 1, 1, block_size) == starts[-1], (
        "each has its number, batch or no batch"
    )


def test_seed_and_number_change_the_batch() -> None:
    dataset = in_memory(10**6, 2)
    found = {tuple(dataset.offsets(*where, 4, 8)) for where in ((1, 0), (2, 0), (1, 4), (1, 2**40))}
    assert len(found) == 4


def test_offsets_are_those_ever_promised() -> None:
    """A run resumed years later must see the same batches: these numbers never change."""
    assert in_memory(1_003_854, 2).offsets(1337, 28, 4, 64).tolist() == [816409, 432995, 49582, 669958]


@given(seed=st.integers(0, 2**63), first=st.integers(0, 10**12), parts=st.integers(2, 300))
def test_any_stretch_of_sequences_lies_evenly_over_the_text(seed: int, first: int, parts: int) -> None:
    """Two neighbours are at most golden ratio**3 / sqrt(5) mean gaps apart (the three-gap theorem)."""
    starts = 10**9
    dataset = TokenDataset(np.broadcast_to(np.uint16(0), starts), np.zeros(2, np.uint16), CharTokenizer("a"), 1)
    places = np.sort(dataset.offsets(seed, first, parts, 0))
    gaps = np.diff(np.append(places, places[0] + starts))
    assert gaps.max() <= 1.9 * starts / parts + 2


def test_every_window_is_drawn_equally_often() -> None:
    drawn = in_memory(20 + 8, 2).offsets(3, 0, 20_000, 8)
    counts = np.bincount(drawn, minlength=20)
    assert len(counts) == 20, "from the first possible start to the last"
    assert abs(counts - 1000).max() <= 3


@given(n=st.integers(0, 200), block_size=st.integers(1, 50), batch_size=st.integers(1, 7))
def test_every_validation_target_is_counted_once(n: int, block_size: int, batch_size: int) -> None:
    dataset = in_memory(2, n)
    batches = list(dataset.val_batches(block_size, batch_size))
    for x, y in batches:
        assert x.shape == y.shape and x.shape[0] <= batch_size and x.shape[1] <= block_size
        assert np.array_equal(x + 1, y) and x.dtype == y.dtype == np.int64
    seen = [target for _, y in batches for target in y.ravel().tolist()]
    assert seen == list(range(1, n)), "each once, in order"
    assert all(x.shape[1] == block_size for x, _ in batches[:-1]), "only the last window is shorter"
    assert sum(len(x) for x, _ in batches) == -(-max(0, n - 1) // block_size)
    assert dataset.val_targets(block_size) == max(0, n - 1)


@given(n=st.integers(0, 300), block_size=st.integers(1, 40), batch_size=st.integers(1, 7), most=st.integers(1, 400))
def test_fewer_targets_are_whole_windows_spread_over_the_split(
    n: int, block_size: int, batch_size: int, most: int
) -> None:
    """Some 'most' of them, whatever the batch; all where there are no more than that."""
    dataset = in_memory(2, n)
    seen = [t for _, y in dataset.val_batches(block_size, batch_size, most) for t in y.ravel().tolist()]
    assert len(seen) == dataset.val_targets(block_size, most)
    if most >= n - 1 or n - 1 < block_size:
        assert seen == list(range(1, n))
        return
    assert seen == [t for _, y in dataset.val_batches(block_size, 5, most) for t in y.ravel().tolist()]
    assert len(seen) % block_size == 0 and abs(len(seen) - most) < max(block_size, most + 1 if most < block_size else 0)
    starts = np.array(seen[::block_size]) - 1
    assert (starts % block_size == 0).all() and len(set(starts.tolist())) == len(starts)
    gaps = np.diff(starts) // block_size
    assert len(gaps) == 0 or gaps.max() - gaps.min() <= 1, "evenly"


@pytest.mark.parametrize(("train", "val", "names"), [(8, 100, "training"), (100, 8, "validation"), (0, 0, "training")])
def test_a_split_shorter_than_the_context_is_said_with_lengths(train: int, val: int, names: str) -> None:
    dataset = in_memory(train, val)
    with pytest.raises(CorpusError, match=rf"{names} split has {min(train, val)} tokens, .* 8 needs 9") as caught:
        dataset.check(8)
    assert "\n" not in str(caught.value)
    in_memory(9, 9).check(8)
    with pytest.raises(CorpusError):
        in_memory(8, 9).batch(1, 0, 2, 8)


def test_a_character_only_validation_has_is_no_problem(tmp_path: Path) -> None:
    text = as_text(tmp_path / "a.txt", "plain words " * 100 + "é")
    dataset = TokenDataset.open(text, DataConfig(), tmp_path / "cache")
    assert dataset.tokenizer.decode(dataset.val).endswith("é")


def test_a_given_tokenizer_is_used_and_its_unknown_characters_follow_the_policy(tmp_path: Path) -> None:
    text = as_text(tmp_path / "a.txt", "abc abd " * 50)
    given_one = CharTokenizer("abc ")
    with pytest.raises(TokenizerError, match=r"U\+0064 'd'"):
        TokenDataset.open(text, DataConfig(), tmp_path / "cache", tokenizer=given_one)
    assert not list((tmp_path / "cache" / "tokens").iterdir()), "nothing half-made is left"
    skipping = TokenDataset.open(text, DataConfig(unknown="skip"), tmp_path / "cache", tokenizer=given_one)
    assert skipping.tokenizer.decode(skipping.train).startswith("abc ab abc ab ")
    assert skipping.val_bytes == len(skipping.val) - 1
    with pytest.raises(TokenizerError, match="changes the vocabulary"):
        TokenDataset.open(text, DataConfig(unknown="unk"), tmp_path / "cache", tokenizer=given_one)


@settings(max_examples=15)
@given(content=st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=300), kind=st.sampled_from(KINDS))
def test_any_text_can_be_opened(content: str, kind: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("any")
    dataset = TokenDataset.open(as_text(folder / "a.txt", content), DataConfig(tokenizer=kind, vocab_size=300), folder)
    raw = dataset.tokenizer.decode_bytes(dataset.train) + dataset.tokenizer.decode_bytes(dataset.val)
    assert raw == content.encode()


def test_progress_is_told_and_ends_at_one(tmp_path: Path) -> None:
    told: list[tuple[str, float]] = []
    data = DataConfig(tokenizer="bpe", vocab_size=300)
    TokenDataset.open(as_text(tmp_path / "a.txt"), data, tmp_path, lambda *now: told.append(now))
    assert {what for what, _ in told} == {"training tokenizer", "encoding"}
    assert told[-1] == ("encoding", 1.0)
    told.clear()
    TokenDataset.open(as_text(tmp_path / "a.txt"), data, tmp_path, lambda *now: told.append(now))
    assert told == [], "nothing to wait for the second time"


@pytest.mark.parametrize("block", [1, 2, 3, 4, 100])
def test_where_records_begin_hangs_on_no_block(block: int) -> None:
    ids = ByteTokenizer().encode("a\n\n\nb\n\n\n\nc\n\n")
    assert record_starts(ids, ByteTokenizer(), "\n\n", block).tolist() == [0, 3, 7, 9]
    assert record_starts(ids[:0], ByteTokenizer(), "\n\n", block).tolist() == []


RECORDS = [f"### Input:\n{word}\n### Output:\n{word} {word}!\n\n" for word in ("cat", "naïve", "a hen", "東京 🙂") * 40]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("block", [1, 7, 1 << 20])
def test_sequences_begin_where_records_begin(kind: str, block: int, tmp_path: Path) -> None:
    text = as_text(tmp_path / "a.txt", "".join(RECORDS), "\n\n")
    data = DataConfig(tokenizer=kind, vocab_size=300, record_starts=True)
    dataset = TokenDataset.open(text, data, tmp_path / "cache")
    assert dataset.records is not None
    assert np.array_equal(record_starts(dataset.train, dataset.tokenizer, "\n\n", block), dataset.records)
    whole = dataset.tokenizer.decode(dataset.train)
    begins = [sum(map(len, RECORDS[:number])) for number in range(len(RECORDS))]
    starts = [len(dataset.tokenizer.decode(dataset.train[:place])) for place in dataset.records]
    if kind == "bpe":  # a piece may reach over the end of a record; then the next token begins it
        assert all(0 <= start - begin <= 4 for start, begin in zip(starts, begins, strict=False))
    else:
        assert starts == [begin for begin in begins if begin < len(whole)]
    x, _ = dataset.batch(7, 0, 64, 16)
    drawn = {dataset.tokenizer.decode(row) for row in x}
    assert len(drawn) > 2 and (kind == "bpe" or all(row.startswith("### Inp"[: len(row)]) for row in drawn))
    anywhere = TokenDataset.open(text, data.model_copy(update={"record_starts": False}), tmp_path / "cache")
    back = anywhere.offsets(7, 0, 64, 16) - dataset.offsets(7, 0, 64, 16)
    assert (back >= 0).all() and back.any()


def test_a_text_without_records_has_none_to_begin_at(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match="no records"):
        TokenDataset.open(as_text(tmp_path / "a.txt"), DataConfig(record_starts=True), tmp_path / "cache")
