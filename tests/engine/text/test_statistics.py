"""Statistics are what a plain count gives, whatever the blocks they were read in, and bounded for any text."""

from __future__ import annotations

import gzip
import hashlib
import random
import tracemalloc
from collections import Counter
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from engine.errors import CorpusError
from engine.text import statistics, tally
from engine.text.corpus import Text
from engine.text.statistics import (
    FORMAT,
    Statistics,
    cached_statistics,
    known_statistics,
)
from engine.text.tally import WINDOW, Distinct, LengthCounter, Pieces, Windows, hashes_of, window_hashes


def text_of(folder: Path, content: str, boundary: str | None = None) -> Text:
    path = folder / f"{hashlib.sha256(content.encode()).hexdigest()[:8]}.txt"
    path.write_text(content, encoding="utf-8", newline="")
    return Text(path, len(content.encode()), hashlib.sha256(content.encode()).hexdigest(), boundary)


def count(text: Text, val_fraction: float = 0.1) -> Statistics:
    found = statistics.statistics(text, val_fraction)
    assert found is not None
    return found


contents = st.text(st.sampled_from(list("aab \n\n##\u00e9\U0001f600\x1b\u202e\t\r")), min_size=1, max_size=60)


@settings(max_examples=40)
@given(contents, st.sampled_from([None, "##", "\n\n", "#"]), st.sampled_from([1, 2, 3, 7, 1 << 20]))
@example("a##b##", "##", 1)
@example("a##b", "##", 1)
@example("##", "##", 2)
@example("a##\n", "##", 3)
@example("one##two##three##\u00e9", "##", 1)
def test_all_that_is_counted_is_there(tmp_path: Path, content: str, boundary: str | None, block: int) -> None:
    text = text_of(tmp_path, content, boundary)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(statistics, "BLOCK", block)
        found = count(text)
    assert (found.n_bytes, found.characters) == (len(content.encode()), len(content))
    assert found.distinct_characters == len(set(content)) and dict(found.top_characters) == Counter(content)
    controls = Counter(char for char in content if char in "\x1b\u202e")
    assert found.control_characters == controls.total() and dict(found.top_controls) == controls
    lines = content.split("\n")[: None if not content.endswith("\n") else -1]
    check_pieces(lines, found.lines, found.line_lengths, found.repeated_lines)
    if boundary is None:
        assert (found.records, found.record_lengths, found.repeated_records, found.shared_records) == (None,) * 4
    else:
        *records, rest = content.split(boundary)
        records += [rest] if rest.strip() else []
        assert found.records is not None and found.record_lengths and found.repeated_records
        check_pieces(records, found.records, found.record_lengths, found.repeated_records)
    cut = text.split(0.1)
    before, after = (part.decode() for part in (content.encode()[:cut], content.encode()[cut:]))
    known = {line for line in before.split("\n")[:-1] if line.strip()}
    wanted = [line for line in after.split("\n") if line.strip()]
    assert (found.cut, found.shared_lines.count, found.shared_lines.one_in) == (cut, len(wanted), 1)
    assert found.shared_lines.share == (sum(line in known for line in wanted) / len(wanted) if wanted else 0)


def check_pieces(pieces: list[str], number: int, lengths: tally.Lengths, repeats: tally.Share) -> None:
    sizes = sorted(map(len, pieces))
    assert number == lengths.count == len(pieces) == sum(lengths.counts)
    if sizes:
        assert (lengths.shortest, lengths.longest, lengths.mean) == (sizes[0], sizes[-1], sum(sizes) / len(sizes))
        assert lengths.median == sizes[(len(sizes) + 1) // 2 - 1]
        for (low, high), found in zip(pairwise(lengths.edges), lengths.counts, strict=True):
            assert sum(low <= size < high for size in sizes) == found
    full = [piece for piece in pieces if piece.strip()]
    assert (repeats.count, repeats.one_in) == (len(full), 1)
    assert repeats.share == (1 - len(set(full)) / len(full) if full else 0.0)


@given(st.lists(st.text(st.sampled_from("ab#"), max_size=60)), st.sampled_from(["#", "##", "#a#"]))
def test_pieces_are_cut_as_the_whole_would_be_also_long_ones(blocks: list[str], mark: str) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tally, "LONGEST", 5)
        pieces, found = Pieces(mark), []
        for block in blocks:
            found += zip(*pieces.feed(block), strict=True)
        found.append(pieces.end())
    assert found == [(piece[:5], len(piece)) for piece in "".join(blocks).split(mark)]


def test_the_beginning_of_a_mark_is_no_part_of_a_piece() -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tally, "LONGEST", 5)
        pieces = Pieces("#a#")
        assert pieces.feed("#abb#a") == ([], [])
        assert pieces.feed("#bb#a#") == (["#abb", "bb"], [4, 2])


@pytest.mark.parametrize(
    "sizes",
    [
        [0],
        [3] * 100,
        [1] * 99 + [10**9],
        [tally.LONGEST, tally.LONGEST * 2],
        range(2000),
        [5] * 60 + [65_535, 65_536, 10**6],
    ],
)
def test_bins_hold_every_length_once(sizes: list[int]) -> None:
    counter = LengthCounter()
    counter.add(list(sizes))
    told = counter.told()
    assert len(told.counts) <= tally.BINS + 1 and sum(told.counts) == len(sizes)
    for (low, high), found in zip(pairwise(told.edges), told.counts, strict=True):
        assert sum(low <= size < high for size in sizes) == found
    assert (told.shortest, told.longest) == (min(sizes), max(sizes))


def test_with_too_many_distinct_pieces_a_sample_says_nearly_the_same() -> None:
    rng = random.Random(1)
    lines = [f"line {n}" for n in range(6000)] * 2 + [f"once {n}" for n in range(8000)]
    rng.shuffle(lines)
    exact, some = Distinct(), Distinct(1000)
    for start in range(0, len(lines), 700):
        for each in (exact, some):
            each.add(hashes_of(lines[start : start + 700]))
    told, near = exact.told(), some.told()
    assert (told.count, round(told.share, 9), told.one_in) == (20_000, 0.3, 1)
    assert near.count == 20_000 and near.one_in >= 16 and abs(near.share - 0.3) < 0.08
    assert len(some.values) <= 1000


@given(st.binary(max_size=300), st.integers(1, 90))
@example(bytes(range(200)), 30)
@example(bytes(range(200)), 60)
def test_windows_are_those_of_the_whole_in_blocks_of_any_size(data: bytes, size: int) -> None:
    windows = Windows()
    parts = [windows.feed(data[start : start + size]) for start in range(0, len(data), size)]
    whole = window_hashes(np.frombuffer(data, np.uint8))
    assert len(whole) == max(0, len(data) - WINDOW + 1)
    assert np.concatenate([np.empty(0, np.int64), *parts]).tolist() == whole.tolist()
    texts = [data[start : start + WINDOW] for start in range(len(whole))]
    assert len(set(texts)) == len(set(whole.tolist()))


def test_what_validation_shares_with_training_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = random.Random(3)

    def prose(size: int) -> str:
        return "".join(rng.choices("etaoin shrdlu", k=size))

    training, copied, own = prose(9000), prose(200), prose(200)
    content = f"{training[:5000]}{copied}{training[5000:-200]}{copied}{own}{prose(600)}"
    text = text_of(tmp_path, content)
    found = count(text).shared_windows
    assert found.count == 1000 - WINDOW + 1 and found.one_in == 1
    assert found.share == (200 - WINDOW + 1) / found.count
    monkeypatch.setattr(statistics, "MOST_WINDOWS", 200)
    some = count(text).shared_windows
    assert some.one_in >= 4 and abs(some.share - found.share) < 0.12
    assert count(text_of(tmp_path, prose(30))).shared_windows.count == 0
    records = "".join(f"record {n % 70}##" for n in range(100))
    whole = count(text_of(tmp_path, records, "##"))
    assert whole.shared_records is not None
    assert (whole.shared_records.count, whole.shared_records.share) == (10, 1.0)


def test_words_are_counted_over_the_borders_of_blocks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    words = [random.Random(n).choice(["the", "caf\u00e9", "w" * 30, "x1"]) for n in range(500)]
    monkeypatch.setattr(statistics, "BLOCK", 7)
    found = count(text_of(tmp_path, ", ".join(words)))
    assert (found.words, dict(found.top_words), found.some_words_dropped) == (500, Counter(words), False)
    monkeypatch.setattr(statistics, "MOST_WORDS", 20)
    many = count(text_of(tmp_path, " ".join(f"often w{n}" for n in range(300))))
    assert many.words == 600 and many.top_words[0] == ("often", 300) and many.some_words_dropped
    long = count(text_of(tmp_path, "y" * 5000))
    assert sum(len(word) * times for word, times in long.top_words) == 5000
    assert all(len(word) <= statistics.LONG_WORD for word, _ in long.top_words)
    monkeypatch.setattr(statistics, "MOST_WORD_BYTES", 600)
    some = count(text_of(tmp_path, "ab " * 400 + "cd " * 400))
    assert 590 <= some.words_in_bytes <= 610 and set(dict(some.top_words)) >= {"ab", "cd"}
    assert 0.8 < some.words / (some.words_in_bytes / 3) < 1.6  # blocks of 7 bytes cut words


def test_compression_is_that_of_the_programs(tmp_path: Path) -> None:
    content = "some words that come again and again; " * 500 + "".join(random.Random(1).choices("abc", k=5000))
    found = count(text_of(tmp_path, content))
    assert found.gzip_bits_per_byte == pytest.approx(
        8 * len(gzip.compress(content.encode(), 6)) / len(content), rel=0.01
    )
    zstandard = pytest.importorskip("zstandard")
    size = len(zstandard.ZstdCompressor(level=9).compress(content.encode()))
    assert found.zstd_bits_per_byte == pytest.approx(8 * size / len(content), rel=0.02)


def test_statistics_are_kept_and_damage_costs_only_a_second_count(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text, cache = text_of(tmp_path, "a line\n" * 50 + "another\n" * 9, "\n"), tmp_path / "cache"
    monkeypatch.setenv("TINYTUI_CACHE", str(cache))
    assert known_statistics(text) is None
    first = cached_statistics(text)
    assert first is not None and first == known_statistics(text)
    (kept,) = (cache / "statistics").iterdir()
    whole = kept.read_bytes()
    assert cached_statistics(text, cancelled=lambda: True) == first  # without a look at the text
    monkeypatch.setattr(statistics, "USUAL", 0.5)
    assert known_statistics(text) is None
    monkeypatch.undo()
    monkeypatch.setenv("TINYTUI_CACHE", str(cache))
    assert known_statistics(Text(text.path, text.n_bytes, text.sha256, None)) is None
    version = f'"format":{FORMAT}'.encode()
    changed = ((version, b'"format":0'), (b'"lines":59', b'"lines":"59"'), (text.sha256.encode(), b"0" * 64))
    damaged = [whole.replace(*pair) for pair in changed]
    for data in (*damaged, b"", b"{}", whole[:-9], b"[" * 10**5, b"x" * (2 << 20)):
        assert data != whole
        kept.write_bytes(data)
        assert known_statistics(text) is None
        assert cached_statistics(text) == first
        assert kept.read_bytes() == whole
    kept.unlink()
    kept.mkdir()  # a cache that cannot be written
    assert cached_statistics(text) == first


def test_it_says_how_far_it_is_and_ends_when_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(statistics, "BLOCK", 100)
    text, said = text_of(tmp_path, "some words\n" * 200), []
    assert statistics.statistics(text, progress=lambda what, done: said.append((what, done))) is not None
    assert [done for _, done in said] == sorted(done for _, done in said) and said[-1] == ("counting", 1.0)
    asked = iter(range(100))
    assert statistics.statistics(text, cancelled=lambda: next(asked) >= 7) is None
    assert next(asked) == 8
    monkeypatch.setenv("TINYTUI_CACHE", str(tmp_path / "cache"))
    assert cached_statistics(text, cancelled=lambda: True) is None
    assert not (tmp_path / "cache").exists()
    text.path.write_text("shorter")
    with pytest.raises(CorpusError, match="shorter"):
        statistics.statistics(text)
    text.path.unlink()
    for look in (statistics.statistics, known_statistics, cached_statistics):
        with pytest.raises(CorpusError, match="it is not there"):
            look(text)


@pytest.mark.parametrize("kind", ["lines", "one line", "short lines", "other letters"])
def test_memory_is_bounded(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Twice the text takes no more memory, whether it is all distinct lines or one line."""
    for module, name, value in (
        (statistics, "BLOCK", 1 << 14), (statistics, "MOST_WORDS", 2000), (statistics, "MOST_DISTINCT", 2000),
        (statistics, "MOST_WINDOWS", 2000), (tally, "LONGEST", 2000), (tally, "_TABLE_BITS", 10),
    ):  # fmt: skip
        monkeypatch.setattr(module, name, value)
    peaks = []
    for size in (60_000, 120_000):
        rng = random.Random(size)
        unit = {"lines": 60, "one line": size, "short lines": 2, "other letters": 40}[kind]
        letters = "etaoin shrdlu" if kind != "other letters" else "\u0430\u0431\u0432 \u0433"
        content = "\n".join("".join(rng.choices(letters, k=unit - 1)) for _ in range(size // unit))
        text = text_of(tmp_path, content, "\n")
        del content
        tracemalloc.start()
        try:
            assert statistics.statistics(text) is not None
            peaks.append(tracemalloc.get_traced_memory()[1])
        finally:
            tracemalloc.stop()
    assert peaks[1] < 1.1 * peaks[0] + 60_000
    assert peaks[1] < 60 << 20
